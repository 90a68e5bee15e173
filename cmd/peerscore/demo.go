package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/milter/miltertest"
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
		Args: cobra.NoArgs,
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

func (a *app) demo(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "peerscore-demo-"); err != nil {
			return err
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	a.headline("An internet on loopback")
	world, err := startDemoWorld()
	if err != nil {
		return err
	}
	defer world.Close()
	a.say("%d providers of different quality, with signed and unsigned zones; their mail servers,", len(demoProviders))
	a.say("with certificates of a CA made just now; and the daemon, with an empty database.")

	run, err := a.startDemoDaemon(ctx, world, dir)
	if err != nil {
		return err
	}
	answers, err := a.playSessions(world, run.address)
	if err != nil {
		return err
	}
	if err := run.awaitAssessments(ctx); err != nil {
		return err
	}
	last, err := playOne(run.address, world, 0)
	if err != nil {
		return err
	}
	if err := run.stop(); err != nil {
		return err
	}
	return a.showDemo(ctx, filepath.Join(dir, "peerscore.db"), last, answers)
}

func (a *app) headline(s string) { fmt.Fprintf(a.out, "\n%s\n\n", a.paint(bold, s)) }

func (a *app) say(format string, args ...any) { fmt.Fprintf(a.out, "  "+format+"\n", args...) }

// demoRun is the daemon of the demo.
type demoRun struct {
	*daemon
	address string // of the milter
	cancel  context.CancelFunc
	ended   chan error
	log     io.Closer
}

func (a *app) startDemoDaemon(ctx context.Context, world *demoWorld, dir string) (*demoRun, error) {
	config := defaultConfig()
	config.Store.Path = filepath.Join(dir, "peerscore.db")
	config.DNS.Servers = []Server{Server(world.dns.Addr())}
	config.Assess.EHLO = "mx.demo.example"
	config.Milter.AuthservID = "mx.demo.example"
	config.Milter.OwnDomains = []DomainName{"demo.example"}
	loopback := Network(netip.MustParsePrefix("127.0.0.0/8"))
	config.Assess.AllowNetworks = []Network{loopback}
	log, err := os.Create(filepath.Join(dir, "peerscore.log"))
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d, err := newDaemon(ctx, config, newLogger(log, config.Log, &slog.LevelVar{}), surroundings{
		ports: map[uint16]uint16{25: world.smtpPort, 443: world.smtpPort, 80: world.smtpPort},
		roots: world.ca.Roots(), hurry: true, listeners: []net.Listener{listener},
	})
	if err != nil {
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

// demoTally is what became of the sessions.
type demoTally struct {
	sessions, spoofs int
	took             time.Duration
}

// playSessions plays everything through the real milter socket, as several MTA processes would.
func (a *app) playSessions(world *demoWorld, address string) (demoTally, error) {
	sessions, err := world.sessions()
	if err != nil {
		return demoTally{}, err
	}
	began := time.Now()
	work := make(chan demoSession)
	var failed error
	var once sync.Once
	var players sync.WaitGroup
	for range 8 {
		players.Go(func() {
			for s := range work {
				if _, err := play(address, s); err != nil {
					once.Do(func() { failed = err })
				}
			}
		})
	}
	for _, s := range sessions {
		work <- s
	}
	close(work)
	players.Wait()
	return demoTally{sessions: len(sessions), spoofs: demoSpoofs, took: time.Since(began)}, failed
}

// play is one SMTP session with one message.
func play(address string, s demoSession) (miltertest.Answer, error) {
	client, err := miltertest.Dial("tcp", address)
	if err != nil {
		return miltertest.Answer{}, err
	}
	defer client.Close()
	if err := client.Connect(s.peer); err != nil {
		return miltertest.Answer{}, err
	}
	answer, err := client.Send(s.peer, s.message)
	if err != nil {
		return miltertest.Answer{}, err
	}
	return answer, client.Quit()
}

// playOne is one more message of a provider, and the header it is delivered with.
func playOne(address string, world *demoWorld, provider int) (string, error) {
	s, err := world.honest(provider, demoProviders[provider], 2000)
	if err != nil {
		return "", err
	}
	answer, err := play(address, s)
	if err != nil {
		return "", err
	}
	header, _, _ := bytes.Cut(answer.Apply(s.message.Data), []byte("\r\n\r\n"))
	return strings.ReplaceAll(string(header), "\r\n", "\n"), nil
}

// awaitAssessments waits until every provider was probed.
func (r *demoRun) awaitAssessments(ctx context.Context) error {
	for {
		missing := 0
		for _, p := range demoProviders {
			peer, err := r.store.Peer(ctx, assess.Domain(p.domain))
			if err != nil || peer.Assessed.IsZero() {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d providers were not assessed in time; the log is beside the database %s", missing, r.config.Store.Path)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// showDemo is what a newcomer sees: the list, one explanation, one header, and what to type next.
func (a *app) showDemo(ctx context.Context, path, header string, t demoTally) error {
	a.say("")
	a.say("%d sessions were played through the milter socket in %.1f s, %d of them spoofs.", t.sessions, t.took.Seconds(), t.spoofs)
	shown := &app{console: a.console, dbPath: path}
	reader, err := shown.openReader(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()

	a.headline("peerscore list --sort integrity")
	if err := shown.list(ctx, reader, store.Filter{Sort: "integrity"}); err != nil {
		return err
	}
	a.headline("peerscore explain webshop.example")
	r, err := reader.report(ctx, "webshop.example")
	if err != nil {
		return err
	}
	a.writeExplanation(a.out, r, time.Now())

	a.headline("The header of one delivered message")
	for _, line := range strings.Split(header, "\n") {
		if strings.HasPrefix(line, "DKIM-Signature:") {
			a.say("DKIM-Signature: ...")
			continue
		}
		if !strings.HasPrefix(line, " ") || !strings.Contains(line, "=") || strings.Contains(line, "profile=") || strings.Contains(line, "identity=") {
			a.say("%s", printable(line))
		}
	}
	a.headline("Your turn")
	self := os.Args[0]
	a.say("%s --db %s show nordmail.example", self, path)
	a.say("%s --db %s explain bank.example", self, path)
	a.say("%s --db %s list --below 3.5 --json", self, path)
	fmt.Fprintln(a.out)
	return nil
}
