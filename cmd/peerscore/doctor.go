package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/daemon"
	"peerscore/cmd/peerscore/doctor"
	"peerscore/cmd/peerscore/view"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor [DOMAIN]",
		Short: "Check this host for what keeps peerscore from working",
		Long: `Check this host for what keeps peerscore from working: whether the resolver validates, port 25
of others can be reached, the clock is right, the database can be read and the milter socket
bound, and Postfix is configured to use it. Port 25 is tried at the mail hosts of DOMAIN, or
of the peer that was assessed last, with one probe that is not stored.

Exit status 3 means that something does not work.`,
		Example: "  peerscore doctor example.org",
		Args:    takes(0, 1, "DOMAIN"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.doctor(cmd.Context(), args) },
	}
}

func (a *app) doctor(ctx context.Context, args []string) error {
	domains, err := parseDomains(args)
	if err != nil {
		return err
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	return a.writeSymptoms(doctor.Examine(ctx, cfg, domains, daemon.CommandLogger(a.Err, cfg.Log), a.around))
}

func (a *app) writeSymptoms(symptoms []doctor.Symptom) error {
	failed := false
	for _, s := range symptoms {
		failed = failed || s.Result == "fail"
		if !a.json {
			colour := map[string]view.Colours{"ok": view.Green, "fail": view.Red, "unknown": view.Faint}[s.Result]
			a.WriteFinding(a.Paint(colour, fmt.Sprintf("%-8s", s.Result))+fmt.Sprintf("%-9s", s.Check), view.Printable(s.Detail))
		}
	}
	if a.json {
		if err := view.WriteJSON(a.Out, symptoms); err != nil {
			return err
		}
	}
	if failed {
		return failure{exitUnavailable, errSilent}
	}
	return nil
}
