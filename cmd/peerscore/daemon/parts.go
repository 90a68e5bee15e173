package daemon

import (
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"time"

	"peerscore/assess"
	"peerscore/assess/probe"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/config"
	"peerscore/store"
)

// Surroundings are what the demo and the tests replace. The zero value is the real world.
type Surroundings struct {
	Ports     map[uint16]uint16 // instead of 25, 80 and 443
	Roots     *x509.CertPool
	Hurry     bool // probe at once and without budgets: everything is on loopback
	Listeners []net.Listener
}

// NewResolver allows so many questions at once, as many as the resolver may when 0.
func NewResolver(cfg config.Config, logger *slog.Logger, questions int) (*resolver.Resolver, error) {
	var servers []string
	for _, s := range cfg.DNS.Servers {
		servers = append(servers, string(s))
	}
	r, err := resolver.New(resolver.Config{Servers: servers, TrustAD: resolver.TrustAD(cfg.DNS.TrustAD), Questions: questions, Logger: logger})
	if err != nil {
		return nil, config.Error{Key: "dns.servers", Err: err}
	}
	return r, nil
}

// NewAssessor joins the prober to the store, for the daemon and for `assess`.
func NewAssessor(cfg config.Config, logger *slog.Logger, s *store.Store, r *resolver.Resolver, around Surroundings, limits probe.Limits) (*assess.Assessor, error) {
	profile, err := cfg.Profile()
	if err != nil {
		return nil, err
	}
	roots, err := cfg.Roots()
	if err != nil {
		return nil, err
	}
	if roots == nil {
		roots = around.Roots
	}
	dialer := &probe.Dialer{Deny: config.Prefixes(cfg.Assess.DenyNetworks), Allow: config.Prefixes(cfg.Assess.AllowNetworks), Ports: around.Ports}
	if around.Hurry {
		limits.ProbesPerMinute, limits.NetworkPerDay = 6000, 6000
	}
	env := probe.Env{Resolver: r, Dialer: dialer, Roots: roots, EHLO: cfg.Assess.EHLO, Limits: limits, Log: logger}
	if s != nil {
		env.Memory = s
	}
	prober, err := probe.NewRunner(env)
	if err != nil {
		return nil, config.Error{Key: "assess.ca_file", Err: err} // the roots of the system, where it names none
	}
	return &assess.Assessor{
		Prober: prober, Repository: s, Profile: profile, Rules: cfg.Rules(),
		Window: time.Duration(cfg.Score.Window), Deny: config.Domains(cfg.Assess.DenyDomains), Logger: logger,
	}, nil
}

// CommandLogger is for commands: what goes wrong is worth a line, what goes well is in the output.
func CommandLogger(w io.Writer, cfg config.LogConfig) *slog.Logger {
	if cfg.Level == "info" {
		cfg.Level = "warn"
	}
	return config.NewLogger(w, cfg, &slog.LevelVar{})
}
