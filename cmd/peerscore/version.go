package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// version is set by the build of a release; a build from a checkout tells its commit.
var version = "devel"

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return writeJSON(a.out, map[string]string{"version": version, "commit": commit(), "go": runtime.Version()})
			}
			fmt.Fprintf(a.out, "peerscore %s %s, %s\n", version, commit(), runtime.Version())
			return nil
		},
	}
}

// commit is the revision that the Go toolchain recorded, "unknown" where it recorded none.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

func (a *app) manCommand() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Print the manual page, or write one page a command",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			header := &doc.GenManHeader{Title: "PEERSCORE", Section: "1", Source: "peerscore", Manual: "Mail administration"}
			cmd.Root().DisableAutoGenTag = true
			if folder != "" {
				return doc.GenManTree(cmd.Root(), header, folder)
			}
			return doc.GenMan(cmd.Root(), header, a.out)
		},
	}
	cmd.Flags().StringVarP(&folder, "output", "o", "", "write peerscore.1, peerscore-show.1, ... into `FOLDER`")
	return cmd
}
