package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"peerscore/assess/dnsname"
)

// maxSpoofed is how many domains are counted apart between two commits; of the others only
// the sum is kept.
const maxSpoofed = 1024

// spoofs counts messages that claimed a domain without proof, in memory until the next
// commit. A crash may lose the last seconds of it: no score rests on it.
type spoofs struct {
	mu      sync.Mutex
	counted map[dnsname.Domain]int
	sum     int
	dropped atomic.Int64 // messages that are in the sum only

	// Owned by the writer: what the open transaction writes, and what a failed one did not.
	taken    map[dnsname.Domain]int
	takenSum int
}

// CountUnauthenticated counts a message that claimed d without proof, or had no identity at
// all (d is ""). It never waits and never fails; of domains that are not known only the sum
// over all is kept.
func (s *Store) CountUnauthenticated(d dnsname.Domain) { s.spoofs.count(d) }

func (c *spoofs) count(d dnsname.Domain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum++
	if d == "" {
		return
	}
	if c.counted == nil {
		c.counted = map[dnsname.Domain]int{}
	}
	c.add(c.counted, d, 1)
}

// add counts messages of a domain, unless there are as many others as there may be.
func (c *spoofs) add(to map[dnsname.Domain]int, d dnsname.Domain, n int) {
	if _, ok := to[d]; !ok && len(to) >= maxSpoofed {
		c.dropped.Add(int64(n))
		return
	}
	to[d] += n
}

func (c *spoofs) pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum > 0 || c.takenSum > 0
}

// take moves the counts to the writer's side, where those of a failed transaction may wait.
func (c *spoofs) take() {
	c.mu.Lock()
	counted, sum := c.counted, c.sum
	c.counted, c.sum = nil, 0
	c.mu.Unlock()
	c.takenSum += sum
	if len(c.taken) == 0 {
		c.taken = counted
		return
	}
	for d, n := range counted {
		c.add(c.taken, d, n)
	}
}

// flush writes the counts as part of the writer's transaction. It touches two tables, neither
// of which a score rests on, and adds no domain.
func (c *spoofs) flush(t *tx, now time.Time) error {
	c.take()
	for d, n := range c.taken {
		_, err := t.exec(`INSERT INTO unauthenticated (domain_id, day, messages) SELECT id, ?1, ?2 FROM domain WHERE name = ?3
			ON CONFLICT DO UPDATE SET messages = messages + excluded.messages`, dayOf(now), n, string(d))
		if err != nil {
			return err
		}
	}
	if c.takenSum == 0 {
		return nil
	}
	_, err := t.exec(`INSERT INTO memo (name, value) VALUES ('unauthenticated', ?)
		ON CONFLICT DO UPDATE SET value = value + excluded.value`, c.takenSum)
	return err
}

// flushed says that what was taken is committed.
func (c *spoofs) flushed() { c.taken, c.takenSum = nil, 0 }

// Unauthenticated is the number of messages without proof since the database began.
func (s *Store) Unauthenticated(ctx context.Context) (n int, err error) {
	err = s.read.Load().QueryRowContext(ctx, "SELECT coalesce(max(value), 0) FROM memo WHERE name = 'unauthenticated'").Scan(&n)
	return n, err
}
