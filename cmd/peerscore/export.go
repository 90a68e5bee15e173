package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export postfix-tls-policy|csv|json",
		Short: "Print all peers for other programs",
		Long: `Print all peers for other programs: csv has one line per peer, json one object per line, as
in show. postfix-tls-policy is a table for smtp_tls_policy_maps: dane-only for peers all of
whose MX hosts match their protected TLSA records, secure for those that enforce MTA-STS, both
with each certificate that a host has, be its key RSA or ECDSA; encrypt for those all of whose
MX hosts speak STARTTLS. Peers assessed too long ago, or
with a host that could not be measured, are left out; Postfix then applies its default.`,
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
		"csv":  func(r view.Report) error { return table.Write(view.CSVRow(r)) },
		"postfix-tls-policy": func(r view.Report) error {
			return view.WritePolicy(out, r, time.Now().Add(-2*time.Duration(cfg.Assess.MaxAge)))
		},
	}
	write, ok := formats[format]
	if !ok {
		return fail(exitUsage, "no format is called %q; write postfix-tls-policy, csv or json", format)
	}
	if format == "csv" {
		if err := table.Write(view.CSVHead()); err != nil {
			return err
		}
	}
	if err := a.reading(ctx, func(r reader.Reader) error { return r.Each(ctx, store.Filter{}, write) }); err != nil {
		return err
	}
	table.Flush()
	return errors.Join(table.Error(), out.Flush())
}
