package main

import (
	"bytes"
	"fmt"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
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
		Short: "Validate the configuration, naming file, line and key of what is wrong",

		Example: "  peerscore config check --config new.toml && systemctl reload peerscore",

		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if _, err := a.config(); err != nil {
				return err
			}
			if a.json {
				return writeJSON(a.out, map[string]bool{"valid": true})
			}
			fmt.Fprintln(a.out, "The configuration is valid.")
			return nil
		},
	}, &cobra.Command{
		Use:   "show",
		Short: "Print the effective configuration, defaults included",
		Args:  cobra.NoArgs,
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
func (a *app) writeConfig(c Config) error {
	var text bytes.Buffer
	enc := toml.NewEncoder(&text)
	enc.Indent = ""
	if err := enc.Encode(c); err != nil {
		return err
	}
	if !a.json {
		_, err := text.WriteTo(a.out)
		return err
	}
	var keys map[string]any
	if _, err := toml.Decode(text.String(), &keys); err != nil {
		return err
	}
	return writeJSON(a.out, keys)
}
