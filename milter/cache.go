package milter

import (
	"context"
	"sync"

	"peerscore/assess"
)

// maxCached bounds a Cache, in domains.
const maxCached = 10_000

// Cache is a bounded Reputation in memory in front of a slower source. It knows nothing of
// time: whoever changes a standing must call Forget.
type Cache struct {
	// Load asks the source. A standing that it gives with an error is not kept.
	Load func(context.Context, assess.Domain) (assess.Standing, error)

	mu        sync.Mutex
	standings map[assess.Domain]assess.Standing
	changes   uint64 // calls of Forget
}

// Standing is the standing of a domain as of its last change.
func (c *Cache) Standing(ctx context.Context, d assess.Domain) assess.Standing {
	c.mu.Lock()
	standing, ok := c.standings[d]
	changes := c.changes
	c.mu.Unlock()
	if ok {
		return standing
	}
	standing, err := c.Load(ctx, d)
	if err != nil {
		return standing
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == changes { // otherwise it may be old already
		c.keep(d, standing)
	}
	return standing
}

func (c *Cache) keep(d assess.Domain, s assess.Standing) {
	if c.standings == nil {
		c.standings = map[assess.Domain]assess.Standing{}
	}
	for victim := range c.standings {
		if len(c.standings) < maxCached {
			break
		}
		delete(c.standings, victim)
	}
	c.standings[d] = s
}

// Forget drops what is remembered of a domain.
func (c *Cache) Forget(d assess.Domain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	delete(c.standings, d)
}
