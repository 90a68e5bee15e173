package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/manual"
)

func (a *app) manCommand() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:   "man [PAGE]",
		Short: "Print a manual page: peerscore, peerscore.toml, or peerscore-reasons",
		Long: `Print a manual page, peerscore(1), peerscore.toml(5) or peerscore-reasons(7), in the form that
man reads, or write all of them into a folder.`,
		Example: `  peerscore man | man -l -
  peerscore man peerscore.toml | man -l -
  peerscore man --output /usr/local/share/man`,
		Args: takes(0, 1, "PAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pages := manual.Pages(cmd.Root(), version)
			if folder != "" {
				if err := manual.Write(folder, pages); err != nil {
					return failure{exitUsage, err}
				}
				return nil
			}
			name := pages[0].Name
			if len(args) == 1 {
				name = args[0]
			}
			i := slices.IndexFunc(pages, func(p manual.Page) bool { return p.Name == name })
			if i < 0 {
				return fail(exitUsage, "there is no page %q; write peerscore, peerscore.toml or peerscore-reasons", name)
			}
			fmt.Fprint(a.Out, pages[i].Text)
			return nil
		},
	}
	cmd.Flags().StringVarP(&folder, "output", "o", "", "write man1/peerscore.1, man5/peerscore.toml.5 and man7/peerscore-reasons.7 into `FOLDER`")
	return cmd
}
