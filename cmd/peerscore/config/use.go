package config

import (
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"

	"peerscore/assess"
	"peerscore/assess/probe"
	"peerscore/milter"
	"peerscore/store"
)

// Schedule is when peers are probed.
func (c Config) Schedule() assess.Schedule {
	s := assess.DefaultSchedule()
	s.MaxAge, s.Retry, s.Concurrency = time.Duration(c.Assess.MaxAge), time.Duration(c.Assess.Retry), c.Assess.Concurrency
	return s
}

// Limits are the budgets of the daemon's probes.
func (c Config) Limits() probe.Limits {
	l := probe.DefaultLimits()
	l.ProbesPerMinute, l.AtOnce, l.Reserved = c.Assess.ProbesPerMinute, c.Assess.Concurrency, c.Assess.Concurrency/2
	return l
}

// StoreOptions are how long the store keeps what.
func (c Config) StoreOptions(logger *slog.Logger) store.Options {
	return store.Options{
		Logger: logger, Window: time.Duration(c.Score.Window), Keep: time.Duration(c.Store.Keep),
		MaxAge: time.Duration(max(c.Assess.MaxAge, c.Assess.Retry)),
	}
}

// Policy is what the milter does with mail.
func (c Config) Policy() milter.Policy {
	return milter.Policy{
		Authentication: milter.Authentication(c.Milter.Authentication), AuthservID: c.Milter.AuthservID,
		TrustedAuthservIDs: c.Milter.TrustedAuthservIDs, InternalHosts: Prefixes(c.Milter.InternalHosts),
		OwnDomains: Domains(c.Milter.OwnDomains),
		Score:      c.Header.Score, Bars: c.Header.Bars, AuthenticationResults: c.Header.AuthenticationResults,
		LearnRecipients: c.Assess.LearnFromOutgoing,
	}
}

// Profile is a built-in one by its name, or one of the operator's own by the path of its file.
func (c Config) Profile() (p assess.Profile, err error) {
	if filepath.IsAbs(c.Score.Profile) {
		p, err = ReadProfile(c.Score.Profile)
	} else {
		p, err = assess.LoadProfile(c.Score.Profile)
	}
	if err != nil {
		return p, Error{"score.profile", err}
	}
	return p, nil
}

// Rules are those by which evidence is judged.
func (c Config) Rules() assess.Rules {
	return assess.Rules{Threshold: c.Score.Threshold, Passive: !c.Assess.Enabled}
}

// Roots are the trusted roots of assess.ca_file; nil, which stands for the system's, where it names none.
func (c Config) Roots() (*x509.CertPool, error) {
	path := c.Assess.CAFile
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, Error{"assess.ca_file", err}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, Error{"assess.ca_file", fmt.Errorf("%s holds no certificate in PEM form", path)}
	}
	return pool, nil
}

// ReadProfile reads a profile of the operator's own.
func ReadProfile(path string) (assess.Profile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return assess.Profile{}, err
	}
	p, err := assess.ParseProfile(data)
	if err != nil {
		return p, fmt.Errorf("%s: %w", filepath.Clean(path), err)
	}
	return p, nil
}

// NewLogger writes what log.format asks for, from log.level up; level can change later.
func NewLogger(w io.Writer, cfg LogConfig, level *slog.LevelVar) *slog.Logger {
	level.Set(Level(cfg.Level))
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Level is a log.level.
func Level(name string) slog.Level {
	return map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}[name]
}

// Encode writes TOML that load reads back.
func (c Config) Encode(w io.Writer) error {
	enc := toml.NewEncoder(w)
	enc.Indent = ""
	return enc.Encode(c)
}
