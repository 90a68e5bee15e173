package probe

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"peerscore/assess"
)

// The networks in which one dialogue happens at a time, and what counts as one address within
// them: whoever has an IPv6 address has a /64 of them.
const (
	network4 = 24
	network6 = 48
	address6 = 64
)

// A network has so many dialogues on a day, and who is first must not have them all: whoever
// owns an address and any number of names, or names of any number of owners for it, is to leave
// some to the addresses beside it. These are fractions of Limits.NetworkPerDay.
const (
	unprovenShare     = 0.75 // with servers that have not answered before, under the name; so much of repeatedShare too
	organisationShare = 0.25 // for the domains of one organisation
	addressShare      = 0.05 // with one address; after these it draws from
	repeatedShare     = 0.25 // which is for all that have had theirs
)

// webShare is how many connections to its web servers a network has on a day, for each of
// Limits.NetworkPerDay: some hosts have the policies of hundreds of domains, and whoever points
// any number of names at a web server that is not theirs is to burden it no more than those do.
const webShare = 5

// overBudget begins the words for a dialogue that a budget did not let begin.
const overBudget = "budget: "

// Whose part of a network's dialogues a share is; that of an organisation bears its name.
const (
	ofAll      = ""
	ofUnproven = "unproven"
	ofAddress  = "address"
	ofRepeated = "repeated"
	ofRenamed  = "renamed" // unproven ones of ofRepeated
	ofWeb      = "web"
)

// shares hold the dialogues of a day against what the networks and organisations may have.
type shares struct {
	memory Memory
	limits Limits
	now    func() time.Time
	log    *slog.Logger

	mu   sync.Mutex
	full map[part]time.Time // what is known to be used up, and until when
}

// part is a share without its limit.
type part struct {
	network netip.Prefix
	of      string
}

func networkOf(addr netip.Addr) netip.Prefix { return prefixOf(addr, network4, network6) }

// prefixOf is the network of an address; the bits fit.
func prefixOf(addr netip.Addr, four, six int) netip.Prefix {
	bits := six
	if addr.Is4() {
		bits = four
	}
	network, _ := addr.Prefix(bits)
	return network
}

// of are the shares that a dialogue draws from.
func (s *shares) of(v visit, c class) []assess.Share {
	network := networkOf(v.addr)
	share := func(network netip.Prefix, of string, fraction float64) assess.Share {
		return assess.Share{Network: network, Of: of, Limit: max(1, int(fraction*float64(s.limits.NetworkPerDay)))}
	}
	drawn := []assess.Share{share(network, ofAll, 1)}
	if !s.limits.Foreign {
		return drawn
	}
	drawn = append(drawn, share(network, string(v.organisation), organisationShare))
	if c != proven {
		drawn = append(drawn, share(network, ofUnproven, unprovenShare))
	}
	own := share(prefixOf(v.addr, 32, address6), ofAddress, addressShare)
	if s.isFull(own) {
		own = share(network, ofRepeated, repeatedShare)
		if c != proven {
			drawn = append(drawn, share(network, ofRenamed, unprovenShare*repeatedShare))
		}
	}
	return append(drawn, own)
}

// usedUp says that a share is known to be, before one more dialogue takes a place in the minute
// that another could use.
func (s *shares) usedUp(v visit, c class) (problem string) {
	drawn := s.of(v, c)
	if i := slices.IndexFunc(drawn, s.isFull); i >= 0 {
		return s.problem(drawn[i])
	}
	return ""
}

// take counts a dialogue. What cannot be counted is not begun.
func (s *shares) take(ctx context.Context, v visit, c class) (problem string) {
	day := s.now().UTC().Format(time.DateOnly)
	for {
		drawn := s.of(v, c)
		full, err := s.memory.TakeDialogue(ctx, day, drawn)
		switch {
		case err != nil:
			s.log.Warn("dialogues with a network cannot be counted", "network", drawn[0].Network, "error", err)
			return overBudget + "the dialogues with " + drawn[0].Network.String() + " cannot be counted; next at the domain's next run"
		case full < 0:
			return ""
		}
		s.close(drawn[full])
		if drawn[full].Of != ofAddress {
			return s.problem(drawn[full])
		}
	}
}

// takeWeb counts a connection to a web server. The error says that there have been enough.
func (s *shares) takeWeb(ctx context.Context, addr netip.Addr) error {
	share := assess.Share{Network: networkOf(addr), Of: ofWeb, Limit: webShare * s.limits.NetworkPerDay}
	if !s.limits.Foreign {
		return nil
	}
	full, err := 0, error(nil)
	if !s.isFull(share) {
		full, err = s.memory.TakeDialogue(ctx, s.now().UTC().Format(time.DateOnly), []assess.Share{share})
	}
	switch {
	case err != nil:
		return fmt.Errorf("connections to the web servers of %s cannot be counted: %w", share.Network, err)
	case full < 0:
		return nil
	}
	s.close(share)
	return fmt.Errorf("%d connections to the web servers of %s in a day; next at %s", share.Limit, share.Network, date(s.tomorrow()))
}

// close notes that a share is used up for the day.
func (s *shares) close(share assess.Share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.full, func(_ part, until time.Time) bool { return !s.now().Before(until) })
	if s.full == nil {
		s.full = make(map[part]time.Time)
	}
	s.full[part{share.Network, share.Of}] = s.tomorrow()
}

func (s *shares) isFull(share assess.Share) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Before(s.full[part{share.Network, share.Of}])
}

func (s *shares) tomorrow() time.Time { return s.now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1) }

func (s *shares) problem(share assess.Share) string {
	whose := " for " + share.Of
	switch share.Of {
	case ofAll:
		whose = ""
	case ofUnproven:
		whose = " with servers that have not answered before"
	case ofRepeated:
		whose = " with addresses that had theirs"
	case ofRenamed:
		whose = " with addresses that had theirs, under names that have not answered before"
	}
	return fmt.Sprintf(overBudget+"%d dialogues with %s in a day%s; next at %s", share.Limit, share.Network, whose, date(s.tomorrow()))
}
