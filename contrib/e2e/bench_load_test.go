package e2e

import (
	"bufio"
	wire "encoding/binary" // the program under test is called binary here
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"peerscore/milter/miltertest"
)

// load is one measurement: n messages through one contender.
func (l *lab) load(c contender, what contest, text string, n int) rate {
	if what.bare {
		return l.throughSockets(c, text, n, what.parallel)
	}
	r := l.throughPostfix(c, text, "user", n, what.parallel)
	l.waitFor("an empty queue", c.postfix.idle) // the next contender has the machine for itself
	return r
}

// throughPostfix sends n messages with Postfix's own smtp-source, each in a session of its own.
func (l *lab) throughPostfix(c contender, text, to string, n, parallel int) rate {
	l.t.Helper()
	l.write(l.dir, "bench.eml", text)
	return c.measure(l, n, func() {
		l.run(l.dir, "smtp-source", "-F", "bench.eml", "-m", strconv.Itoa(n), "-s", strconv.Itoa(parallel), "-M", "mx."+benchDomain,
			"-f", "bench@"+benchDomain, "-t", to+"@"+ownDomain, net.JoinHostPort(c.postfix.address, "25"))
	})
}

// idle reports whether everything that was received has been delivered.
func (p *postfix) idle() bool {
	for _, queue := range []string{"incoming", "active"} {
		if files, err := os.ReadDir(filepath.Join(filepath.Dir(p.conf), "spool", queue)); err != nil || len(files) > 0 {
			return false
		}
	}
	return true
}

// throughSockets replays n sessions of one message against the bare milter sockets, each
// through all of them.
func (l *lab) throughSockets(c contender, text string, n, parallel int) rate {
	l.t.Helper()
	scripts := make([]script, len(c.sockets))
	for i, socket := range c.sockets {
		var err error
		if scripts[i], err = record(socket, text); err != nil {
			l.t.Fatal(c.name, err)
		}
	}
	c.sent.Add(1) // recording is a session
	var left atomic.Int64
	left.Store(int64(n))
	return c.measure(l, n, func() {
		var wait sync.WaitGroup
		for range parallel {
			wait.Go(func() {
				r := bufio.NewReader(nil)
				for left.Add(-1) >= 0 {
					for i, socket := range c.sockets {
						if err := scripts[i].replay(socket, r); err != nil {
							l.t.Error(c.name, err)
							return
						}
					}
				}
			})
		}
		wait.Wait()
	})
}

// measure times n messages.
func (c contender) measure(l *lab, n int, send func()) rate {
	before, begin := l.cpuOf(c.pids), time.Now()
	send()
	elapsed := time.Since(begin)
	c.sent.Add(int64(n))
	return rate{float64(n) / elapsed.Seconds(), (l.cpuOf(c.pids) - before) / time.Duration(n)}
}

// script is what an MTA writes in a session of one message, up to each reply that the milter
// gives. Replaying it costs next to nothing beside the milter.
type script [][]byte

// record plays one session with the client that negotiates and keeps what it wrote.
func record(socket, text string) (script, error) {
	raw, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	r := &recorder{Conn: raw}
	client := miltertest.NewClient(r)
	if err := client.Negotiate(miltertest.AllActions, miltertest.AllSteps); err != nil {
		return nil, err
	}
	peer := miltertest.Peer{
		Addr: netip.MustParseAddr(benchSource), Name: "mx." + benchDomain, HELO: "mx." + benchDomain,
		TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384",
	}
	if err := client.Connect(peer); err != nil {
		return nil, err
	}
	_, err = client.Send(peer, miltertest.Message{
		QueueID: "4bench", From: "bench@" + benchDomain, To: []string{"user@" + ownDomain},
		Data: []byte(strings.ReplaceAll(text, "\n", "\r\n")),
	})
	if err != nil {
		return nil, err
	}
	return r.script, client.Quit()
}

type recorder struct {
	net.Conn
	script script
	asking bool // a reply is read; the next write begins another piece
}

func (r *recorder) Read(p []byte) (int, error) {
	r.asking = true
	return r.Conn.Read(p)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.asking || len(r.script) == 0 {
		r.script, r.asking = append(r.script, nil), false
	}
	last := len(r.script) - 1
	r.script[last] = append(r.script[last], p...)
	return r.Conn.Write(p)
}

// replay plays the session on a connection of its own; r is a buffer to read through.
func (s script) replay(socket string, r *bufio.Reader) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	r.Reset(conn)
	for i, piece := range s {
		if _, err := conn.Write(piece); err != nil || i == len(s)-1 { // the last is the farewell
			return err
		}
		if err := awaitReply(r); err != nil {
			return err
		}
	}
	return nil
}

// awaitReply reads up to a packet that is an answer, past those that ask for changes.
func awaitReply(r *bufio.Reader) error {
	for {
		head, err := r.Peek(5)
		if err != nil {
			return err
		}
		size, code := wire.BigEndian.Uint32(head), head[4]
		if _, err := r.Discard(4 + int(size)); err != nil {
			return err
		}
		switch code {
		case 'O', 'c', 'a':
			return nil
		case 'r', 't', 'd', 'y':
			return fmt.Errorf("answered %q", code)
		}
	}
}

// cpuOf is the processor time that processes have used so far.
func (l *lab) cpuOf(pids []int) time.Duration {
	l.t.Helper()
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	var total time.Duration
	for _, pid := range pids {
		_, rest, _ := strings.Cut(l.read("/proc", strconv.Itoa(pid)+"/stat"), ") ")
		for _, field := range strings.Fields(rest)[11:13] { // utime, stime
			ticks, err := strconv.Atoi(field)
			if err != nil {
				l.t.Fatal(err)
			}
			total += time.Duration(ticks) * tick
		}
	}
	return total
}

// resetPeak has the kernel forget the peak so far (proc(5), clear_refs).
func (l *lab) resetPeak(c contender) {
	for _, pid := range c.pids {
		l.write("/proc", strconv.Itoa(pid)+"/clear_refs", "5")
	}
}

// peakMemory is the largest resident size since resetPeak, in MiB.
func (l *lab) peakMemory(c contender) (peak float64) {
	for _, pid := range c.pids {
		text := between(l.read("/proc", strconv.Itoa(pid)+"/status"), "VmHWM:", "kB")
		kilobytes, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			l.t.Fatal(err)
		}
		peak += float64(kilobytes) / 1024
	}
	return peak
}
