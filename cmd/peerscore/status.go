package main

import (
	"context"
	"net"
	"time"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/daemon"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Report whether the daemon is alive, and what it has done",
		Long: `Report whether the daemon answers at its milter sockets, how many peers it knows and how many
of them are due to be probed, and which tests are frozen: failed by everybody at once, so
that the cause is probably on this host and no peer is blamed. Where http.listen is on, its counters follow: sessions, messages
by row of the attribution table ("spf-dkim", "relayed", "unauthenticated" and so on), probe runs and the
queue. Of the observations that messages leave, "committed" are on disk and "lost" will never be; a
message that counts as "not_recorded" was answered before either was known, since the database was
locked, slow or failing.

Exit status 3 means that no daemon answers.`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) },
	}
}

func (a *app) status(ctx context.Context) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	out := view.Status{Schema: view.SchemaVersion}
	for _, l := range cfg.Milter.Listen {
		if conn, err := net.DialTimeout(l.Network, l.Address, time.Second); err == nil {
			conn.Close()
			out.Alive = true
		}
	}
	if !out.Alive {
		return fail(exitUnavailable, "no daemon answers at %v; `peerscore serve` starts one", cfg.Milter.Listen)
	}
	if err := a.countPeers(ctx, &out); err != nil {
		return err
	}
	if cfg.HTTP.On() {
		counters, err := daemon.ReadCounters(ctx, cfg.HTTP.Listen)
		if err != nil {
			return fail(exitUnavailable, "the daemon answers, and its http.listen does not: %w", err)
		}
		for _, c := range counters {
			out.Count(c.Name, c.Value)
		}
	}
	if a.json {
		return view.WriteJSON(a.Out, out)
	}
	a.WriteStatus(out)
	return nil
}

func (a *app) countPeers(ctx context.Context, out *view.Status) error {
	return a.reading(ctx, func(r reader.Reader) error {
		peers, err := r.Peers(ctx, store.Filter{Sort: "seen"})
		if err != nil {
			return err
		}
		frozen, err := r.Frozen(ctx)
		if err != nil {
			return err
		}
		out.Peers, out.Frozen = len(peers), view.OrEmpty(frozen)
		for i, p := range peers {
			if i == 0 {
				out.LastSeen = view.TimeOrNull(p.LastSeen)
			}
			if !r.Rules.Passive && !p.Next.After(time.Now()) {
				out.Due++
			}
		}
		return nil
	})
}
