// Package doctor looks for what keeps peerscore from working on this host.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/probe"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/bulk"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// Symptom is the outcome of one look.
type Symptom struct {
	Schema int    `json:"schema"`
	Check  string `json:"check"`
	Result string `json:"result"` // ok, fail, unknown
	Detail string `json:"detail"`
}

func symptomOf(check, result, format string, args ...any) Symptom {
	return Symptom{view.SchemaVersion, check, result, fmt.Sprintf(format, args...)}
}

// Examine looks at everything. Port 25 is tried at the mail hosts of the first of the domains or,
// without any, of the peer that was assessed last.
func Examine(ctx context.Context, cfg config.Config, domains []dnsname.Domain, logger *slog.Logger, around daemon.Surroundings) []Symptom {
	last, latest, database := examineDatabase(ctx, cfg)
	if len(domains) > 0 {
		last = domains[0]
	}
	symptoms := append(examineNetwork(ctx, cfg, last, logger, around), database, examineClock(latest, time.Now()))
	for _, l := range cfg.Milter.Listen {
		symptoms = append(symptoms, examineSocket(l, cfg.Milter))
	}
	return append(symptoms, examinePostfix(ctx, cfg.Milter.Listen))
}

// examineDatabase also finds the peer that was assessed last, and when.
func examineDatabase(ctx context.Context, cfg config.Config) (last dnsname.Domain, latest time.Time, s Symptom) {
	r, err := reader.Open(ctx, cfg)
	if err != nil {
		return "", latest, symptomOf("database", "fail", "%v", err)
	}
	defer r.Close()
	peers, err := r.Peers(ctx, store.Filter{Sort: "assessed", Limit: 1})
	if err != nil {
		return "", latest, symptomOf("database", "fail", "%v", err)
	}
	for _, p := range peers {
		last, latest = p.Domain, p.Assessed
	}
	return last, latest, symptomOf("database", "ok", "it can be read")
}

// examineNetwork asks the resolver and tries port 25.
func examineNetwork(ctx context.Context, cfg config.Config, d dnsname.Domain, logger *slog.Logger, around daemon.Surroundings) []Symptom {
	r, err := daemon.NewResolver(cfg, logger, 0)
	if err != nil {
		return []Symptom{symptomOf("resolver", "fail", "%v", err)}
	}
	symptoms := []Symptom{examineResolver(r.SelfTest(ctx))}
	if !cfg.Assess.Enabled {
		return append(symptoms, symptomOf("port 25", "unknown", "assess.enabled is false: nobody is probed"))
	}
	if d == "" {
		return append(symptoms, symptomOf("port 25", "unknown", "no peer was assessed yet; name a domain: peerscore doctor example.org"))
	}
	assessor, err := daemon.NewAssessor(cfg, logger, nil, r, around, probe.BulkLimits())
	if err != nil {
		return append(symptoms, symptomOf("port 25", "fail", "%v", err))
	}
	assessor.Repository = bulk.Forgetful{}
	assessment, err := assessor.Measure(ctx, d)
	if err != nil && !errors.Is(err, assess.ErrNothingMeasured) {
		return append(symptoms, symptomOf("port 25", "unknown", "%s: %v", d, err))
	}
	return append(symptoms, examinePort(d, assessment.Evidence.Facts))
}

func examineResolver(v resolver.Validation) Symptom {
	switch v.Validates {
	case resolver.ValidatesYes:
		return symptomOf("resolver", "ok", "it validates")
	case resolver.ValidatesNo:
		return symptomOf("resolver", "fail", "it does not validate, so that DNSSEC and DANE stay unknown: %s", v.Detail)
	}
	return symptomOf("resolver", "fail", "whether it validates is not known, so that DNSSEC and DANE stay unknown: %s", v.Detail)
}

// examinePort reports whether any mail host of the domain answered.
func examinePort(d dnsname.Domain, facts *assess.Facts) Symptom {
	reason, tried := "", false
	if facts != nil {
		for _, host := range facts.Hosts.Hosts {
			for _, session := range host.Sessions {
				tried = true
				if session.Greeting != "" {
					return symptomOf("port 25", "ok", "%s, a mail host of %s, answers", host.Name, d)
				}
				reason = session.Problem
			}
		}
	}
	if !tried {
		return symptomOf("port 25", "unknown", "%s has no mail host that could be tried; name another domain", d)
	}
	return symptomOf("port 25", "fail", "no mail host of %s answers (%s); if that goes for others too, the network keeps port 25 closed", d, reason)
}

// examineClock asks the kernel whether the clock is synchronised, and holds it against the
// latest time in the database.
func examineClock(latest, now time.Time) Symptom {
	if latest.After(now.Add(time.Hour)) {
		return symptomOf("clock", "fail", "it says %s, and a peer was assessed at %s", now.UTC().Format(time.RFC3339), latest.UTC().Format(time.RFC3339))
	}
	const unsynchronised = 5 // TIME_ERROR of adjtimex(2)
	state, err := syscall.Adjtimex(&syscall.Timex{})
	switch {
	case err != nil:
		return symptomOf("clock", "unknown", "the kernel does not tell: %v", err)
	case state == unsynchronised:
		return symptomOf("clock", "unknown", "it says %s and is not synchronised; run chrony or systemd-timesyncd", now.UTC().Format(time.RFC3339))
	}
	return symptomOf("clock", "ok", "it is synchronised")
}

// examineSocket binds the milter socket, unless something is listening there.
func examineSocket(l config.Listener, cfg config.MilterConfig) Symptom {
	if conn, err := net.DialTimeout(l.Network, l.Address, time.Second); err == nil {
		conn.Close()
		return symptomOf("milter", "ok", "something is listening on %s: the daemon, if it runs", l)
	}
	listener, err := daemon.Listen(l, cfg)
	if err != nil {
		return symptomOf("milter", "fail", "%s cannot be bound: %v", l, err)
	}
	listener.Close()
	return symptomOf("milter", "ok", "%s can be bound; the daemon does not run", l)
}

// examinePostfix looks for our socket in what Postfix says of itself.
func examinePostfix(ctx context.Context, sockets config.Listeners) Symptom {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "postconf", "-hx", "smtpd_milters").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return symptomOf("Postfix", "unknown", "it is not installed")
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return symptomOf("Postfix", "unknown", "it does not tell its smtpd_milters: %v", err)
	}
	return judgeMilters(string(out), sockets)
}

func judgeMilters(milters string, sockets config.Listeners) Symptom {
	for _, l := range sockets {
		for _, name := range postfixNames(l) {
			if !strings.Contains(milters, name) {
				continue
			}
			if !strings.Contains(milters, "default_action=accept") {
				return symptomOf("Postfix", "fail", "smtpd_milters has %s without default_action=accept: mail stops while peerscore is down", name)
			}
			return symptomOf("Postfix", "ok", "smtpd_milters has %s", name)
		}
	}
	return symptomOf("Postfix", "fail", "smtpd_milters does not name peerscore; contrib/postfix/main.cf has the line")
}

// postfixNames are the ways in which Postfix may write a socket. Its smtpd may be confined to
// its queue folder, below which it then looks for a unix socket.
func postfixNames(l config.Listener) []string {
	if l.Network != "unix" {
		host, port, _ := net.SplitHostPort(l.Address)
		names := []string{"inet:" + l.Address}
		if host == "127.0.0.1" || host == "::1" {
			names = append(names, "inet:localhost:"+port)
		}
		return names
	}
	return []string{"unix:" + l.Address, "unix:" + strings.TrimPrefix(l.Address, "/var/spool/postfix/")}
}
