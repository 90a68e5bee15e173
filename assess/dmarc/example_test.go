package dmarc_test

import (
	"context"
	"fmt"
	"net"

	"peerscore/assess/dmarc"
)

// zone holds the TXT records of names.
type zone map[string][]string

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	if txts, ok := z[name]; ok {
		return txts, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

var example = zone{
	"_dmarc.example.org": {"v=DMARC1; p=reject; sp=quarantine; rua=mailto:dmarc@example.org"},
}

// A message from a subdomain, signed by its organisational domain, and the same message of
// somebody else, whose own domain passes SPF.
func ExampleEvaluate() {
	for _, m := range []dmarc.Message{
		{Author: "news.example.org", DKIM: []dmarc.Identifier{{Domain: "example.org", Pass: true}}},
		{Author: "news.example.org", SPF: dmarc.Identifier{Domain: "attack.example", Pass: true}},
		{Author: "nobody.example", SPF: dmarc.Identifier{Domain: "nobody.example", Pass: true}},
	} {
		got := dmarc.Evaluate(context.Background(), example, m)
		fmt.Printf("%s: %s, policy %q\n", m.Author, got.Result, got.Policy)
	}
	// Output:
	// news.example.org: pass, policy "quarantine"
	// news.example.org: fail, policy "quarantine"
	// nobody.example: none, policy ""
}

// The tree walk: from the name up, until there is a record that says where the organisation begins.
func ExampleDiscover() {
	found := dmarc.Discover(context.Background(), example, "a.news.example.org")
	for _, step := range found.Walk {
		fmt.Printf("_dmarc.%s: %d records\n", step.Domain, step.Records)
	}
	fmt.Println(found.RecordDomain, found.Organisational, found.Record.P)
	// Output:
	// _dmarc.a.news.example.org: 0 records
	// _dmarc.news.example.org: 0 records
	// _dmarc.example.org: 1 records
	// _dmarc.org: 0 records
	// example.org example.org reject
}

// The author domain is what stands after the last @ of the one mailbox in the one From field.
func ExampleAuthorDomain() {
	for _, from := range [][]string{
		{`Anna <anna@Example.ORG>`},
		{`"ceo@bank.example" <anna@example.org>`},
		{"anna@example.org, ceo@bank.example"},
		{"anna@example.org", "ceo@bank.example"},
	} {
		domain, err := dmarc.AuthorDomain(from)
		fmt.Printf("%q %v\n", domain, err)
	}
	// Output:
	// "example.org" <nil>
	// "example.org" <nil>
	// "" several mailboxes in the From field
	// "" several From fields
}
