package probetest

import (
	"net"
	"sync"
	"time"
)

// delayConn is a connection whose client is a round trip away: each write arrives delay later,
// in order, and nobody waits in the meantime. Where the kernel has no netem this stands for the
// network. The round trip of TCP's own handshake, which loopback does not have, comes on top of
// the first exchange: until then the server neither hears the client nor can say anything.
type delayConn struct {
	net.Conn
	delay time.Duration
	open  time.Time // when the handshake would be over

	mu     sync.Mutex
	closed bool
	queue  chan segment
	done   chan struct{}
}

type segment struct {
	due  time.Time
	data []byte
}

// inFlight bounds the writes that are under way; a further one waits.
const inFlight = 64

func delayed(conn net.Conn, delay time.Duration) net.Conn {
	if delay == 0 {
		return conn
	}
	c := &delayConn{
		Conn: conn, delay: delay, open: time.Now().Add(delay),
		queue: make(chan segment, inFlight), done: make(chan struct{}),
	}
	go c.deliver()
	return c
}

func (c *delayConn) deliver() {
	defer close(c.done)
	for s := range c.queue {
		time.Sleep(time.Until(s.due))
		if _, err := c.Conn.Write(s.data); err != nil {
			break
		}
	}
	for range c.queue { // the client is gone
	}
}

func (c *delayConn) Read(data []byte) (int, error) {
	time.Sleep(time.Until(c.open))
	return c.Conn.Read(data)
}

func (c *delayConn) Write(data []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	sent := time.Now()
	if sent.Before(c.open) {
		sent = c.open
	}
	c.queue <- segment{sent.Add(c.delay), append([]byte(nil), data...)}
	return len(data), nil
}

// Deadlines are for reads: crypto/tls ends a connection with a deadline in the past for further
// writes, and those before it are still under way.
func (c *delayConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *delayConn) SetWriteDeadline(time.Time) error { return nil }

// Close delivers what is under way and closes the connection.
func (c *delayConn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	if first {
		close(c.queue)
	}
	c.mu.Unlock()
	<-c.done
	return c.Conn.Close()
}
