package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"peerscore/assess"
)

// HostRecords returns what is remembered of an MX address, one record a server name, the
// latest first.
func (s *Store) HostRecords(ctx context.Context, addr netip.Addr) ([]assess.HostRecord, error) {
	rows, err := s.read.Load().QueryContext(ctx, "SELECT organisation, failures, not_before, session FROM mx_address WHERE address = ? ORDER BY at DESC, server_name", addr.String())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var records []assess.HostRecord
	var r assess.HostRecord
	var session []byte
	err = scanAll(rows, func() error {
		r.Session = assess.SMTPFacts{}
		if err := json.Unmarshal(session, &r.Session); err != nil {
			return fmt.Errorf("dialogue with %s: %w", addr, err)
		}
		records = append(records, r)
		return nil
	}, &r.Organisation, &r.Failures, (*stamp)(&r.NotBefore), &session)
	return records, err
}

// surplusRecords removes records of an address past the limit, other than the one just saved: first
// those that have lapsed, then those that did not answer, then of the younger half; of these the
// organisation that has the most goes before others, and what was asked longest ago before the
// rest. So nobody who has any number of names for an address pushes out those that were there
// before. An update leaves the rowid: its order is that in which the names first came.
const surplusRecords = `DELETE FROM mx_address WHERE rowid IN (
	SELECT id FROM (
		SELECT rowid AS id, server_name, at,
			4 * (coalesce(not_before, 0) > ?4) + 2 * (failures = 0) + (row_number() OVER (ORDER BY rowid) <= ?3 / 2) AS worth,
			count(*) OVER (PARTITION BY organisation) AS of_organisation
		FROM mx_address WHERE address = ?1)
	WHERE server_name <> ?2
	ORDER BY worth, of_organisation DESC, at, id
	LIMIT max(0, (SELECT count(*) FROM mx_address WHERE address = ?1) - ?3))`

// SaveHostRecord remembers the last dialogue with an address under a server name.
func (s *Store) SaveHostRecord(ctx context.Context, r assess.HostRecord) error {
	session, err := json.Marshal(r.Session)
	if err != nil {
		return err
	}
	address := r.Session.Address.String()
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO mx_address (address, server_name, at, organisation, failures, not_before, session) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET at = excluded.at, organisation = excluded.organisation, failures = excluded.failures, not_before = excluded.not_before, session = excluded.session`,
			address, r.Session.ServerName, stamp(s.now()), string(r.Organisation), r.Failures, stamp(r.NotBefore), string(session))
		if err != nil {
			return err
		}
		_, err = t.exec(surplusRecords, address, r.Session.ServerName, t.limits.ServerNames, stamp(s.now().Add(-assess.HostRecordLapse)))
		return err
	})
}

// TakeDialogue counts one dialogue on the day (YYYY-MM-DD) in each of the shares, or in none
// where one of them is used up: it returns that one's index, else -1.
func (s *Store) TakeDialogue(ctx context.Context, day string, shares []assess.Share) (full int, err error) {
	err = s.write(ctx, func(t *tx) error {
		full = -1
		for i, share := range shares {
			var dialogues int
			err := t.get("SELECT coalesce(max(dialogues), 0) FROM share WHERE network = ? AND part = ? AND day = ?",
				[]any{share.Network.Masked().String(), share.Of, day}, &dialogues)
			if err != nil {
				return err
			}
			if dialogues >= share.Limit {
				full = i
				return nil
			}
		}
		for _, share := range shares {
			_, err := t.exec(`INSERT INTO share (network, part, day, dialogues) VALUES (?, ?, ?, 1)
				ON CONFLICT DO UPDATE SET dialogues = dialogues + 1`, share.Network.Masked().String(), share.Of, day)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return full, err
}
