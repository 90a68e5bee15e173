// Package demo is an internet on loopback: name servers, mail servers and the mail of a dozen
// providers, and the story that peerscore tells of them.
package demo

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

	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// patience bounds the whole demo.
const patience = time.Minute

// outcome is what became of the sessions.
type outcome struct {
	path             string // of the database
	sessions, spoofs int
	took             time.Duration
	honest, spoof    string // the header that one message of each kind was delivered with
}

// Run tells the whole story on a console. Database and log stay in the folder, or in a new
// temporary one where it is "".
func Run(ctx context.Context, c view.Console, dir string) error {
	teller := teller{c}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, err := folderFor(dir)
	if err != nil {
		return err
	}
	world, err := StartWorld(Providers)
	if err != nil {
		return err
	}
	defer world.Close()
	teller.introduceDemo(len(world.Providers))
	run, err := startDaemon(ctx, world, dir)
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
	return teller.showDemo(ctx, outcome)
}

func folderFor(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "peerscore-demo-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// running is the daemon of the demo.
type running struct {
	*daemon.Daemon
	path    string // of the database
	address string // of the milter
	cancel  context.CancelFunc
	ended   chan error
	log     io.Closer
}

// Config is the configuration of a host within the world, its state in a folder.
func Config(world *World, dir string) config.Config {
	cfg := config.Default()
	cfg.Store.Path = filepath.Join(dir, "peerscore.db")
	cfg.DNS.Servers = []config.Server{config.Server(world.DNS.Addr())}
	cfg.Assess.EHLO = ownMX
	cfg.Assess.AllowNetworks = []config.Network{config.Network(netip.MustParsePrefix("127.0.0.0/8"))}
	cfg.Milter.AuthservID = ownMX
	cfg.Milter.OwnDomains = []config.DomainName{ownDomain}
	return cfg
}

// AllServersAt are surroundings in which every server is on loopback, at one port.
func AllServersAt(port uint16) daemon.Surroundings {
	return daemon.Surroundings{Ports: map[uint16]uint16{25: port, 80: port, 443: port}, Hurry: true}
}

func startDaemon(ctx context.Context, world *World, dir string) (*running, error) {
	cfg := Config(world, dir)
	log, err := os.Create(filepath.Join(dir, "peerscore.log"))
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Close()
		return nil, err
	}
	around := AllServersAt(world.Port)
	around.Roots, around.Listeners = world.CA.Roots(), []net.Listener{listener}
	d, err := daemon.New(ctx, cfg, config.NewLogger(log, cfg.Log, &slog.LevelVar{}), around)
	if err != nil {
		log.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	run := &running{Daemon: d, path: cfg.Store.Path, address: listener.Addr().String(), cancel: cancel, ended: make(chan error, 1), log: log}
	go func() { run.ended <- d.Run(ctx) }()
	return run, nil
}

func (r *running) stop() error {
	r.cancel()
	err := <-r.ended
	r.log.Close()
	return err
}

// play has honest mail arrive, then spoofs, and makes sure that these changed nothing.
func (r *running) play(ctx context.Context, world *World) (o outcome, err error) {
	o.path = r.path
	honest, err := world.honestSessions()
	if err != nil {
		return o, err
	}
	o.sessions = len(honest)
	if o.took, err = playAll("tcp", r.address, honest); err != nil {
		return o, err
	}
	if err := r.awaitAssessments(ctx, world.Providers); err != nil {
		return o, err
	}
	before, err := r.peers(ctx)
	if err != nil {
		return o, err
	}
	forged := Spoofs(24, "nordmail.example", "bank.example")
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
	genuine, err := world.Honest(0, 2000)
	if err != nil {
		return o, err
	}
	o.honest, err = r.deliver(genuine)
	return o, err
}

// deliver plays a session and returns the message with the changes that the milter asked for.
func (r *running) deliver(s Session) (string, error) {
	answer, err := s.Play("tcp", r.address)
	return string(answer.Apply(s.Message.Data)), err
}

// peers are all rows of the database, judged by all sessions until now.
func (r *running) peers(ctx context.Context) ([]store.Peer, error) {
	if _, err := r.Standings.Rejudge(ctx); err != nil {
		return nil, err
	}
	peers, err := r.Store.Peers(ctx, store.Filter{})
	for i := range peers {
		peers[i].Next = time.Time{} // may be set a moment after the assessment
	}
	return peers, err
}

// awaitAssessments waits until every provider was probed.
func (r *running) awaitAssessments(ctx context.Context, providers []Provider) error {
	for {
		missing := 0
		for _, p := range providers {
			peer, err := r.Store.Peer(ctx, dnsname.Domain(p.Domain))
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
