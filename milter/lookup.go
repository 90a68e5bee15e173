package milter

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"peerscore/assess/spf"
)

// maxQueries is how many queries a message may cause (security.md): 40 for SPF, 8 for DMARC, a
// key for each of 5 signatures, and 1 for P-HOST.
const maxQueries = 54

// Resolver looks names up for one message.
type Resolver interface {
	spf.Resolver
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
	mu   sync.Mutex
	told map[string]any
}

func newNotes(r Resolver) *notes { return &notes{Resolver: r, told: make(map[string]any)} }

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

func anyway[T any]([]T) bool { return true }

func (n *notes) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return ask(ctx, n, "TXT "+name, func() ([]string, error) { return n.Resolver.LookupTXT(ctx, name) }, func(texts []string) bool {
		size := 0
		for _, text := range texts {
			size += len(text)
		}
		return size <= maxTold
	})
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

// lookUp calls look with what the resolver has in memory, which for most mail is all that look
// needs, and spares it a goroutine. What was not there look is to get beside the others; the
// channel is closed once it has. What a panic left undone stays so. The budget of the message pays
// for both.
func (e *evaluation) lookUp(look func(spf.Resolver)) <-chan struct{} {
	remembered := e.remembered()
	complete := false
	e.message.server.contain(func() {
		look(remembered)
		complete = !remembered.gap
	})
	if complete {
		return nothingToLookUp
	}
	done := make(chan struct{})
	e.message.server.spawn(func() {
		defer close(done)
		watch := stopwatch{budget: &e.message.budget}
		watch.start()
		defer watch.stop()
		look(metered{e.resolver, &watch})
	})
	return done
}

// nothingToLookUp is closed.
var nothingToLookUp = func() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}()

// memory is what a resolver answers without asking anybody: all that it can for somebody who
// has stopped waiting. It never blocks.
type memory struct {
	resolver spf.Resolver
	gap      bool // something was asked for that was not there
}

// over is a context that has ended.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// remembered is what the message was told, and what else the resolver has in memory.
func (e *evaluation) remembered() *memory { return &memory{resolver: e.resolver} }

func (m *memory) LookupTXT(_ context.Context, name string) ([]string, error) {
	texts, err := m.resolver.LookupTXT(over, name)
	return texts, m.note(err)
}

func (m *memory) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := m.resolver.LookupNetIP(over, network, host)
	return addrs, m.note(err)
}

func (m *memory) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	hosts, err := m.resolver.LookupMX(over, name)
	return hosts, m.note(err)
}

func (m *memory) LookupAddr(_ context.Context, addr string) ([]string, error) {
	names, err := m.resolver.LookupAddr(over, addr)
	return names, m.note(err)
}

func (m *memory) note(err error) error {
	m.gap = m.gap || err != nil && !isNotFound(err)
	return err
}

// isNotFound tells an answer, that there are no such records, from a failure to get one.
func isNotFound(err error) bool {
	dnsErr := (*net.DNSError)(nil)
	return errors.As(err, &dnsErr) && dnsErr.IsNotFound
}
