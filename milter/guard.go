package milter

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// MaxSessions is how many there are at once, over all listeners.
const MaxSessions = 500

// Limits of a connection (assess/probe/limits.md, section 1).
const (
	idleTimeout   = 10 * time.Minute
	packetTimeout = 30 * time.Second // for the rest of a packet once it has begun, and for a reply to be taken
	acceptBackoff = 5 * time.Millisecond
	maxBackoff    = time.Second
)

// gate admits connections: a bounded number at once over all listeners of a server. It
// knows those that are open, so that they can be drained.
type gate struct {
	log      *throttle
	counters *counters
	most     int // open connections

	mu      sync.Mutex
	open    map[*conn]struct{}
	closing bool
	left    sync.WaitGroup // counts the open connections
}

// enter admits a connection, unless there are too many or the server stops.
func (g *gate) enter(raw net.Conn) *conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing || len(g.open) >= g.most {
		return nil
	}
	if g.open == nil {
		g.open = map[*conn]struct{}{}
	}
	c := newConn(raw, g)
	g.open[c] = struct{}{}
	g.left.Add(1)
	return c
}

// leave forgets a connection; it reports whether this was the first time.
func (g *gate) leave(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.open[c]; !ok {
		return false
	}
	delete(g.open, c)
	g.left.Done()
	return true
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

// drain lets the messages at hand end, closes every other connection at once, and waits. When
// ctx ends first it closes the rest and returns its error.
func (g *gate) drain(ctx context.Context) error {
	for _, c := range g.close() {
		c.drain()
	}
	done := make(chan struct{})
	go func() { g.left.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	for _, c := range g.close() {
		c.raw.Close()
	}
	<-done
	return ctx.Err()
}

// close admits nobody from now on and returns who is still there.
func (g *gate) close() []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	var open []*conn
	for c := range g.open {
		open = append(open, c)
	}
	return open
}

// listener is what go-milter accepts from: connections that keep the limits. A failing Accept
// would end its Serve, so errors are waited out here, and only a closed listener is reported.
type listener struct {
	net.Listener
	gate     *gate
	done     <-chan struct{} // closed when the server stops
	accepted *conn           // the latest; go-milter asks for its backend right after Accept
}

func (l *listener) Accept() (net.Conn, error) {
	for backoff := acceptBackoff; ; {
		raw, err := l.Listener.Accept()
		switch {
		case err == nil:
			backoff = acceptBackoff
			if c := l.gate.enter(raw); c != nil {
				l.gate.counters.sessions.Add(1)
				l.accepted = c
				return c, nil
			}
			l.gate.counters.refused.Add(1)
			raw.Close()
		case errors.Is(err, net.ErrClosed):
			return nil, err
		default:
			l.gate.log.log(slog.LevelWarn, "cannot accept a milter connection", "error", err, "retry", backoff)
			select {
			case <-time.After(backoff):
			case <-l.done:
				return nil, net.ErrClosed
			}
			backoff = min(2*backoff, maxBackoff)
		}
	}
}
