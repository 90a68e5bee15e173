package milter

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/milter/miltertest"
)

// What go-milter v0.5.0 leaves open, and the tests that fail when it is open here:
//
//	no deadlines                                TestDeadlines
//	no limit on connections                     TestSessionLimit
//	memory for a packet that has not come       TestHalfPackets, TestLargePacketIsNotKept
//	an error of Accept ends the server          TestAcceptBackoff, TestShutdownWhileAcceptFails
//	a final answer forgets the client           TestStateWithinOneSession
//	fields outlive their message, no limit      TestGivenUp, TestStateWithinOneSession, TestHeaderLimits
//	macros are gone at the next stage           TestStartTLSBetweenMessages, TestClient
//	the MTA's offer is ignored                  TestCheckPacket
//	unknown commands end the session            TestNegotiation
//	no-reply steps are not kept                 TestNegotiation, TestStateWithinOneSession
//	"IPv6:" addresses are lost                  TestAddressThatGoMilterLoses
//	no draining                                 TestDrain, TestDrainEnds
//	a log line for each bad connection          TestReadErrors, TestStandardLog, TestPanicAtTheEnd
//	malformed packets are answered, forgotten   TestCheckPacket, TestMalformedPackets
//	two reads a packet, a write a reply         TestBufferedPackets

// pipeListener accepts what a test puts into it: connections in memory, or errors.
type pipeListener struct {
	accepts chan any // net.Conn or error
	closed  chan struct{}
	close   func()
}

func newPipeListener() *pipeListener {
	l := &pipeListener{accepts: make(chan any), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case v := <-l.accepts:
		if err, failed := v.(error); failed {
			return nil, err
		}
		return v.(net.Conn), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.close(); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

// dial gives the other end of an accepted connection.
func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.accepts <- theirs
	return ours
}

// serveInMemory runs a server in the bubble of a synctest.
func serveInMemory(t *testing.T, changes ...func(*Config)) (*Server, *pipeListener) {
	ledger := &ledger{}
	cfg := Config{Resolver: always(world), Recorder: ledger, Reputation: ledger, Learner: ledger,
		Hostname: labHost, Logger: slog.New(slog.DiscardHandler), Policy: Policy{Score: true}}
	for _, change := range changes {
		change(&cfg)
	}
	s := New(cfg)
	ln := newPipeListener()
	served := make(chan error)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, ln
}

// closedAfter tells how long the other end of a connection took to close it.
func closedAfter(t *testing.T, conn net.Conn) time.Duration {
	began := time.Now()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v", err)
	}
	return time.Since(began)
}

func TestDeadlines(t *testing.T) {
	offer := append([]byte{0, 0, 0, 13, 'O', 0, 0, 0, 6}, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff)
	tests := []struct {
		name string
		play func(net.Conn)
		want time.Duration
	}{
		{"idle from the start", func(net.Conn) {}, idleTimeout},
		{"one byte of a length", func(c net.Conn) { c.Write([]byte{0}) }, packetTimeout},
		{"half a packet", func(c net.Conn) { c.Write([]byte{0, 0, 0, 9, 'B', 'x'}) }, packetTimeout},
		{"half a large packet", func(c net.Conn) { c.Write([]byte{0, 8, 0, 0, 'B', 'x'}) }, packetTimeout},
		{"a byte now and then", func(c net.Conn) {
			for _, b := range []byte{0, 8, 0, 0, 'B', 'x', 'x', 'x', 'x', 'x'} {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(packetTimeout / 4)
			}
		}, packetTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ln := serveInMemory(t)
				conn := ln.dial()
				played := make(chan struct{})
				go func() { tt.play(conn); close(played) }()
				if took := closedAfter(t, conn); took != tt.want {
					t.Errorf("closed after %v, want %v", took, tt.want)
				}
				if n := s.Stats().TimedOut; n != 1 {
					t.Errorf("%d sessions timed out", n)
				}
				<-played
			})
		})
	}
	t.Run("a reply that nobody takes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, ln := serveInMemory(t)
			conn := ln.dial()
			conn.Write(offer)
			time.Sleep(packetTimeout)
			synctest.Wait()
			if _, err := conn.Write([]byte{0}); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("still open: %v", err)
			}
		})
	})
	t.Run("a long answer late in a session", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, ln := serveInMemory(t)
			c := miltertest.NewClient(ln.dial())
			if err := c.Negotiate(miltertest.AllActions, miltertest.AllSteps); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * packetTimeout)
			// What is removed and what is written together take more than one buffer.
			text := letter("a@"+strings.Repeat("a.", 100)+"example.org", slices.Repeat([]string{"Peer-Score-Confidentiality: forged"}, maxRemovals)...)
			p := outbound
			p.Macros = map[string]string{"j": strings.Repeat("mx.", 80) + "own.example"}
			answer := play(t, c, p, miltertest.Message{Data: []byte(text)})
			size := 0
			for _, change := range answer.Changes {
				size += len("....m....") + len(change.Name) + len(change.Value) + 2
			}
			if len(answer.Changes) != maxRemovals+1 || size <= bufio.NewWriter(nil).Size() {
				t.Errorf("%d changes of %d bytes", len(answer.Changes), size)
			}
			c.Quit()
		})
	})
	t.Run("work in time is not disturbed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, ln := serveInMemory(t)
			c := miltertest.NewClient(ln.dial())
			c.Timeout = time.Hour
			if err := c.Negotiate(miltertest.AllActions, miltertest.AllSteps); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				time.Sleep(idleTimeout - time.Second)
				play(t, c, outbound, miltertest.Message{Data: []byte(letter("a@example.org"))})
			}
			c.Quit()
			synctest.Wait()
			if stats := s.Stats(); stats.TimedOut > 0 || stats.Open > 0 {
				t.Errorf("stats %+v", stats)
			}
		})
	})
}

// A failing Accept is waited out, ever longer up to a second; Serve goes on.
func TestAcceptBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ln := serveInMemory(t)
		began := time.Now()
		for range 12 {
			ln.accepts <- syscall.EMFILE
		}
		conn := ln.dial()
		want := (5 + 10 + 20 + 40 + 80 + 160 + 320 + 640 + 4*1000) * time.Millisecond
		if took := time.Since(began); took != want {
			t.Errorf("accepted again after %v, want %v", took, want)
		}
		conn.Close()
	})
}

func TestShutdownWhileAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		t.Cleanup(func() { // when Serve has returned
			if took := time.Since(began); took > 0 {
				t.Errorf("Serve returned after %v", took)
			}
		})
		s, ln := serveInMemory(t)
		ln.accepts <- syscall.EMFILE
		synctest.Wait()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestSessionLimit(t *testing.T) {
	l := newLab(t, world)
	var clients []*miltertest.Client
	for range MaxSessions {
		clients = append(clients, l.dial(t))
	}
	if _, err := miltertest.Dial("unix", l.path); err == nil {
		t.Fatalf("session %d was accepted", MaxSessions+1)
	}
	if s := l.server.Stats(); s.Open != MaxSessions || s.Refused != 1 {
		t.Errorf("stats %+v", s)
	}
	// Those that are there work, and when one leaves another may come.
	play(t, clients[7], outbound, fromExample(t))
	clients[0].Quit()
	for {
		c, err := miltertest.Dial("unix", l.path)
		if err == nil {
			c.Quit()
			break
		}
	}
}

// Packets that are announced and do not come cost next to nothing.
func TestHalfPackets(t *testing.T) {
	l := newLab(t, world)
	before := heap()
	const sessions = 200
	for i := range sessions {
		raw, err := net.Dial("unix", l.path)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		raw.Write(binary.BigEndian.AppendUint32(nil, maxPacket))
		raw.Write([]byte([]string{"Babc", "Labc"}[i%2])) // the body is handed on as it comes, fields are kept until they are whole
	}
	l.dial(t).Quit() // whoever dials now comes behind all of them
	if grown := heap() - before; grown > sessions*128<<10 {
		t.Errorf("%d half packets hold %d KiB", sessions, grown>>10)
	}
}

// A session that sent a packet of the largest size does not keep the memory for it.
func TestLargePacketIsNotKept(t *testing.T) {
	l := newLab(t, world)
	before := heap()
	const sessions = 50
	for range sessions {
		c := l.dial(t)
		c.Connect(outbound)
		field := append([]byte("X\x00"), bytes.Repeat([]byte{'x'}, maxPacket-4)...)
		if err := errors.Join(c.Envelope(outbound, miltertest.Message{}), c.Write('L', append(field, 0)), c.Write('B', make([]byte, maxPacket-1))); err != nil {
			t.Fatal(err)
		}
		c.Abort()
		if _, err := c.End(outbound, miltertest.Message{}); err != nil { // it has read all
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > sessions*128<<10 {
		t.Errorf("%d sessions hold %d KiB", sessions, grown>>10)
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Shutdown lets the message at hand end, and closes idle sessions at once.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ln := serveInMemory(t)
		idle, busy := miltertest.NewClient(ln.dial()), miltertest.NewClient(ln.dial())
		for _, c := range []*miltertest.Client{idle, busy} {
			c.Timeout = time.Hour
			if err := c.Negotiate(miltertest.AllActions, miltertest.AllSteps); err != nil {
				t.Fatal(err)
			}
		}
		m := miltertest.Message{From: "a@example.org", Data: []byte(letter("a@example.org"))}
		if err := errors.Join(busy.Envelope(outbound, m), busy.Flush()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stopped := make(chan error, 1)
		began := time.Now()
		go func() { stopped <- s.Shutdown(t.Context()) }()
		if _, _, err := idle.Read(); err != io.EOF {
			t.Errorf("idle session: %v", err)
		}
		if err := busy.Header(outbound, m); err != nil {
			t.Fatal(err)
		}
		answer, err := busy.End(outbound, m)
		if err != nil || len(answer.Changes) > 1 {
			t.Errorf("the message at hand: %+v, %v", answer, err)
		}
		if _, _, err := busy.Read(); err != io.EOF {
			t.Errorf("after it: %v", err)
		}
		if err := <-stopped; err != nil || time.Since(began) > 0 {
			t.Errorf("Shutdown: %v after %v", err, time.Since(began))
		}
		if _, late := net.Pipe(); s.gate.enter(late) != nil { // accepted before the listener was closed
			t.Error("a session begins after the end")
		}
	})
}

// A message that does not end holds Shutdown up no longer than its context allows.
func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ln := serveInMemory(t)
		c := miltertest.NewClient(ln.dial())
		c.Timeout = time.Hour
		if err := c.Negotiate(miltertest.AllActions, miltertest.AllSteps); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Envelope(outbound, miltertest.Message{}), c.Flush()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n := s.Stats().Messages["aborted"]; n != 1 {
			t.Errorf("%d messages aborted", n)
		}
	})
}

// What go-milter says on the standard logger comes out structured, and not at any rate.
func TestStandardLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		w := StandardLog(slog.New(slog.NewTextHandler(&out, nil)))
		for range 5 * linesPerPeriod {
			io.WriteString(w, "panic handling command: \x1b[2J\ngoroutine 1\n")
		}
		if n := strings.Count(out.String(), "\n"); n != linesPerPeriod || !strings.Contains(out.String(), `text="panic handling command: \x1b[2J\ngoroutine 1"`) {
			t.Errorf("%d lines: %.200s", n, out.String())
		}
		time.Sleep(logPeriod)
		io.WriteString(w, "again")
		if !strings.Contains(out.String(), "lines=40") || !strings.Contains(out.String(), "text=again") {
			t.Errorf("after a period: %s", out.String()[len(out.String())-200:])
		}
	})
}
