package view

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// CSVHead names the columns of CSVRow. None ever moves: standards that no profile may ask for came
// later and are behind all others.
func CSVHead() []string {
	head := []string{"domain", "status"}
	for _, c := range assess.Categories {
		head = append(head, string(c))
	}
	head = append(head, "minimum_set")
	for _, s := range standardsWhere(true) {
		head = append(head, string(s))
	}
	head = append(head, "credited", "first_seen", "last_seen", "assessed")
	for _, s := range standardsWhere(false) {
		head = append(head, string(s))
	}
	return head
}

// standardsWhere are those that a profile may ask for, or the others.
func standardsWhere(scored bool) []assess.Standard {
	return slices.DeleteFunc(slices.Clone(assess.Standards), func(s assess.Standard) bool { return s.Scored() != scored })
}

// CSVRow is a peer as `export csv` writes it.
func CSVRow(r Report) []string {
	row := []string{string(r.Domain), string(r.Status)}
	for _, c := range assess.Categories {
		row = append(row, strings.TrimSuffix(Number(r.Scores[c]), "-")) // empty where there is none
	}
	row = append(row, string(r.Scores.MinimumSet()))
	for _, s := range standardsWhere(true) {
		row = append(row, string(r.Verdicts.Support(s)))
	}
	out := r.JSON(false)
	row = append(row, strconv.Itoa(out.Sessions.Credited))
	for _, t := range []*time.Time{out.FirstSeen, out.LastSeen, out.Assessed} {
		text := ""
		if t != nil {
			text = t.Format(time.RFC3339)
		}
		row = append(row, text)
	}
	for _, s := range standardsWhere(false) {
		row = append(row, string(r.Verdicts.Support(s)))
	}
	return row
}

// WritePolicy writes the line of a peer in a table for smtp_tls_policy_maps(5), if mail to it
// can be asked for more than Postfix asks by itself.
func WritePolicy(w io.Writer, r Report, oldest time.Time) error {
	facts := r.Evidence.Facts
	if facts == nil || facts.At.Before(oldest) || !allInbound(r.Verdicts[assess.StartTLS]) {
		return nil
	}
	policy := "encrypt"
	switch {
	case !certificatesKnown(facts):
	case allInbound(r.Verdicts[assess.DANE]) && allInbound(r.Verdicts[assess.DNSSEC]):
		policy = "dane-only"
	case allInbound(r.Verdicts[assess.MTASTS]) && validPatterns(facts.MTASTS.MX):
		// Postfix writes the wildcard of RFC 8461, section 4.1 with a dot alone.
		policy = "secure match=" + strings.ReplaceAll(strings.Join(facts.MTASTS.MX, ":"), "*.", ".") + " servername=hostname"
	}
	_, err := fmt.Fprintf(w, "%s %s\n", r.Domain, policy)
	return err
}

// allInbound reports whether the standard is supported and every test of how the domain
// receives mail passed; what does not apply does not count.
func allInbound(v assess.Verdict) bool {
	passed := 0
	for _, t := range v.Tests {
		switch {
		case t.Direction != assess.Inbound || t.Result == assess.NotApplicable:
		case t.Result != assess.Pass:
			return false
		default:
			passed++
		}
	}
	return v.Support == assess.SupportYes && passed > 0
}

// certificatesKnown reports whether all certificates were seen that Postfix may get, which is not
// bound to choose the one that we got.
func certificatesKnown(f *assess.Facts) bool {
	return !slices.ContainsFunc(f.Hosts.Hosts, func(h assess.MXHost) bool { return !h.CertificatesKnown() })
}

func validPatterns(patterns []string) bool {
	for _, p := range patterns {
		if _, err := dnsname.Parse(strings.TrimPrefix(p, "*.")); err != nil {
			return false
		}
	}
	return len(patterns) > 0
}
