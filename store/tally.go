package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"peerscore/assess"
)

type tallyKey struct {
	host netip.Prefix
	day  int64
}

// tallyDelta is what a batch adds to one row of table tally.
type tallyDelta struct {
	sessions            int
	starttls, spf, dkim assess.Count
	last                time.Time
	tokens              map[string]int
}

func (d *tallyDelta) add(o assess.Observation) {
	d.sessions++
	d.starttls.Add(o.StartTLS)
	d.spf.Add(o.SPF)
	d.dkim.Add(o.DKIM)
	if o.At.After(d.last) {
		d.last = o.At
	}
	for _, t := range [...]struct {
		kind, token string
		known       []string
	}{
		{tlsToken, o.TLSVersion, tlsVersions}, {proofToken, o.Proof.String(), nil},
		{"spf=", o.SPFResult, authResults}, {"dkim=", o.DKIMResult, authResults}, {"dmarc=", o.DMARCResult, authResults},
	} {
		switch {
		case t.token == "":
		case t.known != nil && !slices.Contains(t.known, t.token):
			d.tokens[t.kind+"other"]++
		default:
			d.tokens[t.kind+t.token]++
		}
	}
}

// The tokens that are counted under their own name; what else an MTA or a library may say is
// "other", so that no foreign text is stored and a row stays small.
const (
	tlsToken   = "tls="
	proofToken = "proof="
)

var (
	tlsVersions = []string{"none", "SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}
	authResults = []string{"none", "neutral", "pass", "fail", "softfail", "policy", "temperror", "permerror"}
)

// hostText is a host as the schema has it.
func hostText(host netip.Prefix) string {
	if !host.IsValid() {
		return ""
	}
	return host.String()
}

// addTally adds to one row, and reports whether it is a new one.
func (t *tx) addTally(id int64, host string, day int64, d *tallyDelta) (added bool, err error) {
	var stored string
	err = t.get("SELECT tokens FROM tally WHERE domain_id = ? AND host = ? AND day = ?", []any{id, host, day}, &stored)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		added = true
	case err != nil:
		return false, err
	}
	addTokens(d.tokens, stored)
	tokens, err := json.Marshal(d.tokens)
	if err != nil {
		return false, err
	}
	_, err = t.exec(`INSERT INTO tally (domain_id, host, day, sessions, starttls_passed, starttls_failed,
			spf_passed, spf_failed, dkim_passed, dkim_failed, last_seen, tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET sessions = sessions + excluded.sessions,
			starttls_passed = starttls_passed + excluded.starttls_passed, starttls_failed = starttls_failed + excluded.starttls_failed,
			spf_passed = spf_passed + excluded.spf_passed, spf_failed = spf_failed + excluded.spf_failed,
			dkim_passed = dkim_passed + excluded.dkim_passed, dkim_failed = dkim_failed + excluded.dkim_failed,
			last_seen = max(last_seen, excluded.last_seen), tokens = excluded.tokens`,
		id, host, day, d.sessions, d.starttls.Passed, d.starttls.Failed, d.spf.Passed, d.spf.Failed,
		d.dkim.Passed, d.dkim.Failed, stamp(d.last), string(tokens))
	return added, err
}

// addTokens adds what is stored. The tokens explain and decide nothing: a text that cannot be
// read is begun anew.
func addTokens(sum map[string]int, stored string) {
	var more map[string]int
	_ = json.Unmarshal([]byte(stored), &more)
	for token, n := range more {
		sum[token] += n
	}
}

// boundHosts keeps the most recently seen hosts of a domain; "relayed" is not one of them.
func (t *tx) boundHosts(id int64) error {
	_, err := t.exec(`DELETE FROM tally WHERE domain_id = ?1 AND host IN (
		SELECT host FROM tally WHERE domain_id = ?1 AND host <> ''
		GROUP BY host ORDER BY max(last_seen) DESC, host LIMIT -1 OFFSET ?2)`, id, t.limits.Hosts)
	return err
}

// readTally sums the rows of the window before now, host by host.
func readTally(ctx context.Context, q *sql.Tx, id int64, now time.Time, window time.Duration) (assess.Tally, error) {
	tally := assess.Tally{Window: window}
	since := dayOf(now.Add(-window))
	rows, err := q.QueryContext(ctx, `SELECT host, sessions, starttls_passed, starttls_failed, spf_passed, spf_failed,
		dkim_passed, dkim_failed, last_seen, tokens FROM tally WHERE domain_id = ? AND day >= ? ORDER BY host, day`, id, since)
	if err != nil {
		return tally, err
	}
	defer rows.Close()
	var host, tokens string
	var h assess.HostTally
	err = scanAll(rows, func() error {
		prefix, err := parseHost(host)
		if err != nil {
			return err
		}
		if n := len(tally.Hosts); n == 0 || tally.Hosts[n-1].Host != prefix {
			tally.Hosts = append(tally.Hosts, assess.HostTally{
				Host: prefix, TLSVersions: map[string]int{}, Proofs: map[string]int{},
			})
		}
		sumHost(&tally.Hosts[len(tally.Hosts)-1], h, tokens)
		return nil
	}, &host, &h.Sessions, &h.StartTLS.Passed, &h.StartTLS.Failed, &h.SPF.Passed, &h.SPF.Failed,
		&h.DKIM.Passed, &h.DKIM.Failed, (*stamp)(&h.LastSeen), &tokens)
	return tally, err
}

func parseHost(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	return netip.ParsePrefix(text)
}

func sumHost(sum *assess.HostTally, day assess.HostTally, tokens string) {
	sum.Sessions += day.Sessions
	for _, c := range []struct {
		sum *assess.Count
		day assess.Count
	}{{&sum.StartTLS, day.StartTLS}, {&sum.SPF, day.SPF}, {&sum.DKIM, day.DKIM}} {
		c.sum.Passed += c.day.Passed
		c.sum.Failed += c.day.Failed
	}
	if day.LastSeen.After(sum.LastSeen) {
		sum.LastSeen = day.LastSeen
	}
	counted := map[string]int{}
	addTokens(counted, tokens)
	for token, n := range counted {
		if version, ok := strings.CutPrefix(token, tlsToken); ok {
			sum.TLSVersions[version] += n
		} else if proof, ok := strings.CutPrefix(token, proofToken); ok {
			sum.Proofs[proof] += n
		}
	}
}
