package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
	"peerscore/store"
)

func (a *app) demoCommand() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole of peerscore on an embedded internet on loopback",
		Long: `Start a name server, the mail servers of a dozen providers of different quality and the
daemon, all on loopback and without root; play a few hundred sessions through the milter;
then print what peerscore made of them. The database is left behind for your own queries.`,
		Example: "  peerscore demo --dir /tmp/demo",
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.demo(cmd.Context(), keep); err != nil {
				return failure{exitUnavailable, err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keep, "dir", "", "leave database and log in `FOLDER` (default: a new temporary one)")
	return cmd
}

// demoPatience bounds the whole demo.
const demoPatience = time.Minute

// demoOutcome is what became of the sessions.
type demoOutcome struct {
	path             string // of the database
	sessions, spoofs int
	took             time.Duration
	honest, spoof    string // the header that one message of each kind was delivered with
}

func (a *app) demo(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	dir, err := demoFolder(dir)
	if err != nil {
		return err
	}
	world, err := startDemoWorld(demoProviders)
	if err != nil {
		return err
	}
	defer world.Close()
	a.introduceDemo(len(world.providers))
	run, err := startDemoDaemon(ctx, world, dir)
	if err != nil {
		return err
	}
	outcome, err := run.play(ctx, world)
	if stopErr := run.stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return fmt.Errorf("%w; the daemon's log is %s", err, filepath.Join(dir, "peerscore.log"))
	}
	return a.showDemo(ctx, outcome)
}

func demoFolder(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "peerscore-demo-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// demoRun is the daemon of the demo.
type demoRun struct {
	*daemon
	address string // of the milter
	cancel  context.CancelFunc
	ended   chan error
	log     io.Closer
}

// demoConfig is the configuration of a host within the world, its state in a folder.
func demoConfig(world *demoWorld, dir string) config.Config {
	cfg := config.Default()
	cfg.Store.Path = filepath.Join(dir, "peerscore.db")
	cfg.DNS.Servers = []config.Server{config.Server(world.dns.Addr())}
	cfg.Assess.EHLO = demoMX
	cfg.Assess.AllowNetworks = []config.Network{config.Network(netip.MustParsePrefix("127.0.0.0/8"))}
	cfg.Milter.AuthservID = demoMX
	cfg.Milter.OwnDomains = []config.DomainName{demoOwn}
	return cfg
}

// allServersAt are surroundings in which every server is on loopback, at one port.
func allServersAt(port uint16) surroundings {
	return surroundings{ports: map[uint16]uint16{25: port, 80: port, 443: port}, hurry: true}
}

func startDemoDaemon(ctx context.Context, world *demoWorld, dir string) (*demoRun, error) {
	cfg := demoConfig(world, dir)
	log, err := os.Create(filepath.Join(dir, "peerscore.log"))
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Close()
		return nil, err
	}
	around := allServersAt(world.port)
	around.roots, around.listeners = world.ca.Roots(), []net.Listener{listener}
	d, err := newDaemon(ctx, cfg, config.NewLogger(log, cfg.Log, &slog.LevelVar{}), around)
	if err != nil {
		log.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	run := &demoRun{daemon: d, address: listener.Addr().String(), cancel: cancel, ended: make(chan error, 1), log: log}
	go func() { run.ended <- d.run(ctx) }()
	return run, nil
}

func (r *demoRun) stop() error {
	r.cancel()
	err := <-r.ended
	r.log.Close()
	return err
}

// play has honest mail arrive, then spoofs, and makes sure that these changed nothing.
func (r *demoRun) play(ctx context.Context, world *demoWorld) (o demoOutcome, err error) {
	o.path = r.config.Store.Path
	honest, err := world.honestSessions()
	if err != nil {
		return o, err
	}
	o.sessions = len(honest)
	if o.took, err = playAll("tcp", r.address, honest); err != nil {
		return o, err
	}
	if err := r.awaitAssessments(ctx, world.providers); err != nil {
		return o, err
	}
	before, err := r.peers(ctx)
	if err != nil {
		return o, err
	}
	forged := spoofs(24, "nordmail.example", "bank.example")
	o.spoofs = len(forged)
	if _, err := playAll("tcp", r.address, forged); err != nil {
		return o, err
	}
	after, err := r.peers(ctx)
	if err != nil {
		return o, err
	}
	if !reflect.DeepEqual(before, after) {
		return o, fmt.Errorf("the spoofs changed what is known: %v became %v", before, after)
	}
	if o.spoof, err = r.deliver(forged[0]); err != nil {
		return o, err
	}
	genuine, err := world.honest(0, 2000)
	if err != nil {
		return o, err
	}
	o.honest, err = r.deliver(genuine)
	return o, err
}

// deliver plays a session and returns the message with the changes that the milter asked for.
func (r *demoRun) deliver(s demoSession) (string, error) {
	answer, err := s.play("tcp", r.address)
	return string(answer.Apply(s.message.Data)), err
}

// peers are all rows of the database, judged by all sessions until now.
func (r *demoRun) peers(ctx context.Context) ([]store.Peer, error) {
	if _, err := r.standings.Rejudge(ctx); err != nil {
		return nil, err
	}
	peers, err := r.store.Peers(ctx, store.Filter{})
	for i := range peers {
		peers[i].Next = time.Time{} // may be set a moment after the assessment
	}
	return peers, err
}

// awaitAssessments waits until every provider was probed.
func (r *demoRun) awaitAssessments(ctx context.Context, providers []demoProvider) error {
	for {
		missing := 0
		for _, p := range providers {
			peer, err := r.store.Peer(ctx, dnsname.Domain(p.domain))
			if err != nil || peer.Assessed.IsZero() {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d providers were not assessed in time", missing)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
