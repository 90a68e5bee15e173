// Command peerscore keeps the reputation of the mail providers that a host exchanges mail
// with: a milter observes how they send, probes find out how they receive, and both become
// three star scores by the MECSA method (report EUR 29674 EN).
//
// One file a subcommand. main parses and calls run; run never exits, so that tests call it.
// What a command prints is in view, for people and as JSON; where it comes from
// is package store. Only serve, assess, doctor, status and demo open a network
// connection.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/view"
)

// Exit statuses, as peerscore(1) promises them.
const (
	exitAnswered    = 0
	exitUnknown     = 1 // domain not known, or below --below
	exitUsage       = 2 // usage or configuration
	exitUnavailable = 3 // database or daemon out of reach
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], &app{Console: view.StandardConsole()})
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit status. An error is one line on standard
// error that says what to do.
func run(ctx context.Context, args []string, a *app) int {
	out := &keeper{w: a.Out}
	a.Out = out
	root := a.command()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if out.err != nil { // a full disk behind `peerscore list >file`
		err = fail(exitUnavailable, "cannot write the output: %w", out.err)
	}
	if err == nil {
		return exitAnswered
	}
	var f failure
	if !errors.As(err, &f) { // cobra itself refuses flags, arguments and unknown commands
		message := strings.Join(strings.Fields(err.Error()), " ")
		f = failure{exitUsage, fmt.Errorf("%s; see `%s --help`", message, cmd.CommandPath())}
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintf(a.Err, "peerscore: %s\n", view.Printable(f.Error()))
	}
	return f.status
}

// keeper keeps the first error of a writer, so that not every line has to look for it.
type keeper struct {
	w   io.Writer
	err error
}

func (k *keeper) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if k.err == nil {
		k.err = err
	}
	return n, err
}

// errSilent ends a command whose output has said it all already.
var errSilent = errors.New("answered with a status")

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "peerscore",
		Short: "Star scores for the mail providers you exchange mail with",
		Long: `peerscore shows which of the mail providers you exchange mail with protect it.

A milter observes how they send, probes find out how they receive; both become three
scores of 0 to 5 stars: confidentiality, identity and integrity.`,
		SilenceUsage:  true,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,

		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", "", "configuration `FILE` (default "+config.SystemFile+", if it exists)")
	flags.StringVar(&a.dbPath, "db", "", "database `FILE` (default: store.path of the configuration)")
	flags.BoolVar(&a.json, "json", false, "print JSON for programs")
	root.AddCommand(
		a.serveCommand(), a.showCommand(), a.explainCommand(), a.listCommand(), a.assessCommand(),
		a.historyCommand(), a.eventsCommand(), a.statsCommand(), a.exportCommand(), a.reportCommand(), a.doctorCommand(), a.statusCommand(),
		a.profilesCommand(), a.labelCommand(), a.rescoreCommand(), a.forgetCommand(), a.pruneCommand(),
		a.demoCommand(), a.configCommand(), a.manCommand(), a.versionCommand(),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() { // cobra's own two answer to any argument with help, and status 0
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				meant, rest, err := root.Find(args)
				if err != nil {
					return err
				}
				return knownCommand(meant, rest)
			}
		case "completion":
			cmd.Args, cmd.RunE = knownCommand, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	return root
}

// knownCommand refuses what is none, with the command that was meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		return fail(exitUsage, "unknown command %q; did you mean `%s %s`?", args[0], cmd.CommandPath(), meant[0])
	}
	return fmt.Errorf("unknown command %q", args[0])
}
