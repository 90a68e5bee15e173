package milter

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	gomilter "github.com/emersion/go-milter"
)

const (
	lengthField = 4 // bytes before each packet
	// maxPacket is the length of a packet without its length field; go-milter holds the same.
	maxPacket = 1 << 20
	// keepBuffer is how much of a buffer that grew for a large packet is kept for the next.
	keepBuffer = 128 << 10
	// readBuffer holds all small packets of a short message at once.
	readBuffer = 16 << 10
)

// errMalformed is wrapped by everything that ends a session because of what the MTA sent.
var errMalformed = errors.New("malformed packet")

// conn is the connection that go-milter reads. It hands over whole, checked packets only, so
// that go-milter never allocates for data that has not come, never meets a packet that it
// would answer where no answer is due, and never has an error to log. Replies are collected
// and sent when the next packet is wanted.
//
// Packets with a header field do not reach go-milter at all: it would keep each field in a map
// that it clears on abort only, and forget malformed ones. Nor do those of the body, which it
// would hold whole. They go to the session directly; no reply to them was negotiated.
//
// Read, Write and Close are called by go-milter from one goroutine.
type conn struct {
	raw     net.Conn
	gate    *gate
	session *session

	*buffers
	peeked int          // length of the packet at hand where it stands in r
	large  bytes.Buffer // the packet at hand where it is too long for that
	unread []byte       // what go-milter has not read of it yet

	mu        sync.Mutex // guards what follows, which drain changes
	last      gomilter.Code
	inMessage bool // between MAIL and the reply at the end of the message
	draining  bool
}

// buffers are lent to a connection, because MTAs make one for each SMTP session.
type buffers struct {
	r *bufio.Reader
	w *bufio.Writer
}

var bufferPool = sync.Pool{New: func() any { return &buffers{bufio.NewReaderSize(nil, readBuffer), bufio.NewWriter(nil)} }}

func newConn(raw net.Conn, g *gate) *conn {
	c := &conn{raw: raw, gate: g, buffers: bufferPool.Get().(*buffers)}
	c.r.Reset(mta{c})
	c.w.Reset(inTime{raw})
	return c
}

// mta is the raw connection, of which the session is told when it is waited for.
type mta struct{ *conn }

func (m mta) Read(p []byte) (int, error) {
	if m.session == nil { // before it begins
		return m.raw.Read(p)
	}
	m.session.rest()
	defer m.session.wake()
	return m.raw.Read(p)
}

// Read gives out the packet at hand, and waits for the next when there is none. Its only error
// is io.EOF, whatever happened: the session is over, and what there is to say has been said.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		if err := c.next(); err != nil {
			c.report(err)
			return 0, io.EOF
		}
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

// Write collects; see next.
func (c *conn) Write(p []byte) (int, error) { return c.w.Write(p) }

// Close ends the session.
func (c *conn) Close() error {
	if !c.gate.leave(c) {
		return nil
	}
	if c.session != nil {
		c.session.close()
	}
	c.r.Reset(nil)
	c.w.Reset(nil)
	bufferPool.Put(c.buffers)
	c.buffers = nil
	return c.raw.Close()
}

func (c *conn) LocalAddr() net.Addr              { return c.raw.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr             { return c.raw.RemoteAddr() }
func (c *conn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c *conn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (c *conn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// next sends the replies to the packet before and fetches the next one that is for go-milter.
func (c *conn) next() error {
	for {
		if err := c.w.Flush(); err != nil {
			return err
		}
		if !c.mayWait() {
			return io.EOF
		}
		code, size, err := c.readHead()
		if err != nil {
			return err
		}
		if code == gomilter.CodeBody {
			c.note(code)
			if err := c.streamBody(size - 1); err != nil {
				return err
			}
			continue
		}
		packet, err := c.readPacket(size)
		if err != nil {
			return err
		}
		data := packet[lengthField+1:]
		if err := checkPacket(code, data); err != nil {
			return err
		}
		c.note(code)
		if code != gomilter.CodeHeader {
			c.unread = packet
			return nil
		}
		name, value, _ := bytes.Cut(data, []byte{0})
		c.session.header(string(name), string(bytes.TrimSuffix(value, []byte{0})))
	}
}

// inTime is a connection of which each write has its own deadline: an answer may be longer
// than the buffer before it.
type inTime struct{ raw net.Conn }

func (w inTime) Write(p []byte) (int, error) {
	if err := w.raw.SetWriteDeadline(time.Now().Add(packetTimeout)); err != nil {
		return 0, err
	}
	return w.raw.Write(p)
}

// readHead waits for the next packet and tells its code and its length.
func (c *conn) readHead() (code gomilter.Code, size int, err error) {
	if _, err := c.r.Discard(c.peeked); err != nil {
		return 0, 0, err
	}
	c.peeked = 0
	if c.large.Cap() > keepBuffer { // before the wait, which may be long
		c.large = bytes.Buffer{}
	}
	if err := c.awaitPacket(); err != nil {
		return 0, 0, err
	}
	head, err := c.r.Peek(lengthField)
	if err != nil {
		return 0, 0, midPacket(err)
	}
	n := binary.BigEndian.Uint32(head)
	if n == 0 || n > maxPacket {
		return 0, 0, fmt.Errorf("%w: its length is %d", errMalformed, n)
	}
	if head, err = c.r.Peek(lengthField + 1); err != nil {
		return 0, 0, midPacket(err)
	}
	return gomilter.Code(head[lengthField]), int(n), nil
}

// readPacket reads the packet whole, with its length field. The slice is good until the next
// call. What does not fit into the read buffer gets one of its own, which grows as data arrives.
func (c *conn) readPacket(size int) ([]byte, error) {
	if total := lengthField + size; total <= c.r.Size() {
		c.peeked = total
		packet, err := c.r.Peek(total)
		return packet, midPacket(err)
	}
	c.large.Reset()
	_, err := io.CopyN(&c.large, c.r, lengthField+int64(size))
	return c.large.Bytes(), midPacket(err)
}

// streamBody gives the session the rest of a body packet as it arrives.
func (c *conn) streamBody(rest int) error {
	if _, err := c.r.Discard(lengthField + 1); err != nil {
		return err
	}
	for rest > 0 {
		if _, err := c.r.Peek(1); err != nil {
			return midPacket(err)
		}
		chunk, _ := c.r.Peek(min(rest, c.r.Buffered()))
		c.session.body(chunk)
		rest -= len(chunk)
		if _, err := c.r.Discard(len(chunk)); err != nil {
			return err
		}
	}
	return nil
}

// awaitPacket waits for the first byte of a packet, and sets the deadline for the rest of it
// unless the whole is there already.
func (c *conn) awaitPacket() error {
	if c.r.Buffered() == 0 {
		if err := c.raw.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return err
		}
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
	}
	seen, _ := c.r.Peek(c.r.Buffered())
	if len(seen) >= lengthField && uint32(len(seen)-lengthField) >= binary.BigEndian.Uint32(seen) {
		return nil
	}
	return c.raw.SetReadDeadline(time.Now().Add(packetTimeout))
}

// midPacket makes the end of the connection within a packet an error of its own.
func midPacket(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// mayWait reports whether another packet is wanted: not when the server stops and no message is
// at hand. A message is over once the reply to its end is out.
func (c *conn) mayWait() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == gomilter.CodeEOB || c.last == gomilter.CodeAbort {
		c.inMessage = false
	}
	return c.inMessage || !c.draining
}

// note follows where in a session the MTA is.
func (c *conn) note(code gomilter.Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last = code; code == gomilter.CodeMail {
		c.inMessage = true
	}
}

// drain ends the session as soon as no message is at hand.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining = true; !c.inMessage {
		c.raw.Close()
	}
}

// report counts and logs why a session ended, unless it is an ordinary end.
func (c *conn) report(err error) {
	switch {
	case err == io.EOF, errors.Is(err, net.ErrClosed):
	case errors.Is(err, errMalformed):
		c.gate.counters.malformed.Add(1)
		c.gate.log.log(slog.LevelWarn, "milter session closed", "error", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.gate.counters.timedOut.Add(1)
		c.gate.log.log(slog.LevelInfo, "milter session closed", "error", err)
	default:
		c.gate.log.log(slog.LevelDebug, "milter session broke off", "error", err)
	}
}
