package resolver

import (
	"sync"
	"time"
)

const (
	weightUnit   = 1024 // octets of records that make one entry of the cache
	recordWeight = 100  // octets that a record takes beside its text: headers, and its form as address, MX or TLSA
)

// cache keeps answers while their TTL runs, and the questions that are under way. A plain mutex
// is enough: it is held for a lookup in a map.
type cache struct {
	mu       sync.Mutex
	entries  map[question]entry
	flights  map[question]*flight
	weight   int
	capacity int
}

type entry struct {
	answer  Answer
	expires time.Time
	weight  int
}

// flight is a question under way. The answer may be read once done is closed.
type flight struct {
	done   chan struct{}
	answer Answer
}

func newCache(capacity int) *cache {
	return &cache{
		entries:  make(map[question]entry),
		flights:  make(map[question]*flight),
		capacity: capacity,
	}
}

// find is an answer that still holds, with the rest of its TTL; or else an empty one and the
// flight of the question where there is one. With start it begins one where there is none, and
// the caller, who is the first, must make it land.
func (c *cache) find(q question, now time.Time, start bool) (answer Answer, f *flight, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[q]; now.Before(e.expires) {
		e.answer.TTL = e.expires.Sub(now)
		return e.answer, nil, false
	}
	f = c.flights[q]
	if f == nil && start {
		f = &flight{done: make(chan struct{})}
		c.flights[q] = f
		return Answer{}, f, true
	}
	return Answer{}, f, false
}

// land ends a flight: it hands the answer to all who wait and keeps it for its TTL.
func (c *cache) land(q question, f *flight, answer Answer, now time.Time) {
	c.mu.Lock()
	delete(c.flights, q)
	if before := c.entries[q]; answer.TTL > 0 && answer.Status == Failed && before.answer.Status == Failed && now.Sub(before.expires) < maxFailureTTL {
		answer.TTL = min(2*before.answer.TTL, maxFailureTTL)
	}
	c.remove(q)
	e := entry{answer, now.Add(answer.TTL), weigh(answer)}
	if answer.TTL > 0 && e.weight <= c.capacity {
		c.evict(e.weight)
		c.entries[q] = e
		c.weight += e.weight
	}
	c.mu.Unlock()
	f.answer = answer
	close(f.done)
}

// evict makes room for an entry. Which ones go is left to the order of the map, which is random:
// a list by age would cost every hit more than it saves.
func (c *cache) evict(weight int) {
	for q := range c.entries {
		if c.weight+weight <= c.capacity {
			return
		}
		c.remove(q)
	}
}

func (c *cache) remove(q question) {
	if e, ok := c.entries[q]; ok {
		c.weight -= e.weight
		delete(c.entries, q)
	}
}

// clear forgets all answers.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.weight = 0
}

// weigh is the number of entries that an answer counts for.
func weigh(a Answer) int {
	size := len(a.EDE) + recordWeight*len(a.Records)
	for _, record := range a.Records {
		size += len(record)
	}
	for _, alias := range a.Aliases {
		size += len(alias)
	}
	return 1 + size/weightUnit
}
