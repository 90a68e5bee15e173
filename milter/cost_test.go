package milter

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"peerscore/milter/miltertest"
)

// cost is what one message cost the milter.
type cost struct {
	cpu       time.Duration
	allocated uint64
	held      int    // octets at the end of the body
	problem   string // as the log has it
}

// tape is the MTA's end of a session, played from memory, so that this process does nothing
// beside the milter.
type tape struct {
	net.Conn
	packets []byte
	end     int    // where the end of the message begins
	before  func() // called there
	closed  chan struct{}
}

func (t *tape) Read(p []byte) (int, error) {
	if len(t.packets) == 0 {
		return 0, io.EOF
	}
	n := len(t.packets)
	if t.end > 0 {
		n = t.end
	} else if t.before != nil {
		t.before()
		t.before = nil
	}
	n = copy(p, t.packets[:n])
	t.packets, t.end = t.packets[n:], max(0, t.end-n)
	return n, nil
}

func (t *tape) Write(p []byte) (int, error)      { return len(p), nil }
func (t *tape) Close() error                     { close(t.closed); return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }
func (t *tape) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (t *tape) LocalAddr() net.Addr              { return &net.UnixAddr{} }

// recorded is what an MTA sends in a session, from the first packet to the last.
func recorded(send func(*miltertest.Client)) *tape {
	client, server := net.Pipe()
	packets := make(chan []byte)
	go func() { all, _ := io.ReadAll(server); packets <- all }()
	c := miltertest.NewClient(client)
	c.Steps = miltertest.AllSteps &^ 0x37f // all of them, without replies
	offer := []byte{0, 0, 0, miltertest.Version}
	offer = binary.BigEndian.AppendUint32(offer, miltertest.AllActions)
	_ = c.Write('O', binary.BigEndian.AppendUint32(offer, miltertest.AllSteps)) // the pipe takes everything
	send(c)
	_ = c.Quit()
	return &tape{packets: <-packets, closed: make(chan struct{})}
}

// taped is a session of one message.
func taped(p miltertest.Peer, m miltertest.Message) *tape {
	t := recorded(func(c *miltertest.Client) {
		_, body, _ := strings.Cut(string(m.Data), "\r\n\r\n")
		_, _, _, _ = c.Connect(p), c.Envelope(p, m), c.Header(p, m), c.Body([]byte(body))
		_ = c.Write('E', nil)
	})
	t.end = len(t.packets) - len("\x00\x00\x00\x01E\x00\x00\x00\x01Q")
	return t
}

// cassette is a listener with one connection.
type cassette struct {
	net.Listener
	conn chan net.Conn
}

func (c cassette) Accept() (net.Conn, error) {
	if conn := <-c.conn; conn != nil {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (c cassette) Close() error { return nil }

// play has the milter take a message once. What is held at its end takes a collection of
// garbage, and so a session of its own.
func (c *cost) play(t testing.TB, z zone, text string, collect bool, changes []func(*Config)) {
	c.playTape(t, z, taped(outbound, miltertest.Message{From: "a@example.org", Data: []byte(text)}), collect, changes)
}

func (c *cost) playTape(t testing.TB, z zone, conn *tape, collect bool, changes []func(*Config)) {
	l := newLab(t, z, changes...)
	l.ledger.standings["example.org"] = standing(5, 5, 5)
	if collect {
		empty := heap()
		conn.before = func() { c.held = heap() - empty }
	}
	ln := cassette{conn: make(chan net.Conn, 2)}
	ln.conn <- conn
	allocated, cpu := totalAlloc(), cpuTime(t)
	go func() { _ = l.server.Serve(ln) }() // net.ErrClosed, in the end
	<-conn.closed
	if !collect { // the least, since others use this processor too
		c.cpu, c.allocated = min(c.cpu, cpuTime(t)-cpu), min(c.allocated, totalAlloc()-allocated)
	}
	close(ln.conn)
	_, c.problem, _ = strings.Cut(l.logged.String(), " problem=")
}

const lorem = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod.\r\n"

// ordinary is a message of about that many octets with valid signatures, as it comes every day,
// and a number of further fields: each is a packet, which costs the MTA more than the milter.
func ordinary(t testing.TB, size, signatures, fields int, selector string) string {
	t.Helper()
	text := letter("Anna <anna@example.org>", slices.Repeat([]string{"X: y"}, fields)...)
	text += strings.Repeat(lorem, max(0, size-len(text)-700*signatures)/len(lorem))
	own := fieldOf(signed(t, text, "example.org", selector, relaxed, func(o *msgauth.SignOptions) {
		o.HeaderKeys = []string{"From", "To", "Subject", "Date", "Message-ID"}
	}))
	return strings.Repeat(own, signatures) + text
}

const (
	maxHeld    = 5 << 19 // octets; assess/probe/limits.md, section 1 allows 4 MiB, MemoryMax of the systemd unit counts on less
	costRounds = 15      // before a message counts as too dear
)

// hostileMessage is one that is made to cost much.
type hostileMessage struct {
	name, text string
	signatures int    // of the ordinary message that it is compared with
	key        string // RSA; that of the signatures when empty
	bits       int    // of the keys of the ordinary message, when not 2048
	changes    []func(*Config)
}

// hostileMessages are the known ways to cost a verifier much; contrib/cost looks for others.
func hostileMessages(t testing.TB) []hostileMessage {
	base := letter("a@example.org")
	own := fieldOf(signed(t, base, "example.org", "rsa"))
	soft := fieldOf(signed(t, base, "example.org", "rsa", relaxed))
	signing := func(sig, name string) string { return edit(sig, "h=From", "h="+name+":From") }
	five := func(sig, more string) string { return strings.Repeat(sig, 5) + more + base }
	field := func(unit string) string { return "X: " + strings.Repeat(unit, 240<<10/len(unit)) + "x\r\n" }
	long := regexp.MustCompile(`\bb=[^;]*\r\n`).ReplaceAllString(own, "b="+strings.Repeat("QUJD", 170)+"QUI=\r\n")
	chinese := ""
	for i := range 320 {
		chinese += string(rune('一' + 37*i))
	}
	trust := func(c *Config) {
		c.Policy.Authentication, c.Policy.TrustedAuthservIDs = Trust, []string{"mx.earlier.example"}
	}
	list := []hostileMessage{
		{"a key of 380,000 bits", own + base, 1, rsaRecord(380_000, 65537), 0, nil},
		{"an exponent of 100,000 digits", own + base, 1, hugeExponent(), 0, nil},
		{"the largest key five times", five(long, ""), 5, rsaRecord(4096, 65537), 4096, nil},
		{"the largest key and exponent five times", five(long, ""), 5, rsaRecord(4096, 1<<31-1), 4096, nil},
		{"the largest exponent five times", five(own, ""), 5, rsaRecord(2048, 1<<31-1), 0, nil},
		{"20,000 names in h=", five(signing(own, strings.Repeat("x:", 20_000)+"y"), ""), 5, "", 0, nil},
		{"5,000 signatures", strings.Repeat(own, 5_000) + base, 5, "", 0, nil},
		{"900 signatures", strings.Repeat(own[:200]+"\r\n", 900) + base, 5, "", 0, nil},
		{"900 signatures of names with many labels", strings.Repeat("DKIM-Signature: d="+strings.Repeat("a.", 120)+"a\r\n", 900) + base, 5, "", 0, nil},
		{"250 signatures of names in Unicode", strings.Repeat("DKIM-Signature: d="+chinese+".a\r\n", 250) + base, 5, "", 0, nil},
		{"250 signatures of the author in Unicode", strings.Repeat("DKIM-Signature: d="+chinese+".example.org\r\n", 250) + base, 5, "", 0, nil},
		{"900 signatures of the author in bad Punycode", strings.Repeat("DKIM-Signature: d="+strings.Repeat("xn--99999999999999999999999999999999999999999999999.", 4)+"example.org\r\n", 900) + base, 5, "", 0, nil},
		{"five signatures of names in Unicode", strings.Repeat("DKIM-Signature: d="+chinese+".a\r\n", 5) + base, 5, "", 0, nil},
		{"900 signatures of shorter names in Unicode", strings.Repeat("DKIM-Signature: d="+chinese[:180]+".a\r\n", 900) + base, 5, "", 0, nil},
		{"an author in Unicode", letter("a@" + chinese + ".example"), 0, "", 0, nil},
		{"an author of 60 characters in Unicode", letter("a@" + chinese[:180] + ".example"), 0, "", 0, nil},
		{"100,000 header fields", strings.Repeat("X: y\r\n", 100_000) + own + base, 5, "", 0, nil},
		{"1,000 fields and 100 names", five(signing(own, strings.Repeat("x:", 90)+"x"), strings.Repeat("X: y\r\n", 980)), 5, "", 0, nil},
		{"60,000 tags", edit(own, " d=", strings.Repeat("a=;", 60_000)+" d=") + base, 1, "", 0, nil},
		{"b= thousands of times", five(edit(own, " d=", " z="+strings.Repeat("b ", 7_000)+"; d="), ""), 5, "", 0, nil},
		{"words in h=", five(signing(soft, strings.Repeat("b ", 7_000)), ""), 5, "", 0, nil},
		{"folds, simple", five(signing(own, "X"), field("\r\n x")), 5, "", 0, nil},
		{"a folded b=, simple", five(regexp.MustCompile(`\bb=[^;]*\r\n`).ReplaceAllString(own, "b="+strings.Repeat("Q\r\n ", 680)+"QUI=\r\n"), ""), 5, "", 0, nil},
		{"folds, relaxed", five(signing(soft, "X"), field("\r\n x")), 5, "", 0, nil},
		{"folds of nothing, relaxed", five(signing(soft, "X"), field("\r\n ")), 5, "", 0, nil},
		{"words, relaxed", five(signing(soft, "X"), field("x ")), 5, "", 0, nil},
		{"results of an earlier milter", strings.Repeat("Authentication-Results: mx.earlier.example; "+strings.Repeat("dkim=pass (x) ", 12)+"\r\n", 900) + five(own, ""), 5, "", 0, []func(*Config){trust}},
		{"a signed field of 240 KB", five(signing(own, "X"), field("x")) + strings.Repeat(strings.Repeat("\r\n", 30<<10)+"x", 20), 5, "", 0, nil},
		{"the same, relaxed", five(signing(soft, "X"), field("x")) + strings.Repeat(strings.Repeat("\r\n", 30<<10)+"x", 20), 5, "", 0, nil},
		{"both forms", own + own + soft + soft + soft + base + strings.Repeat(strings.Repeat("\r\n", 30<<10)+"x", 20), 5, "", 0, nil},
		{"comments in From", five(own, "From: "+strings.Repeat("(", 7<<10)+strings.Repeat(")", 7<<10)+"\r\n"), 5, "", 0, nil},
	}
	for _, unit := range []string{" \r\n", "\r\n", "x\r\n", "\n", "x\n", "\r", "x\r", " ", "\t \t", "a b\t c  d ", "x \r\n\r\n", strings.Repeat("\r\n", 30<<10) + "x", "\x00", " \r", "\xff\x01 \t"} {
		for form, sig := range map[string]string{"simple": own, "relaxed": soft} {
			body := strings.Repeat(unit, 1<<20/len(unit))
			list = append(list, hostileMessage{fmt.Sprintf("a body of %.12q, %s", unit, form), five(sig, "") + body + "x", 5, "", 0, nil})
		}
	}
	return list
}

// TestCosts holds what no message may exceed, whatever its shape: twice the CPU time of an
// ordinary one of its size with as many signatures by keys as long and as many fields, and 2.5 MiB
// of memory. Both are played in turn, as often as it takes to see that the one is cheap enough.
func TestCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	plain := func(c *Config) { c.Policy.AuthenticationResults = false }
	for _, h := range hostileMessages(t) {
		t.Run(h.name, func(t *testing.T) {
			z, selector := zone{"TXT rsa._domainkey.example.org": world["TXT rsa._domainkey.example.org"], "TXT example.org": world["TXT example.org"]}, "rsa"
			if h.key != "" {
				z["TXT rsa._domainkey.example.org"] = []string{h.key}
			}
			usualZone := world
			if h.bits > 0 {
				keys["long"] = newRSA(h.bits)
				defer delete(keys, "long")
				selector, usualZone = "long", zone{"TXT long._domainkey.example.org": {keyRecord(keys["long"])}, "TXT example.org": world["TXT example.org"]}
			}
			fields := strings.Count(h.text, "X: y\r\n")
			if fields > maxFields {
				fields = 0 // or the ordinary message would not be evaluated either
			}
			usual := ordinary(t, len(h.text), h.signatures, fields, selector)
			hostile, reference := newCost(), newCost()
			hostile.play(t, z, h.text, true, append(h.changes, plain))
			if hostile.held > maxHeld {
				t.Errorf("%d KiB are held", hostile.held>>10)
			}
			rounds := 0
			for ; rounds < costRounds && (rounds < 2 || hostile.cpu > maxCostRatio*reference.cpu); rounds++ {
				hostile.play(t, z, h.text, false, append(h.changes, plain))
				reference.play(t, usualZone, usual, false, []func(*Config){plain})
			}
			t.Logf("%d octets: %v, %d KiB allocated, %d KiB held; an ordinary message %v, %d KiB: %.2f after %d rounds; problem=%.60s", len(h.text),
				hostile.cpu, hostile.allocated>>10, hostile.held>>10, reference.cpu, reference.allocated>>10, float64(hostile.cpu)/float64(reference.cpu), rounds, hostile.problem)
			if hostile.cpu > maxCostRatio*reference.cpu {
				t.Errorf("%v of CPU time, %v of an ordinary message", hostile.cpu, reference.cpu)
			}
			if limit := 2*reference.allocated + 4<<20; hostile.allocated > limit {
				t.Errorf("%d KiB are allocated, more than %d", hostile.allocated>>10, limit>>10)
			}
		})
	}
}

func newCost() *cost { return &cost{cpu: time.Hour, allocated: 1 << 62} }

// TestFloods holds what a packet may cost that is cheap to cause: no more than a packet of ordinary
// mail, however many there are in a session, and nothing of them is held.
func TestFloods(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const packets = 20_000
	login := stranger
	login.Login = "anna@own.example" // whose recipients are learned
	mail := "<a@example.org>\x00"
	tests := []struct {
		name string
		peer miltertest.Peer
		send func(c *miltertest.Client, n int)
	}{
		{"MAIL and RSET", outbound, func(c *miltertest.Client, _ int) { _, _ = c.Write('M', []byte(mail)), c.Abort() }},
		{"MAIL", outbound, func(c *miltertest.Client, _ int) { _ = c.Write('M', []byte(mail)) }},
		{"RCPT", outbound, func(c *miltertest.Client, n int) { _ = c.Write('R', fmt.Appendf(nil, "<b@d%d.example>\x00", n)) }},
		{"RCPT of our own", login, func(c *miltertest.Client, n int) { _ = c.Write('R', fmt.Appendf(nil, "<b@d%d.example>\x00", n)) }},
		{"EHLO", outbound, func(c *miltertest.Client, _ int) { _ = c.Write('H', []byte("out.example.org\x00")) }},
		{"RSET", outbound, func(c *miltertest.Client, _ int) { _ = c.Abort() }},
		{"macros", outbound, func(c *miltertest.Client, n int) { _ = c.Write('D', fmt.Appendf(nil, "Mi\x00%d\x00", n)) }},
		{"fields of one octet", outbound, func(c *miltertest.Client, _ int) { _ = c.Write('L', []byte("x\x00\x00")) }},
		{"forged fields", outbound, func(c *miltertest.Client, _ int) { _ = c.Write('L', []byte("Peer-Score\x00\x00")) }},
		{"a body octet by octet", outbound, func(c *miltertest.Client, n int) {
			if n == 0 {
				_ = c.Header(outbound, fromExample(t))
			}
			_ = c.Write('B', []byte("x"))
		}},
	}
	const messages = 500
	m := miltertest.Message{From: "a@example.org", To: []string{"info@own.example"}, Data: []byte(ordinary(t, 2<<10, 1, 0, "rsa"))}
	usual := func() *tape {
		return recorded(func(c *miltertest.Client) {
			_, body, _ := strings.Cut(string(m.Data), "\r\n\r\n")
			_ = c.Connect(outbound)
			for range messages {
				_, _, _, _ = c.Envelope(outbound, m), c.Header(outbound, m), c.Body([]byte(body)), c.Write('E', nil)
			}
		})
	}
	ordinaryPackets := usual().count()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flood := func() *tape {
				flood := recorded(func(c *miltertest.Client) {
					_, _ = c.Connect(tt.peer), c.Write('M', []byte(mail))
					for n := range packets {
						tt.send(c, n)
					}
				})
				flood.end = len(flood.packets) - len("\x00\x00\x00\x01Q")
				return flood
			}
			count := flood().count()
			hostile, reference := newCost(), newCost()
			hostile.playTape(t, world, flood(), true, nil)
			if hostile.held > maxHeld {
				t.Errorf("%d KiB are held", hostile.held>>10)
			}
			each := func(c *cost, packets int) float64 { return float64(c.cpu) / float64(packets) }
			for rounds := 0; rounds < costRounds && (rounds < 2 || each(hostile, count) > each(reference, ordinaryPackets)); rounds++ {
				hostile.playTape(t, world, flood(), false, nil)
				reference.playTape(t, world, usual(), false, nil)
			}
			t.Logf("%.0f ns a packet, one of ordinary mail %.0f ns; %d KiB held, %d KiB allocated", each(hostile, count), each(reference, ordinaryPackets), hostile.held>>10, hostile.allocated>>10)
			if each(hostile, count) > each(reference, ordinaryPackets) {
				t.Errorf("%.0f ns of CPU time a packet, %.0f of ordinary mail", each(hostile, count), each(reference, ordinaryPackets))
			}
		})
	}
}

// count is how many packets there are.
func (t *tape) count() (n int) {
	for rest := t.packets; len(rest) > 0; n++ {
		rest = rest[4+binary.BigEndian.Uint32(rest):]
	}
	return n
}
