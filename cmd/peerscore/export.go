package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export postfix-tls-policy|csv|json",
		Short: "Print all peers for other programs",
		Long: `Print all peers for other programs: csv has one line a peer, json one object a line as
show has it. postfix-tls-policy is a table for smtp_tls_policy_maps: dane-only for peers all of
whose MX hosts match their protected TLSA records, secure for those that enforce MTA-STS, both
with each certificate that a host has, be its key RSA or ECDSA; encrypt for those all of whose
MX hosts speak STARTTLS. Whoever was assessed too long ago, or
has a host that could not be measured, is left out: Postfix then does what it does for others.`,
		Example: `  peerscore export csv >peers.csv
  peerscore export postfix-tls-policy >/etc/postfix/tls_policy && postmap /etc/postfix/tls_policy`,
		Args:      takes(1, 1, "FORMAT"),
		ValidArgs: []string{"postfix-tls-policy", "csv", "json"},
		RunE:      func(cmd *cobra.Command, args []string) error { return a.export(cmd.Context(), args[0]) },
	}
	return cmd
}

func (a *app) export(ctx context.Context, format string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.Out)
	table := csv.NewWriter(out)
	formats := map[string]func(view.Report) error{
		"json": func(r view.Report) error { return view.WriteJSONLine(out, r.JSON(false)) },
		"csv":  func(r view.Report) error { return table.Write(csvRow(r)) },
		"postfix-tls-policy": func(r view.Report) error {
			return writePolicy(out, r, time.Now().Add(-2*time.Duration(cfg.Assess.MaxAge)))
		},
	}
	write, ok := formats[format]
	if !ok {
		return fail(exitUsage, "no format is called %q; write postfix-tls-policy, csv or json", format)
	}
	if format == "csv" {
		if err := table.Write(csvHead()); err != nil {
			return err
		}
	}
	if err := a.reading(ctx, func(r reader.Reader) error { return r.Each(ctx, store.Filter{}, write) }); err != nil {
		return err
	}
	table.Flush()
	return errors.Join(table.Error(), out.Flush())
}

func csvHead() []string {
	head := []string{"domain", "status"}
	for _, c := range assess.Categories {
		head = append(head, string(c))
	}
	head = append(head, "minimum_set")
	for _, s := range assess.Standards {
		head = append(head, string(s))
	}
	return append(head, "credited", "first_seen", "last_seen", "assessed")
}

func csvRow(r view.Report) []string {
	row := []string{string(r.Domain), string(r.Status)}
	for _, c := range assess.Categories {
		row = append(row, strings.TrimSuffix(view.Number(r.Scores[c]), "-")) // empty where there is none
	}
	row = append(row, string(r.Scores.MinimumSet()))
	for _, s := range assess.Standards {
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
	return row
}

// writePolicy writes the line of a peer in a table for smtp_tls_policy_maps(5), if mail to it
// can be asked for more than Postfix asks by itself.
func writePolicy(w io.Writer, r view.Report, oldest time.Time) error {
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
		// Postfix writes the wildcard of RFC 8461 section 4.1 with a dot alone.
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
