// Package daemon is what runs: the milter, the background assessor and the store, joined; their
// sockets, metrics and pages. Commands that probe take their parts from here.
package daemon

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"peerscore/assess"
	"peerscore/assess/probe/resolver"
	"peerscore/assess/spf"
	"peerscore/cmd/peerscore/config"
	"peerscore/milter"
	"peerscore/store"
)

// drainTime is how long messages at hand may take to end after SIGTERM, below systemd's patience.
const drainTime = 12 * time.Second

// Daemon is one process: milter, background assessor, store.
type Daemon struct {
	config    config.Config
	log       *slog.Logger
	Store     *store.Store
	Standings *store.Standings
	resolver  *resolver.Resolver
	assessor  *assess.Assessor
	queue     *assess.Queue
	milter    *milter.Server
	learner   *learner
	listeners []net.Listener
}

// New opens the database and the sockets and says in one line each what they are.
// After an error nothing is left open.
func New(ctx context.Context, cfg config.Config, logger *slog.Logger, around Surroundings) (_ *Daemon, err error) {
	d := &Daemon{config: cfg, log: logger}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	places := shareDescriptors(logger)
	if d.resolver, err = NewResolver(cfg, logger, places.questions); err != nil {
		return nil, err
	}
	options := cfg.StoreOptions(logger)
	options.SetAside = true
	if d.Store, err = store.Open(ctx, cfg.Store.Path, options); err != nil {
		return nil, fmt.Errorf("cannot open the database: %w; --db or store.path names another file", err)
	}
	if d.assessor, err = NewAssessor(cfg, logger, d.Store, d.resolver, around, cfg.Limits()); err != nil {
		return nil, err
	}
	d.Standings = store.NewStandings(d.Store, store.Judge{Profile: d.assessor.Profile, Rules: d.assessor.Rules, Window: d.assessor.Window})
	d.queue = &assess.Queue{Assessor: d.assessor, Agenda: d.Store, Schedule: cfg.Schedule()}
	if around.Hurry {
		d.queue.Schedule.MinDelay, d.queue.Schedule.MaxDelay = 0, 0
	}
	d.learner = newLearner(d)
	d.milter = milter.New(milter.Config{
		Resolver: PerMessage(d.resolver), Recorder: d.Store, Reputation: d.Standings, Learner: d.learner, Logger: logger,
		Hostname: cfg.Assess.EHLO, Policy: cfg.Policy(), Sessions: places.sessions,
	})
	log.SetFlags(0)
	log.SetOutput(milter.StandardLog(logger)) // go-milter's own complaints
	d.listeners = around.Listeners
	for _, l := range cfg.Milter.Listen {
		if around.Listeners != nil {
			break
		}
		listener, err := Listen(l, cfg.Milter)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", l, err)
		}
		d.listeners = append(d.listeners, listener)
	}
	d.introduce(ctx)
	return d, nil
}

// introduce says where everything is, and whether the resolver validates.
func (d *Daemon) introduce(ctx context.Context) {
	for _, l := range d.listeners {
		d.log.Info("milter listening", "network", l.Addr().Network(), "address", l.Addr().String())
	}
	d.log.Info("database open", "path", d.config.Store.Path)
	d.checkResolver(ctx)
}

// checkResolver runs the self-test; DNSSEC is unknown, never "no", where it does not validate.
func (d *Daemon) checkResolver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v := d.resolver.SelfTest(ctx)
	level := slog.LevelInfo
	if v.Validates != resolver.ValidatesYes {
		level = slog.LevelWarn
	}
	var servers []string
	for _, s := range d.resolver.Servers() {
		servers = append(servers, s.String())
	}
	validates := v.Validates
	if validates == resolver.ValidatesUnknown {
		validates = "unknown"
	}
	d.log.Log(ctx, level, "resolver", "servers", strings.Join(servers, " "), "validates", validates, "detail", v.Detail)
}

// Run serves until ctx ends, then stops in order: the milter finishes the messages at hand,
// probes are given up, the store commits and closes.
func (d *Daemon) Run(ctx context.Context) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	var workers sync.WaitGroup
	workers.Go(func() { d.Standings.Run(background) })
	workers.Go(func() { d.daily(background) })
	workers.Go(func() { d.learner.run(background) })
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	workers.Go(func() { d.noteFrozen(background, tick.C) })
	if d.config.Assess.Enabled {
		workers.Go(func() { d.queue.Run(background) })
	}
	failed := make(chan error, len(d.listeners)+1)
	for _, l := range d.listeners {
		go func() { failed <- d.milter.Serve(l) }()
	}
	web, err := d.startHTTP()
	if err != nil {
		failed <- err
	}
	notify(systemd.SdNotifyReady)

	err = nil
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	notify(systemd.SdNotifyStopping)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if web != nil {
		web.Close()
	}
	if err := d.milter.Shutdown(drain); err != nil {
		d.log.Warn("not all messages ended in time", "error", err)
	}
	stopBackground()
	workers.Wait()
	if closeErr := d.close(); err == nil && closeErr != nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	d.log.Info("stopped")
	return nil
}

// Reload takes from the configuration what can change without dropping sessions, and sets the level of the log.
func (d *Daemon) Reload(load func() (config.Config, error), level *slog.LevelVar) {
	notify(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
	defer notify(systemd.SdNotifyReady)
	cfg, err := load()
	if err != nil {
		d.log.Error("the configuration was not reloaded", "error", err)
		return
	}
	level.Set(config.Level(cfg.Log.Level))
	d.milter.SetPolicy(cfg.Policy())
	d.log.Info("configuration reloaded", "applies", "log.level, header.*, milter.* but listen and socket_*; all else on restart")
}

// notify tells systemd; outside systemd it does nothing.
func notify(state string) {
	_, _ = systemd.SdNotify(false, state) // nobody is left to tell
}

// daily looks again whether the resolver validates.
func (d *Daemon) daily(ctx context.Context) {
	tick := time.NewTicker(config.Day)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.checkResolver(ctx)
		}
	}
}

func (d *Daemon) close() error {
	for _, l := range d.listeners {
		l.Close()
	}
	if d.Store == nil {
		return nil
	}
	return d.Store.Close()
}

// PerMessage gives each message a view of the resolver with a limit of its own.
func PerMessage(r *resolver.Resolver) func(queries int) milter.Resolver {
	return func(queries int) milter.Resolver { return messageResolver{r.Limited(queries, nil)} }
}

// messageResolver is what the milter asks.
type messageResolver struct{ *resolver.Resolver }

func (r messageResolver) Cached() spf.Resolver { return r.Resolver.Cached() }
