package store

import (
	"context"
	"strings"
)

// NoteFrozen notes what is not held against peers at present, since everybody fails it at
// once, for those who ask while the daemon runs.
func (s *Store) NoteFrozen(ctx context.Context, names []string) error {
	return s.write(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO memo (name, value) VALUES ('frozen', ?)
			ON CONFLICT DO UPDATE SET value = excluded.value`, strings.Join(names, "\n"))
		return err
	})
}

// Frozen is what was noted last.
func (s *Store) Frozen(ctx context.Context) ([]string, error) {
	var text string
	err := s.read.Load().QueryRowContext(ctx, "SELECT coalesce(max(value), '') FROM memo WHERE name = 'frozen'").Scan(&text)
	if err != nil || text == "" {
		return nil, err
	}
	names := strings.Split(text, "\n")
	for i := range names {
		if err := (*word)(&names[i]).Scan(names[i]); err != nil {
			return nil, err
		}
	}
	return names, nil
}
