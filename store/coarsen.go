package store

import (
	"encoding/json"
	"net/netip"
	"peerscore/assess"
	"slices"
	"time"
)

// What a host is known by fades: after hostAge its network is kept in place of its address.

// tallyRow is one row of table tally.
type tallyRow struct {
	id   int64
	host string
	day  int64
	tallyDelta
}

// move takes rows of days before hostAge from the address of the host to its network, and rows
// of days to come to today.
func (t *tx) move(from, to int64, r retention) error {
	rows, err := t.movable(from, to, r)
	if err != nil {
		return err
	}
	for _, row := range rows {
		host, err := parseHost(row.host)
		if err != nil {
			continue // another program wrote it; it leaves with the window
		}
		if row.day < dayOf(r.now.Add(-hostAge)) {
			host = coarse(host)
		}
		if row.last.After(r.now) {
			row.last = r.now
		}
		if _, err := t.addTally(row.id, hostText(host), min(row.day, dayOf(r.now)), &row.tallyDelta); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM tally WHERE domain_id = ? AND host = ? AND day = ?", row.id, row.host, row.day); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE domain SET observed = observed + 1 WHERE id = ?", row.id); err != nil {
			return err
		}
	}
	return nil
}

// movable reads old rows whose host is still more than a network, and rows of days to come.
func (t *tx) movable(from, to int64, r retention) ([]tallyRow, error) {
	var rows []tallyRow
	var row tallyRow
	var tokens string
	err := t.each(`SELECT domain_id, host, day, sessions, starttls_passed, starttls_failed, spf_passed, spf_failed,
			dkim_passed, dkim_failed, last_seen, tokens FROM tally
		WHERE domain_id BETWEEN ? AND ? AND (day < ? AND (host LIKE '%/32' AND host NOT LIKE '%:%' OR host LIKE '%/64') OR day > ?)`,
		[]any{from, to, dayOf(r.now.Add(-hostAge)), dayOf(r.ahead())}, func() error {
			row.tokens = map[string]int{}
			addTokens(row.tokens, tokens)
			rows = append(rows, row)
			return nil
		}, &row.id, &row.host, &row.day, &row.sessions, &row.starttls.Passed, &row.starttls.Failed, &row.spf.Passed, &row.spf.Failed,
		&row.dkim.Passed, &row.dkim.Failed, (*stamp)(&row.last), &tokens)
	return rows, err
}

func coarse(host netip.Prefix) netip.Prefix {
	bits := coarseIPv6
	if host.Addr().Is4() {
		bits = coarseIPv4
	}
	network, _ := host.Addr().Prefix(bits) // the bits fit the family
	return network
}

// forgetOutbound removes the tests of outbound hosts, which name their addresses, from verdicts
// that were reached before a moment. How many passed and failed stays.
func (t *tx) forgetOutbound(from, to int64, before time.Time) error {
	verdicts := map[int64]assess.Verdicts{}
	var id int64
	var text []byte
	err := t.each("SELECT id, verdicts FROM assessment WHERE domain_id BETWEEN ? AND ? AND outbound AND at < ?",
		[]any{from, to, stamp(before)}, func() error {
			var v assess.Verdicts
			if json.Unmarshal(text, &v) == nil { // else another program wrote it
				verdicts[id] = v
			}
			return nil
		}, &id, &text)
	if err != nil {
		return err
	}
	for id, v := range verdicts {
		for standard, verdict := range v {
			verdict.Tests = slices.DeleteFunc(verdict.Tests, isOutbound)
			v[standard] = verdict
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if _, err := t.exec("UPDATE assessment SET verdicts = ?, outbound = 0 WHERE id = ?", string(text), id); err != nil {
			return err
		}
	}
	return nil
}
