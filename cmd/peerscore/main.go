// Command peerscore keeps the reputation of the mail providers that a host exchanges mail
// with: a milter observes how they send, probes find out how they receive, and both become
// three star scores by the MECSA method (report EUR 29674 EN).
//
// One file a subcommand. main parses and calls run; run never exits, so that tests call it.
// What a command prints is in render.go (JSON) and text.go (for people); where it comes from
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

	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// Exit statuses, as interface.md promises them.
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

// failure is an error with the exit status that it means.
type failure struct {
	status int
	err    error
}

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

func fail(status int, format string, args ...any) error {
	return failure{status, fmt.Errorf(format, args...)}
}

// status gives an error of a room its exit status: wrong is what the configuration says, out of
// reach everything else.
func status(err error) error {
	var f failure
	var key config.Error
	switch {
	case err == nil || errors.As(err, &f):
		return err
	case errors.As(err, &key):
		return failure{exitUsage, err}
	}
	return failure{exitUnavailable, err}
}

// known gives an error about a domain its exit status, and says what to do where it is not known.
func known(d dnsname.Domain, err error) error {
	if errors.Is(err, store.ErrUnknownDomain) {
		return fail(exitUnknown, "%s is not known; `peerscore assess %s` probes it now", d, d)
	}
	return status(err)
}

// app is what every command shares: the console, the world outside and the flags of the root.
type app struct {
	view.Console
	around     daemon.Surroundings
	configPath string
	dbPath     string
	json       bool
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
		f = failure{exitUsage, fmt.Errorf("%s; `%s --help` tells how", message, cmd.CommandPath())}
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
		Long: `peerscore tells which of the mail providers you exchange mail with protect it.

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
	flags.StringVar(&a.configPath, "config", "", "configuration `FILE` (default "+config.SystemFile+", if it is there)")
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

// takes refuses a command line without the arguments that are called what, or with more.
func takes(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least {
			return fmt.Errorf("%s is missing", what)
		}
		if len(args) > most {
			return fmt.Errorf("unexpected argument %q", args[most])
		}
		return nil
	}
}

// takesNone refuses any argument.
func takesNone(cmd *cobra.Command, args []string) error { return takes(0, 0, "")(cmd, args) }

// config is the effective configuration of this command line.
func (a *app) config() (config.Config, error) {
	c, err := config.Load(a.configPath)
	if err != nil {
		return c, failure{exitUsage, err}
	}
	if a.dbPath != "" {
		c.Store.Path = a.dbPath
	}
	return c, nil
}

// reading opens the database for a command that only reads.
func (a *app) reading(ctx context.Context, do func(reader.Reader) error) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	r, err := reader.Open(ctx, cfg)
	if err != nil {
		return status(err)
	}
	defer r.Close()
	return status(do(r))
}

// writing opens the database for a command that writes, beside a daemon that may be running.
func (a *app) writing(ctx context.Context, do func(*store.Store) error) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, cfg.Store.Path, cfg.StoreOptions(nil)) // its errors are ours to tell
	if err != nil {
		return fail(exitUnavailable, "cannot write the database: %w", err)
	}
	doErr := do(s)
	if err := s.Close(); err != nil && doErr == nil {
		return failure{exitUnavailable, fmt.Errorf("closing the database: %w", err)}
	}
	return status(doErr)
}
