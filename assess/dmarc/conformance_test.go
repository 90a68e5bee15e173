package dmarc

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

// readCases reads a file of the cases that peers wrote, or skips the test.
func readCases(t *testing.T, file string, into any) {
	t.Helper()
	dir := os.Getenv("PEERSCORE_CONFORMANCE")
	if dir == "" {
		t.Skipf("PEERSCORE_CONFORMANCE is not set: left out dmarc/%s", file)
	}
	data, err := os.ReadFile(filepath.Join(dir, "dmarc", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// disagreement is a case in which a peer says otherwise, on purpose.
type disagreement struct{ input, why string }

// listed reports whether a case is one of the disagreements, and says so.
func listed(t *testing.T, list []disagreement, input string) bool {
	i := slices.IndexFunc(list, func(d disagreement) bool { return d.input == input })
	if i >= 0 {
		t.Logf("listed disagreement: %q: %s", input, list[i].why)
	}
	return i >= 0
}

// recordDisagreements: the peer's verdict on these records is not the one of the RFC that the case names.
var recordDisagreements = []disagreement{
	// Written for RFC 7489, read leniently.
	{"v=DMARC1; sp=reject; p=reject", "mox wants p second, as the grammar of RFC 7489 has it; no receiver depends on it, and RFC 9989 dropped it: a warning"},
	{"v=DMARC1; p=n;", "OpenDMARC takes abbreviations; no RFC does, and without rua an invalid p means that the record is not applied (RFC 7489, section 6.6.3)"},
	{"v=DMARC1; p=none; adkim=bob;", "OpenDMARC refuses the record; section 6.3 of RFC 7489 discards the error in favour of the default, r"},
	{"v=DMARC1; p=none; aspf=bob;", "OpenDMARC refuses the record; section 6.3 of RFC 7489 discards the error in favour of the default, r"},
	{"v=DMARC1; p=none; rf=bob;", "OpenDMARC refuses the record; section 6.3 of RFC 7489 discards the error in favour of the default, afrf"},
	{"v=DMARC1; p=none; ri=bob;", "OpenDMARC refuses the record; section 6.3 of RFC 7489 discards the error in favour of the default, 86400"},
	{"v=DMARC1; p=none; pct=500;", "OpenDMARC refuses the record; section 6.3 of RFC 7489 discards the error in favour of the default, 100"},
	{"v=DMARC1; p=none; rf=000000000000000000000000000000000", "OpenDMARC refuses the record; section 6.3 of RFC 7489 discards the error in favour of the default, afrf"},
	// Written for RFC 9989, read exactly.
	{"v=DMARC1; p=reject; ri = 3600; aspf=r; adkim =r; rua=mailto:dmarc-feedback@example.com!10 K , mailto:user%20@example.com ! 2G;ignore_me= true; fo=s; rf = AfrF; ",
		"mail-auth drops blanks inside URIs; a URI has none (RFC 3986), and %20 stays a blank in the local part"},
}

func TestConformanceRecords(t *testing.T) {
	type want struct {
		P, SP, NP, ADKIM, ASPF, PSD string
		T                           bool
		RUA                         [][2]string
	}
	var cases []struct {
		Origin, RFC, Input, Note string
		Valid                    bool
		Want                     *want
	}
	readCases(t, "records.json", &cases)
	agreed, disagreed, values := 0, 0, 0
	for _, c := range cases {
		r, err := Parse(c.Input)
		if err == nil && c.RFC == "7489" {
			err = err7489(r)
		} else if err == nil {
			err = r.Err()
		}
		switch agrees := (err == nil) == c.Valid; {
		case agrees == listed(t, recordDisagreements, c.Input):
			t.Errorf("%s RFC %s %q: valid %t, the peer says %t (%s); %v", c.Origin, c.RFC, c.Input, err == nil, c.Valid, c.Note, err)
		case !agrees:
			disagreed++
			continue
		}
		agreed++
		if c.Want == nil {
			continue
		}
		values++
		modes := map[Mode]string{Relaxed: "relaxed", Strict: "strict"}
		sizes := map[uint64]string{0: "0", 10 << 20: "10 * 1024 * 1024"}
		got := want{
			string(r.P), string(r.policy(true, true)), string(r.policy(true, false)),
			modes[r.ADKIM], modes[r.ASPF], string(r.PSD), r.T, nil,
		}
		if r.T { // the peer lists the policies as stated
			got.SP, got.NP = got.P, got.P
		}
		for _, u := range r.RUA {
			got.RUA = append(got.RUA, [2]string{u.Address, sizes[u.MaxSize]})
		}
		if w := *c.Want; got.P != w.P || got.SP != w.SP || got.NP != w.NP || got.ADKIM != w.ADKIM ||
			got.ASPF != w.ASPF || got.PSD != w.PSD || got.T != w.T || !slices.Equal(got.RUA, w.RUA) {
			t.Errorf("%q:\n got %+v\nwant %+v", c.Input, got, w)
		}
	}
	t.Logf("records.json: %d cases, %d agree (%d of them with values), %d listed disagreements", len(cases), agreed, values, disagreed)
}

func TestConformanceLookup(t *testing.T) {
	var cases []struct {
		TXT          []string
		Result, Note string
	}
	readCases(t, "lookup.json", &cases)
	agreed := 0
	for _, c := range cases {
		r, n := Select(c.TXT)
		if (r != nil) != (c.Result == "record") {
			t.Errorf("%q: found %v among %d; want %s (%s)", c.TXT, r, n, c.Result, c.Note)
			continue
		}
		agreed++
	}
	t.Logf("lookup.json: %d cases, %d agree", len(cases), agreed)
}

// The cases are written for RFC 7489, where the Public Suffix List gives the organisational
// domain. RFC 9989 finds the same where that domain publishes a record, so here each does.
func TestConformanceAlignment(t *testing.T) {
	var cases []struct {
		A, B, Mode string
		Aligned    bool
	}
	readCases(t, "alignment.json", &cases)
	agreed := 0
	for _, c := range cases {
		z := zone{}
		for _, name := range []string{c.A, c.B} {
			if org, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
				z["_dmarc."+org] = []string{"v=DMARC1; p=none"}
			}
		}
		mode := Relaxed
		if c.Mode == "strict" {
			mode = Strict
		}
		got, err := aligned(t.Context(), z, c.A, c.B, mode)
		if err != nil || got != c.Aligned {
			t.Errorf("%s %s %s: %t, %v; the peer says %t", c.A, c.B, c.Mode, got, err, c.Aligned)
			continue
		}
		agreed++
	}
	t.Logf("alignment.json: %d cases, %d agree", len(cases), agreed)
}

// fromDisagreements: OpenDMARC takes the first of several mailboxes; mail-dmarc, in the same file, takes none.
var fromDisagreements = []disagreement{
	{"Joe Johnson <joe@joe.com>, ace@ace.com", "section 5.3.1 of RFC 9989: with more than one domain DMARC validation is not possible; they are no identity here"},
	{"joe@joe.com, ace@ace.com", "section 5.3.1 again"},
}

func TestConformanceFromDomain(t *testing.T) {
	var cases []struct{ Origin, Value, Domain string }
	readCases(t, "from_domain.json", &cases)
	agreed, disagreed := 0, 0
	for _, c := range cases {
		got, err := AuthorDomain([]string{c.Value})
		switch agrees := got == c.Domain; {
		case agrees == listed(t, fromDisagreements, c.Value):
			t.Errorf("%s %q: %q, %v; the peer says %q", c.Origin, c.Value, got, err, c.Domain)
		case agrees:
			agreed++
		case got != "":
			t.Errorf("%q: %q, where the only safe disagreement is no identity", c.Value, got)
		default:
			disagreed++
		}
	}
	t.Logf("from_domain.json: %d cases, %d agree, %d listed disagreements", len(cases), agreed, disagreed)
}

// treewalkFile is treewalk.json: the cases of two peers, each in its own form.
type treewalkFile struct {
	Zone        []string          `json:"zone_mail_dmarc"`
	OrgDomain   map[string]string `json:"org_domain_mail_dmarc"`
	Disposition []struct {
		From        string `json:"header_from"`
		SPF         string `json:"spf_pass"`
		Disposition Policy
		NXDOMAIN    bool
	} `json:"disposition_mail_dmarc"`
	Result []struct {
		From   string `json:"header_from"`
		SPF    string `json:"spf_pass"`
		Result Result
	} `json:"result_mail_dmarc"`
	MailAuth []mailAuthCase `json:"mail_auth"`
}

type mailAuthCase struct {
	Zone     map[string]string
	From     string `json:"from_"`
	DKIMD    string `json:"dkim_d"`
	DKIM     string
	MailFrom string `json:"mail_from"`
	SPF      string
	WantDKIM string  `json:"want_dkim"`
	WantSPF  string  `json:"want_spf"`
	Policy   *Policy // nil: not tested; in the case without any record there is none
}

func TestConformanceTreeWalk(t *testing.T) {
	var f treewalkFile
	readCases(t, "treewalk.json", &f)
	z, agreed := f.zone(), 0
	count := func(ok bool, format string, args ...any) {
		t.Helper()
		if ok {
			agreed++
		} else {
			t.Errorf(format, args...)
		}
	}
	for domain, want := range f.OrgDomain {
		got, err := OrganisationalDomain(t.Context(), z, domain)
		count(got == want && err == nil, "organisational domain of %s: %q, %v; want %s", domain, got, err, want)
	}
	for _, c := range f.Disposition {
		e := Evaluate(t.Context(), z, Message{
			Author: c.From, SPF: Identifier{Domain: c.SPF, Pass: true}, Exists: existence(!c.NXDOMAIN),
		})
		// mail-dmarc gives a message to which no record applies the disposition "none" too.
		ok := e.Policy == c.Disposition || e.Result == ResultNone && c.Disposition == PolicyNone
		count(ok && e.Result != ResultPass, "%s: %s, %s; want %s", c.From, e.Result, e.Policy, c.Disposition)
	}
	for _, c := range f.Result {
		e := Evaluate(t.Context(), z, Message{Author: c.From, SPF: Identifier{Domain: c.SPF, Pass: true}})
		count(e.Result == c.Result, "%s: %s; want %s", c.From, e.Result, c.Result)
	}
	for _, c := range f.MailAuth {
		e := c.evaluate(t.Context())
		ok := c.Policy == nil || e.Policy == *c.Policy
		ok = ok && (len(c.Zone) > 0 || e.Result == ResultNone) && (c.WantSPF == "" || peerWord(e.SPF) == c.WantSPF) && (c.WantDKIM == "" || peerWord(e.DKIM[0]) == c.WantDKIM)
		count(ok, "%s: %+v; want %s, %s", c.From, e, c.WantSPF, c.WantDKIM)
	}
	t.Logf("treewalk.json: %d cases, %d agree", len(f.OrgDomain)+len(f.Disposition)+len(f.Result)+len(f.MailAuth), agreed)
}

// evaluate runs one case of mail-auth, in whose zones a name with an A record, and no other, exists.
func (c mailAuthCase) evaluate(ctx context.Context) Evaluation {
	z, exists := zone{}, false
	author := c.From[strings.LastIndexByte(c.From, '@')+1:]
	for name, data := range c.Zone {
		if strings.HasPrefix(data, "A ") {
			exists = exists || name == author
		} else {
			z[name] = []string{data}
		}
	}
	return Evaluate(ctx, z, Message{
		Author: author, SPF: Identifier{Domain: c.MailFrom, Pass: c.SPF == "pass"},
		DKIM: []Identifier{{Domain: c.DKIMD, Pass: c.DKIM == "pass"}}, Exists: existence(exists),
	})
}

// zone reads mail-dmarc's zone file, of which only the TXT records matter here.
func (f treewalkFile) zone() zone {
	z := zone{}
	for _, line := range f.Zone {
		owner, rest, _ := strings.Cut(line, " ")
		if _, txt, ok := strings.Cut(rest, ` TXT "`); ok {
			z[strings.TrimSuffix(owner, ".")] = []string{strings.TrimSuffix(txt, `"`)}
		}
	}
	// mail-dmarc finds this one in the real DNS.
	z["_dmarc.bbc.co.uk"] = []string{"v=DMARC1; p=quarantine"}
	return z
}

// peerWord is what mail-auth says of one mechanism.
func peerWord(a Alignment) string {
	switch {
	case !a.Pass:
		return "none"
	case a.Aligned == Yes:
		return "pass"
	}
	return "fail"
}

// err7489 is nil when a receiver that follows RFC 7489 applies the record. Its section 6.3
// has syntax errors "discarded in favor of default values (if any) or ignored outright", and
// section 6.6.3 wants a valid p and no invalid sp, or else a destination in rua; np it does
// not know.
func err7489(r Record) error {
	switch {
	case r.Standing == Broken:
		return r.Err()
	case len(r.RUA) > 0 || r.hasP && !r.badSP:
		return nil
	case !r.hasP:
		return errors.New("no valid p, and no valid destination in rua")
	}
	return errors.New("sp is invalid, and no valid destination in rua")
}
