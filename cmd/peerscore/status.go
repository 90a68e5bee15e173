package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerscore/store"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Report whether the daemon is alive, and what it has done",
		Long: `Report whether the daemon answers at its milter sockets, how many peers it knows and how many
of them are due to be probed, and what everybody fails at once, so that it is held against
nobody: then the cause is on this side. Where http.listen is on, its counters follow: sessions, messages
by row of the attribution table ("spf-dkim", "relayed", "unauthenticated" and so on), probe runs and the
queue. Of the observations that messages leave, "committed" are on disk and "lost" will never be; a
message that counts as "not_recorded" was answered before either was known, since the database was
locked, slow or failing.

Exit status 3 means that no daemon answers.`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) },
	}
}

// statusJSON is what `status --json` prints.
type statusJSON struct {
	Schema   int                `json:"schema"`
	Alive    bool               `json:"alive"`
	Peers    int                `json:"peers"`
	Due      int                `json:"due"` // to be probed now
	LastSeen *time.Time         `json:"last_seen"`
	Frozen   []string           `json:"frozen"`   // what everybody fails at once, and is held against nobody
	Counters map[string]float64 `json:"counters"` // null where http.listen is off
	names    []string           // of the counters, in their order
}

func (a *app) status(ctx context.Context) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	out := statusJSON{Schema: schemaVersion}
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
		if err := out.readCounters(ctx, cfg.HTTP.Listen); err != nil {
			return fail(exitUnavailable, "the daemon answers, and its http.listen does not: %w", err)
		}
	}
	if a.json {
		return writeJSON(a.out, out)
	}
	a.writeStatus(a.out, out)
	return nil
}

func (a *app) countPeers(ctx context.Context, out *statusJSON) error {
	reader, err := a.openReader(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	peers, err := reader.Peers(ctx, store.Filter{Sort: "seen"})
	if err != nil {
		return failure{exitUnavailable, err}
	}
	frozen, err := reader.Frozen(ctx)
	if err != nil {
		return failure{exitUnavailable, err}
	}
	out.Peers, out.Frozen = len(peers), orEmpty(frozen)
	for i, p := range peers {
		if i == 0 {
			out.LastSeen = timeOrNull(p.LastSeen)
		}
		if !reader.rules.Passive && !p.Next.After(time.Now()) {
			out.Due++
		}
	}
	return nil
}

// readCounters reads those of ours from the metrics of the daemon.
func (s *statusJSON) readCounters(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy from the environment
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it says %s", response.Status)
	}
	const most = 1 << 20
	s.Counters = map[string]float64{}
	for lines := bufio.NewScanner(io.LimitReader(response.Body, most)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		number, err := strconv.ParseFloat(value, 64)
		if name, ours := strings.CutPrefix(name, "peerscore_"); ours && err == nil {
			s.Counters[name] = number
			s.names = append(s.names, name)
		}
	}
	return nil
}

func (c console) writeStatus(w io.Writer, s statusJSON) {
	seen := "none so far"
	if s.LastSeen != nil {
		seen = ago(*s.LastSeen, time.Now())
	}
	fmt.Fprintf(w, "%s\n%d %s, %d due to be probed; last session: %s\n", c.paint(green, "The daemon is alive."),
		s.Peers, plural(s.Peers, "peer", "peers"), s.Due, seen)
	for _, name := range s.Frozen {
		c.writeFinding(w, c.paint(red, "frozen ")+printable(name)+":", "everybody fails it at once, which is held against nobody; look for the cause on this host")
	}
	if s.Counters == nil {
		fmt.Fprintln(w, "Set http.listen to see its counters.")
		return
	}
	fmt.Fprintln(w)
	for _, name := range s.names {
		fmt.Fprintf(w, "  %-48s %10g\n", name, s.Counters[name])
	}
}
