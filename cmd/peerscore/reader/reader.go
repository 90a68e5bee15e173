// Package reader opens the database for reading and judges what is in it by the rules in effect.
package reader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// Reader is a database opened for reading, with the rules by which its facts are judged.
type Reader struct {
	*store.Store
	Rules   assess.Rules
	Profile assess.Profile
	window  time.Duration
}

// Open opens the database of a configuration for reading. Its errors say what to do.
func Open(ctx context.Context, cfg config.Config) (Reader, error) {
	profile, err := cfg.Profile()
	if err != nil {
		return Reader{}, err
	}
	s, err := store.OpenReader(ctx, cfg.Store.Path)
	if err != nil {
		_, daemons := os.Stat(config.SystemStore)
		return Reader{}, outOfReach(cfg.Store.Path, errors.Is(daemons, fs.ErrPermission), err)
	}
	return New(s, profile, cfg.Rules(), time.Duration(cfg.Score.Window)), nil
}

// New reads a database that is open.
func New(s *store.Store, profile assess.Profile, rules assess.Rules, window time.Duration) Reader {
	return Reader{s, rules, profile, window}
}

// outOfReach says why the database at path cannot be read and what to do about it. The one of
// the daemon may be there and hidden from this user.
func outOfReach(path string, hidden bool, err error) error {
	switch {
	case errors.Is(err, store.ErrNoDatabase) && hidden:
		return fmt.Errorf("%s is for root and the group peerscore: become one of them, or name another database with --db", config.SystemStore)
	case errors.Is(err, store.ErrNoDatabase):
		return fmt.Errorf("there is no database %s yet: `peerscore serve` makes it, or --db names another", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("you may not read the database %s: become root or a member of its group, or name another with --db", path)
	case errors.Is(err, store.ErrSchema):
		return fmt.Errorf("cannot read the database: %w", err)
	}
	return fmt.Errorf("cannot read the database: %w; --db names another", err)
}

// Report judges what is stored of a domain by today's rules. The error is store.ErrUnknownDomain
// where nothing is.
func (r Reader) Report(ctx context.Context, d dnsname.Domain) (view.Report, error) {
	peer, err := r.Peer(ctx, d)
	if err != nil {
		return view.Report{}, err
	}
	now := time.Now()
	evidence, err := r.Evidence(ctx, d, now, r.window)
	if err != nil {
		return view.Report{}, err
	}
	next := peer.Next
	if r.Rules.Passive {
		next = time.Time{}
	}
	return view.Report{Assessment: assess.Conclude(d, evidence, r.Profile, r.Rules, now), Next: next}, nil
}

// Each reports on the chosen peers, in the order of the filter.
func (r Reader) Each(ctx context.Context, chosen store.Filter, do func(view.Report) error) error {
	peers, err := r.Peers(ctx, chosen)
	if err != nil {
		return err
	}
	labels, err := r.Labels(ctx)
	if err != nil {
		return err
	}
	for _, p := range peers {
		peer, err := r.Report(ctx, p.Domain)
		if errors.Is(err, store.ErrUnknownDomain) {
			continue // forgotten meanwhile
		}
		peer.Labels = labels[p.Domain]
		if err == nil {
			err = do(peer)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
