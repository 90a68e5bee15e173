package spf_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"peerscore/assess/spf"
)

// zone holds TXT records and addresses by name.
type zone map[string][]string

func (z zone) find(name string) ([]string, error) {
	if records, ok := z[name]; ok {
		return records, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	return z.find("TXT " + name)
}

func (z zone) LookupNetIP(_ context.Context, network, host string) (addrs []netip.Addr, err error) {
	found, err := z.find(network + " " + host)
	for _, a := range found {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, err
}

func (z zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	_, err := z.find("MX " + name)
	return nil, err
}

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return z.find("PTR " + addr)
}

var example = zone{
	"TXT example.org":           {"v=spf1 a:out.example.org include:_spf.provider.example -all"},
	"ip4 out.example.org":       {"192.0.2.25"},
	"TXT _spf.provider.example": {"v=spf1 ip4:198.51.100.0/24 ~all"},
	"TXT lost.example":          {"v=spf1 include:_spf.gone.example -all"},
	"TXT mail.lost.example":     {"v=spf1 redirect=lost.example"},
	"TXT two.example":           {"v=spf1 -all", "v=spf1 mx -all"},
}

// May a host use the domain of a reverse-path?
func ExampleCheck() {
	for _, client := range []string{"192.0.2.25", "198.51.100.9", "203.0.113.7"} {
		got := spf.Check(context.Background(), example, spf.Query{
			IP: netip.MustParseAddr(client), HELO: "out.example.org", MailFrom: "info@example.org",
		})
		fmt.Println(client, got.Result, "after", got.Lookups, "lookups")
	}
	// Output:
	// 192.0.2.25 pass after 1 lookups
	// 198.51.100.9 pass after 2 lookups
	// 203.0.113.7 fail after 2 lookups
}

// What is wrong with a domain's record, without a message?
func ExampleAudit() {
	for _, domain := range []string{"example.org", "mail.lost.example", "two.example"} {
		got := spf.Audit(context.Background(), example, domain)
		fmt.Printf("%s: %s, policy %q\n", domain, got.State, got.Policy)
		for _, problem := range got.Errors {
			fmt.Println(" ", problem)
		}
	}
	// Output:
	// example.org: valid, policy "-all"
	// mail.lost.example: invalid, policy "-all"
	//   mail.lost.example -> lost.example -> _spf.gone.example: no SPF record
	// two.example: invalid, policy ""
	//   two.example: 2 SPF records
}

// One record, term by term.
func ExampleParse() {
	record, err := spf.Parse("v=spf1 ip4:192.0.2.0/24 mx/28 ?all")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range record.Directives {
		fmt.Printf("%q %s\n", d.Qualifier, d.Mechanism)
	}
	_, err = spf.Parse("v=spf1 ip4:mail.example.org -all")
	fmt.Println(err)
	// Output:
	// '+' ip4
	// '+' mx
	// '?' all
	// not an address for ip4 in "ip4:mail.example.org" (octet 7)
}
