package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) labelCommand() *cobra.Command {
	var clear bool
	cmd := &cobra.Command{
		Use:   "label DOMAIN [CATEGORY...]",
		Short: "Put a domain into categories of your own",
		Long: `Put a domain into categories of your own, such as bank or university, replacing earlier ones;
"peerscore stats" has the figures of each category. Without a category, print those of
the domain; --clear removes it from all.`,
		Example: "  peerscore label example.org university\n  peerscore label --clear example.org",
		Args:    takes(1, math.MaxInt, "DOMAIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			domains, err := parseDomains(args[:1])
			if err != nil {
				return err
			}
			categories := args[1:]
			for _, c := range categories {
				if c == "" || len(c) > 32 || strings.Trim(c, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
					return fail(exitUsage, "%q is not a valid category; write lower-case letters, digits and hyphens", c)
				}
			}
			switch {
			case clear && len(categories) > 0:
				return fail(exitUsage, "either --clear or categories")
			case !clear && len(categories) == 0:
				return a.showLabels(cmd.Context(), domains[0])
			}
			return a.writing(cmd.Context(), func(s *store.Store) error {
				return known(domains[0], s.SetLabels(cmd.Context(), domains[0], categories))
			})
		},
	}
	cmd.Flags().BoolVar(&clear, "clear", false, "remove the domain from all categories")
	return cmd
}

func (a *app) showLabels(ctx context.Context, d dnsname.Domain) error {
	return a.reading(ctx, func(r reader.Reader) error {
		if _, err := r.Peer(ctx, d); err != nil {
			return known(d, err)
		}
		labels, err := r.Labels(ctx)
		if err != nil {
			return err
		}
		if a.json {
			return view.WriteJSON(a.Out, map[string]any{"schema": view.SchemaVersion, "domain": d, "categories": view.OrEmpty(labels[d])})
		}
		for _, c := range labels[d] {
			fmt.Fprintln(a.Out, c)
		}
		return nil
	})
}
