package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/view"
)

// version is set by the build of a release; a build from a checkout tells its commit.
var version = "devel"

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  takesNone,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return view.WriteJSON(a.Out, map[string]string{"version": version, "commit": commit(), "go": runtime.Version()})
			}
			fmt.Fprintf(a.Out, "peerscore %s %s, %s\n", version, commit(), runtime.Version())
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
