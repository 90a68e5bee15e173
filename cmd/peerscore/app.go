package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

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
