package main

import (
	"bytes"
	"fmt"
	"os"
	"os/user"

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
		Long: `Validate the configuration: its keys, their values, and whether the group and the files
that it names are there. What is wrong is told with file, line and key, and status 2.`,

		Example: "  peerscore config check --config new.toml && systemctl reload peerscore",

		Args: takesNone,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			if err := a.checkNamed(c); err != nil {
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

// checkNamed looks for what the configuration names outside of itself.
func (a *app) checkNamed(c Config) error {
	key, err := c.missing()
	if err == nil {
		return nil
	}
	path := a.configPath
	if path == "" {
		path = systemConfig
	}
	text, readErr := os.ReadFile(path)
	if readErr != nil {
		return failure{exitUsage, readErr}
	}
	return fail(exitUsage, "%s:%d: %s: %w", path, lineOf(string(text), key), key, err)
}

// missing is the first key that names a group or a file that is not to be had.
func (c Config) missing() (key string, err error) {
	if group := c.Milter.SocketGroup; group != "" {
		if _, err := user.LookupGroup(group); err != nil {
			return "milter.socket_group", fmt.Errorf("there is no group %q", group)
		}
	}
	if file := c.Assess.CAFile; file != "" {
		if _, err := readRoots(file); err != nil {
			return "assess.ca_file", err
		}
	}
	return "", nil
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
