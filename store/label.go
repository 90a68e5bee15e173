package store

import (
	"context"

	"peerscore/assess/dnsname"
)

// SetLabels puts a domain into these categories of the operator's and no others. The error is
// ErrUnknownDomain where the domain is not known.
func (s *Store) SetLabels(ctx context.Context, d dnsname.Domain, categories []string) error {
	return s.write(ctx, func(t *tx) error {
		id, err := t.find(d)
		if err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM label WHERE domain_id = ?", id); err != nil {
			return err
		}
		for _, c := range categories {
			if _, err := t.exec("INSERT OR IGNORE INTO label (domain_id, category) VALUES (?, ?)", id, c); err != nil {
				return err
			}
		}
		return t.weigh(id)
	})
}

// Labels are the categories of each domain that is in one, in the order of their names.
func (s *Store) Labels(ctx context.Context) (map[dnsname.Domain][]string, error) {
	rows, err := s.read.Load().QueryContext(ctx, `SELECT domain.name, label.category
		FROM label JOIN domain ON domain.id = label.domain_id ORDER BY label.category`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	labels := map[dnsname.Domain][]string{}
	var d dnsname.Domain
	var category string
	err = scanAll(rows, func() error { labels[d] = append(labels[d], category); return nil }, (*name)(&d), (*word)(&category))
	return labels, err
}
