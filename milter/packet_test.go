package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	gomilter "github.com/emersion/go-milter"

	"peerscore/milter/miltertest"
)

func TestCheckPacket(t *testing.T) {
	offer := func(actions, steps uint32, more ...byte) string {
		b := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 6}, actions)
		return string(append(binary.BigEndian.AppendUint32(b, steps), more...))
	}
	tests := []struct {
		code gomilter.Code
		data string
		want bool
	}{
		{'O', offer(miltertest.AllActions, miltertest.AllSteps), true},
		{'O', offer(miltertest.AllActions, 0x7f), false}, // version 2: replies to everything
		{'O', offer(0, miltertest.AllSteps), false},      // no headers to be changed
		{'O', offer(miltertest.AllActions, miltertest.AllSteps, 0), false},
		{'O', "", false},
		{'C', "host\x004\x12\x34192.0.2.1\x00", true},
		{'C', "host\x006\x12\x34IPv6:::1\x00", true},
		{'C', "localhost\x00U", true},
		{'C', "localhost\x00L\x00\x00/path\x00", true},
		{'C', "host\x004\x12", false}, // go-milter would answer "tempfail"
		{'C', "host\x004\x12\x34192.0.2.1", false},
		{'C', "host\x009\x12\x34x\x00", false},
		{'C', "host\x00", false},
		{'C', "host", false},
		{'D', "C", true},
		{'D', "Ci\x00x\x00", true},
		{'D', "", false},
		{'D', "C" + string(make([]byte, maxMacros+1)), false},
		{'H', "mx.example.org\x00", true},
		{'H', "mx.example.org", false},
		{'M', "<a@example.org>\x00SIZE=5\x00", true},
		{'M', "<a@example.org>", false},
		{'M', string(bytes.Repeat([]byte("x"), maxCommand)) + "\x00", false},
		{'R', "<a@example.org>\x00", true},
		{'R', "", false},
		{'L', "From\x00 a@example.org\x00", true},
		{'L', "Subject\x00\x00", true},
		{'L', "From\x00a\x00b\x00", false}, // go-milter would answer, and forget the field
		{'L', "From\x00a", false},
		{'L', "From\x00", false},
		{'L', "\x00a\x00", false},
		{'N', "", true},
		{'N', "x", false},
		{'B', "", true},
		{'B', "\x00\x00", true},
		{'E', "", true},
		{'E', "last words", false}, // go-milter would drop them
		{'A', "", true},
		{'Q', "", true},
		{'T', "", false}, // DATA and unknown commands were negotiated away
		{'U', "XYZZY\x00", false},
		{'K', "", false},
		{'x', "", false},
		{0, "", false},
	}
	for _, tt := range tests {
		if err := checkPacket(tt.code, []byte(tt.data)); (err == nil) != tt.want {
			t.Errorf("%q %.40q: %v", byte(tt.code), tt.data, err)
		}
	}
}

// What the MTA is asked for: no reply before the end of a message, no command that go-milter
// would end the session for, the blank behind the colon, and no change but of the header.
func TestNegotiation(t *testing.T) {
	c := newLab(t, world).dial(t)
	for name, step := range map[string]gomilter.OptProtocol{
		"unknown commands": gomilter.OptNoUnknown, "DATA": gomilter.OptNoData,
		"reply to connect": gomilter.OptNoConnReply, "to HELO": gomilter.OptNoHeloReply, "to MAIL": gomilter.OptNoMailReply, "to RCPT": gomilter.OptNoRcptReply,
		"to a field": gomilter.OptNoHeaderReply, "to the end of the header": gomilter.OptNoEOHReply, "to the body": gomilter.OptNoBodyReply,
		"leading space": gomilter.OptHeaderLeadingSpace,
	} {
		if c.Steps&uint32(step) == 0 {
			t.Errorf("%s: not asked for", name)
		}
	}
	if may := gomilter.OptAddHeader | gomilter.OptChangeHeader | gomilter.OptSetSymList; c.Actions != uint32(may) {
		t.Errorf("actions %#x", c.Actions)
	}
}

// counted is a connection that counts the calls that reach the kernel.
type counted struct {
	net.Conn
	reads, writes int
}

func (c *counted) Read(p []byte) (int, error)  { c.reads++; return c.Conn.Read(p) }
func (c *counted) Write(p []byte) (int, error) { c.writes++; return c.Conn.Write(p) }

// go-milter reads twice a packet and writes a reply at a time; here the packets of a short
// message are read at once, and the answer to it is written at once.
func TestBufferedPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ln := serveInMemory(t)
		ours, theirs := net.Pipe()
		conn := &counted{Conn: theirs}
		ln.accepts <- conn
		c := miltertest.NewClient(ours)
		if err := errors.Join(c.Negotiate(miltertest.AllActions, miltertest.AllSteps), c.Connect(outbound)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := *conn
		m := miltertest.Message{From: "a@example.org", Data: []byte(letter("a@example.org", slices.Repeat([]string{"Peer-Score: forged"}, 50)...))}
		if answer := play(t, c, outbound, m); len(answer.Changes) != 51 {
			t.Errorf("%d changes", len(answer.Changes))
		}
		synctest.Wait()
		if reads, writes := conn.reads-before.reads, conn.writes-before.writes; reads > 2 || writes != 1 {
			t.Errorf("%d reads, %d writes", reads, writes)
		}
		c.Quit()
	})
}

// A malformed packet ends its session, and no other.
func TestMalformedPackets(t *testing.T) {
	tests := []struct {
		name, packet string
	}{
		{"no length", "\x00\x00\x00\x00"},
		{"too long", "\x00\x10\x00\x01"},
		{"very long", "\xff\xff\xff\xff"},
		{"unknown", "\x00\x00\x00\x01?"},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n"},
		{"header of three strings", "\x00\x00\x00\x07La\x00b\x00c\x00"},
	}
	l := newLab(t, world)
	bystander := l.dial(t)
	for i, tt := range tests {
		conn, err := net.Dial("unix", l.path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, tt.packet)
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("%s: %q, %v", tt.name, rest, err)
		}
		conn.Close()
		if n := l.server.Stats().Malformed; n != int64(i+1) {
			t.Errorf("%s: %d malformed packets counted", tt.name, n)
		}
		play(t, bystander, outbound, fromExample(t))
	}
}

// Whatever ends a session is the plain end of the stream to go-milter, which would have a line
// to log, in the words of whoever caused it, about anything else.
func TestReadErrors(t *testing.T) {
	for _, sent := range []string{"", "\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x09Bhalf", "\xff\xff\xff\xff?", "\x00\x00\x00\x01?"} {
		ours, theirs := net.Pipe()
		go func() { io.WriteString(ours, sent); ours.Close() }()
		s := New(Config{Logger: slog.New(slog.DiscardHandler)})
		c := newConn(theirs, &s.gate)
		c.session = &session{server: s}
		if n, err := c.Read(make([]byte, 100)); n > 0 || err != io.EOF {
			t.Errorf("%q: %d bytes, %v", sent, n, err)
		}
	}
}

// Whoever connects again and again fills no log.
func TestReadErrorsAtAnyRate(t *testing.T) {
	var out strings.Builder
	s := New(Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	const sessions = 3 * linesPerPeriod
	for range sessions {
		ours, theirs := net.Pipe()
		go func() { io.WriteString(ours, "\x00\x00\x00\x00"); ours.Close() }()
		newConn(theirs, &s.gate).Read(make([]byte, 100))
	}
	if lines := strings.Count(out.String(), "\n"); lines != linesPerPeriod || s.Stats().Malformed != sessions {
		t.Errorf("%d lines, %+v", lines, s.Stats())
	}
}

// Packets of every length up to the limit arrive whole, however they are cut on their way.
func TestPacketSizes(t *testing.T) {
	l := newLab(t, world)
	for _, size := range []int{3, 4096, readBuffer - 5, readBuffer - 4, readBuffer, 65535, maxPacket - 1} {
		text := "From: a@example.org\r\n\r\n" + strings.Repeat("x", size-2) + "\r\n"
		m := miltertest.Message{From: "a@example.org", Data: []byte(signed(t, text, "example.org", "ed"))}
		_, body, _ := bytes.Cut(m.Data, []byte("\r\n\r\n"))
		c := l.dial(t)
		for _, step := range []func() error{
			func() error { return c.Connect(outbound) },
			func() error { return c.Envelope(outbound, m) },
			func() error { return c.Header(outbound, m) },
			func() error { return c.Write('B', body) }, // in one piece
			func() error { _, err := c.End(outbound, m); return err },
		} {
			if err := step(); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
		}
		if o := l.ledger.observations; o[len(o)-1].DKIMResult != "pass" {
			t.Errorf("%d bytes: DKIM %s", size, o[len(o)-1].DKIMResult)
		}
	}
}
