package main

import (
	"bytes"
	"fmt"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/view"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or print the configuration",
		Args:  knownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "check",
		Short: "Validate the configuration; errors name file, line and key",
		Long: `Validate the configuration: its keys, their values, and whether the group and the files
that it names exist. Errors name file, line and key; the exit status is then 2.`,

		Example: "  peerscore config check --config new.toml && systemctl reload peerscore",

		Args: takesNone,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			if err := c.CheckNamed(a.configPath); err != nil {
				return failure{exitUsage, err}
			}
			if a.json {
				return view.WriteJSON(a.Out, map[string]bool{"valid": true})
			}
			fmt.Fprintln(a.Out, "The configuration is valid.")
			return nil
		},
	}, &cobra.Command{
		Use:   "show",
		Short: "Print the effective configuration, defaults included",
		Args:  takesNone,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			return a.writeConfig(c)
		},
	})
	return cmd
}

// writeConfig prints TOML that `--config` reads back, or the same keys as JSON.
func (a *app) writeConfig(c config.Config) error {
	if !a.json {
		return c.Encode(a.Out)
	}
	var text bytes.Buffer
	if err := c.Encode(&text); err != nil {
		return err
	}
	var keys map[string]any
	if _, err := toml.Decode(text.String(), &keys); err != nil {
		return err
	}
	return view.WriteJSON(a.Out, keys)
}
