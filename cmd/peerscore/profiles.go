package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/view"
)

func (a *app) profilesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profiles",
		Short: "List, print or check scoring profiles",
		Example: `  peerscore profiles
  peerscore profiles show mecsa-2018
  peerscore profiles show mecsa-2018 --json >own.json
  peerscore profiles lint own.json`,
		Args: knownCommand,
		RunE: func(*cobra.Command, []string) error { return a.listProfiles() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List the scoring profiles with their sources",
		Long:  "List the scoring profiles with their sources. A star marks the one in effect.",
		Args:  takesNone,
		RunE:  func(*cobra.Command, []string) error { return a.listProfiles() },
	}, &cobra.Command{
		Use:   "show NAME|FILE",
		Short: "Print a scoring profile; with --json in the form of a file of your own",
		Args:  takes(1, 1, "NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := findProfile(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return view.WriteJSON(a.Out, p)
			}
			a.WriteProfile(p)
			return nil
		},
	}, &cobra.Command{
		Use:   "lint FILE",
		Short: "Check a scoring profile of your own",
		Args:  takes(1, 1, "FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := config.ReadProfile(args[0])
			if err != nil {
				return failure{exitUsage, err}
			}
			if a.json {
				return view.WriteJSON(a.Out, map[string]any{"valid": true, "name": p.Name})
			}
			fmt.Fprintf(a.Out, "The profile %s is valid.\n", p.Name)
			return nil
		},
	})
	return cmd
}

// findProfile is a built-in one by its name, or that of a file.
func findProfile(name string) (assess.Profile, error) {
	p, err := assess.LoadProfile(name)
	if _, absent := os.Stat(name); err != nil && absent == nil {
		p, err = config.ReadProfile(name)
	}
	if err != nil {
		return p, failure{exitUsage, err}
	}
	return p, nil
}

func (a *app) listProfiles() error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	used, err := cfg.Profile()
	if err != nil {
		return failure{exitUsage, err}
	}
	type line struct {
		Name   string `json:"name"`
		Used   bool   `json:"used"`
		Date   string `json:"date"`
		Source string `json:"source"`
	}
	var lines []line
	own := true
	for _, name := range assess.ProfileNames() {
		p, err := assess.LoadProfile(name)
		if err != nil {
			return err
		}
		lines = append(lines, line{p.Name, p.Name == used.Name, p.Date, p.Source})
		own = own && p.Name != used.Name
	}
	if own {
		lines = append(lines, line{used.Name, true, used.Date, used.Source})
	}
	if a.json {
		return view.WriteJSON(a.Out, lines)
	}
	for _, l := range lines {
		mark := " "
		if l.Used {
			mark = "*"
		}
		a.WriteFinding(fmt.Sprintf("%s %-12s %-7s", mark, view.Printable(l.Name), view.Printable(l.Date)), view.Printable(l.Source))
	}
	return nil
}
