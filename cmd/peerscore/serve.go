package main

import (
	"context"
	"crypto/x509"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"peerscore/assess"
	"peerscore/assess/probe"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/config"
	"peerscore/milter"
	"peerscore/store"
)

// drainTime is how long messages at hand may take to end after SIGTERM, below systemd's patience.
const drainTime = 12 * time.Second

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: milter, background assessor, store",
		Long: `Run the daemon in the foreground. It starts without a configuration file, tells systemd
when it is ready, reloads what can change on SIGHUP, and on SIGTERM or SIGINT finishes the
messages at hand, commits and closes.`,
		Example: "  peerscore serve --config /etc/peerscore/peerscore.toml",
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			collectLess()
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP) // first: it would end a daemon that is about to start
			defer signal.Stop(reload)
			level := &slog.LevelVar{}
			d, err := newDaemon(cmd.Context(), cfg, config.NewLogger(a.Err, cfg.Log, level), a.around)
			if err != nil {
				return err
			}
			go func() {
				for range reload {
					a.reload(d, level)
				}
			}()
			return d.run(cmd.Context())
		},
	}
}

// The heap is small, and most of it garbage of the last messages: to collect that less often
// than by default saves a tenth of the CPU time of a message, for some 10 MiB. The limit, which
// some 60 sessions with the costliest messages reach, keeps a large heap from growing
// fourfold, past MemoryMax of the systemd unit. What lives may be larger: the collector then
// takes half of the CPU time at most (runtime/debug), and not more in all than touching
// four times the memory would.
const (
	garbagePercent = 300
	memoryLimit    = 128 << 20 // octets; from here on it is collected more often
)

// collectLess leaves what the environment says about it.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// reload reads the configuration again and applies what can change without dropping sessions.
func (a *app) reload(d *daemon, level *slog.LevelVar) {
	notify(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
	defer notify(systemd.SdNotifyReady)
	cfg, err := a.config()
	if err != nil {
		d.log.Error("the configuration was not reloaded", "error", err)
		return
	}
	level.Set(config.Level(cfg.Log.Level))
	d.milter.SetPolicy(cfg.Policy())
	d.log.Info("configuration reloaded", "applies", "log.level, header.*, milter.* but listen and socket_*; all else on restart")
}

// surroundings are what the demo and the tests replace. The zero value is the real world.
type surroundings struct {
	ports     map[uint16]uint16 // instead of 25, 80 and 443
	roots     *x509.CertPool
	hurry     bool // probe at once and without budgets: everything is on loopback
	listeners []net.Listener
}

// daemon is one process: milter, background assessor, store.
type daemon struct {
	config    config.Config
	log       *slog.Logger
	store     *store.Store
	standings *store.Standings
	resolver  *resolver.Resolver
	assessor  *assess.Assessor
	queue     *assess.Queue
	milter    *milter.Server
	learner   *learner
	listeners []net.Listener
}

// newDaemon opens the database and the sockets and says in one line each what they are. Its
// errors carry their exit status; after one nothing is left open.
func newDaemon(ctx context.Context, cfg config.Config, logger *slog.Logger, around surroundings) (_ *daemon, err error) {
	d := &daemon{config: cfg, log: logger}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	places := shareDescriptors(logger)
	if d.resolver, err = newResolver(cfg, logger, places.questions); err != nil {
		return nil, err
	}
	options := cfg.StoreOptions(logger)
	options.SetAside = true
	if d.store, err = store.Open(ctx, cfg.Store.Path, options); err != nil {
		return nil, fail(exitUnavailable, "cannot open the database: %w; --db or store.path names another file", err)
	}
	if d.assessor, err = newAssessor(cfg, logger, d.store, d.resolver, around, cfg.Limits()); err != nil {
		return nil, err
	}
	d.standings = store.NewStandings(d.store, store.Judge{Profile: d.assessor.Profile, Rules: d.assessor.Rules, Window: d.assessor.Window})
	d.queue = &assess.Queue{Assessor: d.assessor, Agenda: d.store, Schedule: cfg.Schedule()}
	if around.hurry {
		d.queue.Schedule.MinDelay, d.queue.Schedule.MaxDelay = 0, 0
	}
	d.learner = newLearner(d)
	d.milter = milter.New(milter.Config{
		Resolver: perMessage(d.resolver), Recorder: d.store, Reputation: d.standings, Learner: d.learner, Logger: logger,
		Hostname: cfg.Assess.EHLO, Policy: cfg.Policy(), Sessions: places.sessions,
	})
	log.SetFlags(0)
	log.SetOutput(milter.StandardLog(logger)) // go-milter's own complaints
	d.listeners = around.listeners
	for _, l := range cfg.Milter.Listen {
		if around.listeners != nil {
			break
		}
		listener, err := listen(l, cfg.Milter)
		if err != nil {
			return nil, fail(exitUnavailable, "cannot listen on %s: %w", l, err)
		}
		d.listeners = append(d.listeners, listener)
	}
	d.introduce(ctx)
	return d, nil
}

// introduce says where everything is, and whether the resolver validates.
func (d *daemon) introduce(ctx context.Context) {
	for _, l := range d.listeners {
		d.log.Info("milter listening", "network", l.Addr().Network(), "address", l.Addr().String())
	}
	d.log.Info("database open", "path", d.config.Store.Path)
	d.checkResolver(ctx)
}

// checkResolver runs the self-test; DNSSEC is unknown, never "no", where it does not validate.
func (d *daemon) checkResolver(ctx context.Context) {
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

// run serves until ctx ends, then stops in order: the milter finishes the messages at hand,
// probes are given up, the store commits and closes.
func (d *daemon) run(ctx context.Context) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	var workers sync.WaitGroup
	workers.Go(func() { d.standings.Run(background) })
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
		return failure{exitUnavailable, err}
	}
	d.log.Info("stopped")
	return nil
}

// notify tells systemd; outside systemd it does nothing.
func notify(state string) {
	_, _ = systemd.SdNotify(false, state) // nobody is left to tell
}

// daily looks again whether the resolver validates.
func (d *daemon) daily(ctx context.Context) {
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

func (d *daemon) close() error {
	for _, l := range d.listeners {
		l.Close()
	}
	if d.store == nil {
		return nil
	}
	return d.store.Close()
}

// newResolver allows so many questions at once, as many as the resolver may when 0.
func newResolver(cfg config.Config, logger *slog.Logger, questions int) (*resolver.Resolver, error) {
	var servers []string
	for _, s := range cfg.DNS.Servers {
		servers = append(servers, string(s))
	}
	r, err := resolver.New(resolver.Config{Servers: servers, TrustAD: resolver.TrustAD(cfg.DNS.TrustAD), Questions: questions, Logger: logger})
	if err != nil {
		return nil, fail(exitUsage, "%w; dns.servers names a resolver", err)
	}
	return r, nil
}

// perMessage gives each message a view of the resolver with a limit of its own.
func perMessage(r *resolver.Resolver) func(queries int) milter.Resolver {
	return func(queries int) milter.Resolver { return r.Limited(queries, nil) }
}

// newAssessor joins the prober to the store, for the daemon and for `assess`.
func newAssessor(cfg config.Config, logger *slog.Logger, s *store.Store, r *resolver.Resolver, around surroundings, limits probe.Limits) (*assess.Assessor, error) {
	profile, err := cfg.Profile()
	if err != nil {
		return nil, failure{exitUsage, err}
	}
	roots, err := cfg.Roots()
	if err != nil {
		return nil, failure{exitUsage, err}
	}
	if roots == nil {
		roots = around.roots
	}
	dialer := &probe.Dialer{Deny: config.Prefixes(cfg.Assess.DenyNetworks), Allow: config.Prefixes(cfg.Assess.AllowNetworks), Ports: around.ports}
	for _, server := range r.Servers() {
		dialer.Refuse = append(dialer.Refuse, server.Addr())
	}
	if around.hurry {
		limits.ProbesPerMinute, limits.NetworkPerDay = 6000, 6000
	}
	env := probe.Env{Resolver: r, Dialer: dialer, Roots: roots, EHLO: cfg.Assess.EHLO, Limits: limits, Log: logger}
	if s != nil {
		env.Memory = s
	}
	prober, err := probe.NewRunner(env)
	if err != nil {
		return nil, failure{exitUsage, err}
	}
	return &assess.Assessor{
		Prober: prober, Repository: s, Profile: profile, Rules: cfg.Rules(),
		Window: time.Duration(cfg.Score.Window), Deny: config.Domains(cfg.Assess.DenyDomains), Logger: logger,
	}, nil
}

// logger is for commands: what goes wrong is worth a line, what goes well is in the output.
func (a *app) logger(cfg config.Config) *slog.Logger {
	if cfg.Log.Level == "info" {
		cfg.Log.Level = "warn"
	}
	return config.NewLogger(a.Err, cfg.Log, &slog.LevelVar{})
}
