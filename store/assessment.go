package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// firstDue is when a domain that becomes known by being assessed is due again, unless the
// caller postpones it: an organisation is probed once in 24 hours at most.
const firstDue = 24 * time.Hour

// SaveAssessment keeps facts, verdicts and scores in one transaction and makes the domain
// known. The error is ErrTooManyKeys where its organisation has no room for another domain, and
// assess.ErrNoSuchDomain where it is not known and does not exist.
//
// An assessment that comes to the same judgement as the one before renews it: the newer facts
// take the place of the older. A different judgement, or facts without one, adds to the history.
func (s *Store) SaveAssessment(ctx context.Context, a assess.Assessment) error {
	if err := checkName(a.Domain); err != nil {
		return err
	}
	row, err := newAssessmentRow(a)
	if err != nil {
		return fmt.Errorf("assessment of %s: %w", a.Domain, err)
	}
	return s.write(ctx, func(t *tx) error {
		id, err := t.admitAssessed(a)
		if err != nil {
			return err
		}
		// The evidence may have grown since it was judged: the row stays marked.
		if _, err := t.exec("UPDATE domain SET observed = observed + 1 WHERE id = ?", id); err != nil {
			return err
		}
		return t.saveAssessment(id, a, row)
	})
}

func (t *tx) admitAssessed(a assess.Assessment) (id int64, err error) {
	if id, err = t.find(a.Domain); !errors.Is(err, ErrUnknownDomain) {
		return id, err
	}
	if a.Evidence.Facts != nil && !a.Evidence.Facts.Exists() {
		return 0, fmt.Errorf("%s: %w", a.Domain, assess.ErrNoSuchDomain)
	}
	room, err := t.room(a.Domain)
	if err != nil {
		return 0, err
	}
	if !room {
		return 0, fmt.Errorf("%s: %w", a.Domain, ErrTooManyKeys)
	}
	return t.insert(a.Domain, a.At.Add(firstDue))
}

// assessmentRow is an assessment as the schema has it.
type assessmentRow struct {
	digest                      []byte
	facts, scores, verdicts, mx string
	outbound                    bool
}

func newAssessmentRow(a assess.Assessment) (row assessmentRow, err error) {
	for _, part := range []struct {
		text  *string
		value any
	}{
		{&row.scores, a.Scores}, {&row.verdicts, a.Verdicts}, {&row.mx, a.Standing().MX}, {&row.facts, a.Evidence.Facts},
	} {
		text, err := json.Marshal(part.value)
		if err != nil {
			return row, err
		}
		*part.text = string(text)
	}
	for _, v := range a.Verdicts {
		row.outbound = row.outbound || slices.ContainsFunc(v.Tests, isOutbound)
	}
	row.digest, err = digest(a)
	return row, err
}

func isOutbound(t assess.Test) bool { return t.Direction == assess.Outbound }

// digest is equal for two assessments that came to the same judgement: the same stars and
// support for the same reasons, as far as a probe found them. Details, ages and the share of
// each outbound host may differ.
func digest(a assess.Assessment) ([]byte, error) {
	type finding struct {
		Subject, Test string
		Result        assess.Result
	}
	support := map[assess.Standard]assess.Support{}
	found := map[assess.Standard][]finding{}
	for standard, v := range a.Verdicts {
		support[standard] = v.Support
		for _, t := range v.Tests {
			if !isOutbound(t) {
				found[standard] = append(found[standard], finding{t.Subject, t.Test, t.Result})
			}
		}
		slices.SortFunc(found[standard], func(a, b finding) int { // DNS answers come in any order
			return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Test, b.Test), cmp.Compare(a.Result, b.Result))
		})
	}
	text, err := json.Marshal([]any{a.Profile, a.Status, a.Evidence.Basis(), a.Scores, support, found})
	sum := sha256.Sum256(text)
	return sum[:], err
}

// saveAssessment makes a the current judgement of the domain.
func (t *tx) saveAssessment(id int64, a assess.Assessment, row assessmentRow) error {
	facts, err := t.saveFacts(id, a.Evidence.Facts, row.facts)
	if err != nil {
		return err
	}
	var latest int64
	var before []byte
	var factsBefore sql.NullInt64
	err = t.get("SELECT id, digest, facts_id FROM assessment WHERE domain_id = ? ORDER BY id DESC LIMIT 1", []any{id}, &latest, &before, &factsBefore)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	same := bytes.Equal(before, row.digest)
	switch {
	case same && facts == factsBefore:
		return t.setScores(id, a)
	case same:
		_, err = t.exec("UPDATE assessment SET at = ?, verdicts = ?, outbound = ?, facts_id = ?, mx = ? WHERE id = ?",
			stamp(a.At), row.verdicts, row.outbound, facts, row.mx, latest)
	default:
		_, err = t.exec(`INSERT INTO assessment (domain_id, since, at, digest, profile, status, basis, scores, verdicts, outbound, facts_id, mx)
			VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)`, id, stamp(a.At), row.digest, a.Profile, string(a.Status),
			string(a.Evidence.Basis()), row.scores, row.verdicts, row.outbound, facts, row.mx)
	}
	if err != nil {
		return err
	}
	if err := t.boundHistory(id); err != nil {
		return err
	}
	return t.setScores(id, a)
}

// saveFacts returns the id of the row that holds the facts, which is the latest one where the
// assessment judges those again, or brings none of its own.
func (t *tx) saveFacts(id int64, f *assess.Facts, content string) (sql.NullInt64, error) {
	var row sql.NullInt64
	var at stamp
	err := t.get("SELECT id, at FROM facts WHERE domain_id = ? ORDER BY id DESC LIMIT 1", []any{id}, &row, &at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return row, err
	}
	if f == nil || row.Valid && time.Time(at).UnixMilli() == f.At.UnixMilli() {
		return row, nil
	}
	err = t.get("INSERT INTO facts (domain_id, at, size, content) VALUES (?, ?, ?, ?) RETURNING id",
		[]any{id, stamp(f.At), len(content), content}, &row)
	return row, err
}

// setScores writes the columns that `list` sorts by.
func (t *tx) setScores(id int64, a assess.Assessment) error {
	stars := func(c assess.Category) any {
		if score := a.Scores[c]; score.Known {
			return score.Stars
		}
		return nil
	}
	_, err := t.exec(`UPDATE domain SET status = ?, confidentiality = ?, identity = ?, integrity = ?, assessed = coalesce(?, assessed), answered = ? WHERE id = ?`,
		string(a.Status), stars(assess.Confidentiality), stars(assess.Identity), stars(assess.Integrity), stamp(a.Standing().Assessed), a.Answered(), id)
	t.changed = append(t.changed, a.Domain)
	if err != nil {
		return err
	}
	return t.weigh(id)
}

// boundHistory drops the oldest judgements of a domain, and facts that no judgement rests on.
func (t *tx) boundHistory(id int64) error {
	kept, octets, facts := 0, 0, int64(0)
	cut := int64(-1)
	var row, factsID int64
	var size, judged int
	err := t.each(`SELECT assessment.id, coalesce(facts.id, 0), coalesce(facts.size, 0), length(verdicts) FROM assessment LEFT JOIN facts ON facts.id = facts_id
		WHERE assessment.domain_id = ? ORDER BY assessment.id DESC`, []any{id}, func() error {
		if factsID != facts {
			facts = factsID
			octets += size
		}
		octets += judged
		if kept++; cut < 0 && kept > 1 && (kept > t.limits.HistoryLength || octets > t.limits.HistoryFacts) {
			cut = row
		}
		return nil
	}, &row, &factsID, &size, &judged)
	if err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM assessment WHERE domain_id = ? AND id <= ?", id, cut); err != nil {
		return err
	}
	return t.dropFacts(id)
}

// dropFacts deletes facts that no judgement rests on; the latest stay in any case.
func (t *tx) dropFacts(id int64) error {
	_, err := t.exec(`DELETE FROM facts WHERE domain_id = ?1 AND id < (SELECT max(id) FROM facts WHERE domain_id = ?1)
		AND NOT EXISTS (SELECT 1 FROM assessment WHERE facts_id = facts.id)`, id)
	return err
}

// Judgement is one step in the history of a domain.
type Judgement struct {
	Since             time.Time // when it was first reached; At is when it was last
	assess.Assessment           // with the facts that it rested on last, and without the tally
}

// History returns the judgements of a domain, the latest first; none where it is not known.
func (s *Store) History(ctx context.Context, d dnsname.Domain) ([]Judgement, error) {
	rows, err := s.read.Load().QueryContext(ctx, `SELECT a.since, a.at, a.profile, a.status, a.scores, a.verdicts, facts.content
		FROM assessment a JOIN domain ON domain.id = a.domain_id LEFT JOIN facts ON facts.id = a.facts_id
		WHERE domain.name = ? ORDER BY a.id DESC`, string(d))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var history []Judgement
	j := Judgement{Assessment: assess.Assessment{Domain: d}}
	var scores, verdicts, facts []byte
	err = scanAll(rows, func() error {
		j.Scores, j.Verdicts, j.Evidence.Facts = nil, nil, nil
		err := errors.Join(json.Unmarshal(scores, &j.Scores), json.Unmarshal(verdicts, &j.Verdicts))
		if facts != nil {
			err = errors.Join(err, json.Unmarshal(facts, &j.Evidence.Facts))
		}
		history = append(history, j)
		return err
	}, (*stamp)(&j.Since), (*stamp)(&j.At), (*word)(&j.Profile), (*word)(&j.Status), &scores, &verdicts, &facts)
	return history, err
}
