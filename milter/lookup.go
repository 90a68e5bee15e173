package milter

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"peerscore/assess/spf"
)

// maxQueries is how many queries a message may cause (assess/probe/limits.md, section 1): 40 for SPF, 8 for DMARC, a
// key for each of 5 signatures, and 1 for P-HOST.
const maxQueries = 54

// Resolver looks names up for one message.
type Resolver interface {
	spf.Resolver
	// Cached answers from memory alone, and never blocks: what is not there is a temporary failure.
	Cached() spf.Resolver
	// Exhausted reports whether a lookup was refused because of the number of those before.
	Exhausted() bool
}

// maxTold is how many octets of TXT records of one name a message remembers itself; what is
// longer waits in the cache of the resolver, if anywhere.
const maxTold = 16 << 10

// notes are what a message was told by its resolver, absence and failure included: no question
// is asked twice, whatever its TTL, nor by two goroutines at once. What ctx cut short was not told.
type notes struct {
	Resolver
	cache spf.Resolver // what the resolver has in memory
	mu    sync.Mutex
	told  map[string]any
}

func newNotes(r Resolver) *notes {
	return &notes{Resolver: r, cache: r.Cached(), told: make(map[string]any)}
}

// told is one answer.
type told[T any] struct {
	done    chan struct{} // closed once there is an answer
	kept    bool          // not so where ctx cut it short, or it is too long: then ask again
	records []T
	err     error
}

// ask answers from the notes, waits for the answer to the same question, or asks it.
func ask[T any](ctx context.Context, n *notes, question string, look func() ([]T, error), keep func([]T) bool) ([]T, error) {
	for {
		n.mu.Lock()
		t, asked := n.told[question].(*told[T])
		if !asked {
			t = &told[T]{done: make(chan struct{})}
			n.told[question] = t
		}
		n.mu.Unlock()
		if !asked {
			return note(ctx, n, question, t, look, keep)
		}
		select {
		case <-t.done:
		default:
			select {
			case <-t.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if t.kept {
			return t.records, t.err
		}
	}
}

// note asks a question that nobody else asks, and notes the answer if it is worth that.
func note[T any](ctx context.Context, n *notes, question string, t *told[T], look func() ([]T, error), keep func([]T) bool) ([]T, error) {
	defer close(t.done)
	defer func() {
		if !t.kept { // also after a panic
			n.mu.Lock()
			delete(n.told, question)
			n.mu.Unlock()
		}
	}()
	t.records, t.err = look()
	t.kept = (t.err == nil || ctx.Err() == nil || isNotFound(t.err)) && keep(t.records)
	return t.records, t.err
}

// memory answers with what the message was told, and what else its resolver has in its cache. It
// never blocks.
type memory struct {
	*notes
	gap bool // something was asked for that was not there
}

// cached is a memory without a gap so far.
func (n *notes) cached() *memory { return &memory{notes: n} }

// errUnderWay says that somebody else has asked and has no answer yet.
var errUnderWay = errors.New("the answer is under way")

// recall answers from the notes, or looks in the cache and notes what is there.
func recall[T any](m *memory, question string, look func() ([]T, error), keep func([]T) bool) (records []T, err error) {
	defer func() { m.gap = m.gap || err != nil && !isNotFound(err) }()
	m.mu.Lock()
	t, asked := m.told[question].(*told[T])
	m.mu.Unlock()
	if asked {
		select {
		case <-t.done:
			if t.kept {
				return t.records, t.err
			}
		default:
			return nil, errUnderWay
		}
	}
	records, err = look()
	if (err == nil || isNotFound(err)) && keep(records) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.told[question] == nil {
			m.told[question] = &told[T]{done: nothingToLookUp, kept: true, records: records, err: err}
		}
	}
	return records, err
}

// nothingToLookUp is closed.
var nothingToLookUp = func() chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}()

func anyway[T any]([]T) bool { return true }

// isShort reports whether the records are no more than the notes hold.
func isShort(texts []string) bool {
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	return size <= maxTold
}

func (n *notes) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return ask(ctx, n, "TXT "+name, func() ([]string, error) { return n.Resolver.LookupTXT(ctx, name) }, isShort)
}

func (n *notes) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return ask(ctx, n, network+" "+host, func() ([]netip.Addr, error) { return n.Resolver.LookupNetIP(ctx, network, host) }, anyway)
}

func (n *notes) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return ask(ctx, n, "MX "+name, func() ([]*net.MX, error) { return n.Resolver.LookupMX(ctx, name) }, anyway)
}

func (n *notes) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return ask(ctx, n, "PTR "+addr, func() ([]string, error) { return n.Resolver.LookupAddr(ctx, addr) }, anyway)
}

func (m *memory) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return recall(m, "TXT "+name, func() ([]string, error) { return m.cache.LookupTXT(ctx, name) }, isShort)
}

func (m *memory) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return recall(m, network+" "+host, func() ([]netip.Addr, error) { return m.cache.LookupNetIP(ctx, network, host) }, anyway)
}

func (m *memory) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return recall(m, "MX "+name, func() ([]*net.MX, error) { return m.cache.LookupMX(ctx, name) }, anyway)
}

func (m *memory) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return recall(m, "PTR "+addr, func() ([]string, error) { return m.cache.LookupAddr(ctx, addr) }, anyway)
}

// isNotFound tells an answer, that there are no such records, from a failure to get one.
func isNotFound(err error) bool {
	dnsErr := (*net.DNSError)(nil)
	return errors.As(err, &dnsErr) && dnsErr.IsNotFound
}
