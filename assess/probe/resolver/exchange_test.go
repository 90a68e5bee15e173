package resolver

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// raw is a DNS server that sends whatever it is told to.
type raw struct {
	// udp are the datagrams to send for a query.
	udp func(query *dns.Msg) [][]byte
	// tcp is what to send on a connection, with the length before it, before it is closed;
	// nil says nothing and stays open.
	tcp func(query *dns.Msg) []byte
}

// listen serves until the test ends.
func (s raw) listen(t *testing.T) string {
	t.Helper()
	packets := listenUDP(t)
	listener, err := net.Listen("tcp", packets.LocalAddr().String())
	for err != nil { // the port is taken for TCP
		packets = listenUDP(t)
		listener, err = net.Listen("tcp", packets.LocalAddr().String())
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		buf := make([]byte, 65535)
		for {
			n, client, err := packets.ReadFromUDP(buf)
			if err != nil {
				return
			}
			query := new(dns.Msg)
			if query.Unpack(buf[:n]) == nil && s.udp != nil {
				for _, datagram := range s.udp(query) {
					packets.WriteToUDP(datagram, client)
				}
			}
		}
	}()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serveTCP(conn)
		}
	}()
	return packets.LocalAddr().String()
}

// listenUDP is a socket on loopback that is open until the test ends.
func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	packets, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	return packets
}

func (s raw) serveTCP(conn net.Conn) {
	defer conn.Close()
	var size [2]byte
	io.ReadFull(conn, size[:])
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	io.ReadFull(conn, message)
	query := new(dns.Msg)
	if query.Unpack(message) != nil {
		return
	}
	reply := []byte(nil)
	if s.tcp != nil {
		reply = s.tcp(query)
	}
	conn.Write(reply)
	if reply == nil {
		io.Copy(io.Discard, conn)
	}
}

// reply packs a reply to the query with these records as answer, after change.
func reply(query *dns.Msg, change func(*dns.Msg), records ...string) []byte {
	m := new(dns.Msg).SetReply(query)
	m.Compress = true
	for _, record := range records {
		m.Answer = append(m.Answer, rr(record))
	}
	if change != nil {
		change(m)
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

func rr(text string) dns.RR {
	record, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return record
}

func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

func truncate(m *dns.Msg) { m.Truncated = true }

// addresses are n A records of the owner.
func addresses(owner string, n int) []string {
	records := make([]string, n)
	for i := range records {
		records[i] = fmt.Sprintf("%s 60 A 192.0.2.%d", owner, i)
	}
	return records
}

// aliases are n CNAMEs in a row from x.example, and an address at the end.
func aliases(n int) []string {
	records := make([]string, 0, n+1)
	owner := "x.example."
	for i := range n {
		target := fmt.Sprintf("a%d.example.", i)
		records = append(records, owner+" 60 CNAME "+target)
		owner = target
	}
	return append(records, owner+" 60 A 192.0.2.1")
}

// Each row is a server that answers for "x.example A" in its own way.
func TestHostileServers(t *testing.T) {
	const good = "x.example. 60 A 192.0.2.1"
	udp := func(datagrams ...func(*dns.Msg) []byte) func(*dns.Msg) [][]byte {
		return func(q *dns.Msg) (out [][]byte) {
			for _, datagram := range datagrams {
				out = append(out, datagram(q))
			}
			return out
		}
	}
	answer := func(change func(*dns.Msg), records ...string) func(*dns.Msg) []byte {
		return func(q *dns.Msg) []byte { return reply(q, change, records...) }
	}
	overTCP := func(change func(*dns.Msg), records ...string) func(*dns.Msg) []byte {
		return func(q *dns.Msg) []byte { return framed(reply(q, change, records...)) }
	}
	bytesOf := func(b []byte) func(*dns.Msg) []byte { return func(*dns.Msg) []byte { return b } }
	cut := func(n int, change func(*dns.Msg), records ...string) func(*dns.Msg) []byte {
		return func(q *dns.Msg) []byte { b := reply(q, change, records...); return b[:len(b)-n] }
	}
	patched := func(offset int, value uint16, records ...string) func(*dns.Msg) []byte {
		return func(q *dns.Msg) []byte {
			b := reply(q, nil, records...)
			binary.BigEndian.PutUint16(b[offset:], value)
			return b
		}
	}
	wrongID := answer(func(m *dns.Msg) { m.Id++ }, "x.example. 60 A 203.0.113.66")
	otherName := answer(func(m *dns.Msg) { m.Question[0].Name = "y.example." }, "y.example. 60 A 203.0.113.66")
	otherType := answer(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, "x.example. 60 A 203.0.113.66")
	otherClass := answer(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, "x.example. 60 A 203.0.113.66")
	noQuestion := answer(func(m *dns.Msg) { m.Question = nil }, "x.example. 60 A 203.0.113.66")
	twoQuestions := answer(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, "x.example. 60 A 203.0.113.66")
	query := answer(func(m *dns.Msg) { m.Response = false }, "x.example. 60 A 203.0.113.66")
	notify := answer(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, "x.example. 60 A 203.0.113.66")
	strays := make([]func(*dns.Msg) []byte, maxStrays)
	for i := range strays {
		strays[i] = wrongID
	}
	bomb := func(q *dns.Msg) []byte {
		return framed(append(compressionBomb(q, maxRecords-1), make([]byte, 50000)...))
	}
	const one = "found||192.0.2.1"
	tests := []struct {
		name string
		udp  func(*dns.Msg) [][]byte
		tcp  func(*dns.Msg) []byte
		want string
	}{
		{"good", udp(answer(nil, good)), nil, one},
		{"odd case", udp(answer(func(m *dns.Msg) { m.Question[0].Name = "X.eXample." }, "X.EXAMPLE. 60 A 192.0.2.1")), nil, one},
		{"silent", nil, nil, "failed||timeout"},

		{"forged before the reply", udp(wrongID, otherName, otherType, otherClass, noQuestion, twoQuestions, query, notify, bytesOf(nil), bytesOf([]byte("short")), answer(nil, good)), nil, one},
		{"wrong ID only", udp(wrongID), nil, "failed||timeout"},
		{"other question only", udp(otherName), nil, "failed||timeout"},
		{"flood of strays", udp(strays...), nil, "failed||" + errStray.Error()},

		{"fewer records than counted", udp(patched(6, 9, good)), nil, "failed||malformed reply"},
		{"garbage for a record", udp(garbage), nil, "failed||malformed reply"},
		{"cut short", udp(cut(2, nil, good)), nil, "failed||malformed reply"},
		{"compression loop", udp(compressionLoop), nil, "failed||malformed reply"},
		{"address without octets", udp(emptyRdata), nil, "failed||malformed reply"},
		{"count of 65535", udp(patched(6, 65535, good)), nil, "failed||reply with too many records"},

		{"truncated", udp(answer(truncate)), overTCP(nil, good), one},
		{"truncated in a record", udp(cut(2, truncate, good)), overTCP(nil, good), one},
		{"truncated with records", udp(answer(truncate, "x.example. 60 A 203.0.113.66")), overTCP(nil, good), one},
		{"larger than announced", udp(answer(nil, addresses("a-long-name-that-is-not-compressed.example.", 100)...)), overTCP(nil, good), one},
		{"truncated twice", udp(answer(truncate)), overTCP(truncate, good), "failed||reply with too many records"},
		{"other question over TCP", udp(answer(truncate)), func(q *dns.Msg) []byte { return framed(otherName(q)) }, "failed||" + errStray.Error()},
		{"closed over TCP", udp(answer(truncate)), bytesOf([]byte{}), "failed||connection closed"},
		{"closed inside over TCP", udp(answer(truncate)), bytesOf([]byte{255, 255, 0}), "failed||connection closed"},
		{"silent over TCP", udp(answer(truncate)), nil, "failed||timeout"},

		{"100 records", udp(answer(truncate)), overTCP(nil, addresses("x.example.", 100)...), "found|" + strings.ReplaceAll(strings.Join(addresses("", 100), ""), " 60 A ", "|")},
		{"101 records", udp(answer(truncate)), overTCP(nil, addresses("x.example.", 101)...), "failed||reply with too many records"},
		{"200 records", udp(answer(truncate)), overTCP(nil, addresses("x.example.", 200)...), "failed||reply with too many records"},
		{"200 records of another", udp(answer(truncate)), overTCP(nil, append(addresses("y.example.", 200), good)...), one},
		{"compression bomb", udp(answer(truncate)), bomb, "nodata|"},

		{"8 CNAMEs", udp(answer(nil, aliases(8)...)), nil, "found||-> a0.example -> a1.example -> a2.example -> a3.example -> a4.example -> a5.example -> a6.example -> a7.example|192.0.2.1"},
		{"9 CNAMEs", udp(answer(nil, aliases(9)...)), nil, "failed||more than 8 CNAMEs in a row"},
		{"CNAME loop", udp(answer(nil, "x.example. 60 CNAME y.example.", "y.example. 60 CNAME x.example.")), nil, "failed||more than 8 CNAMEs in a row"},
		{"CNAME to itself", udp(answer(nil, "x.example. 60 CNAME x.example.")), nil, "failed||more than 8 CNAMEs in a row"},
		{"CNAME that leads out of the answer", udp(answer(nil, "x.example. 60 CNAME y.example.")), nil, "nodata||-> y.example"},
		{"target before the CNAME", udp(answer(nil, "y.example. 60 A 192.0.2.1", "x.example. 60 CNAME y.example.")), nil, "found||-> y.example|192.0.2.1"},
		{"records of another name", udp(answer(nil, "y.example. 60 A 203.0.113.66")), nil, "nodata|"},
		{"records of another class", udp(answer(nil, "x.example. 60 CH A 203.0.113.66")), nil, "nodata|"},

		{"SERVFAIL", udp(answer(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }, good)), nil, "failed||SERVFAIL"},
		{"FORMERR", udp(answer(func(m *dns.Msg) { m.Rcode = dns.RcodeFormatError })), nil, "failed||FORMERR"},
		{"code without a name", udp(answer(func(m *dns.Msg) { m.Rcode = 12 })), nil, "failed||RCODE12"},
		{"NXDOMAIN with records", udp(answer(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, good)), nil, one},
		{"referral", udp(answer(func(m *dns.Msg) { m.Ns = []dns.RR{rr("example. 60 NS ns.example.")} })), nil, "failed||" + ReasonReferral},
		{"SOA of another zone", udp(answer(func(m *dns.Msg) { m.Ns = []dns.RR{rr("other. 60 SOA ns.other. h.other. 1 2 3 4 5")} })), nil, "nodata|"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newResolver(t, Config{Timeout: time.Second}, raw{udp: tt.udp, tcp: tt.tcp}.listen(t))
			if got := summary(r.Query(ctx, "x.example", A)); strings.TrimSuffix(got, "|") != strings.TrimSuffix(tt.want, "|") {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
		})
	}
}

// compressionLoop is a reply whose answer has a name that points to itself.
func compressionLoop(q *dns.Msg) []byte {
	b := reply(q, nil)
	binary.BigEndian.PutUint16(b[6:], 1)
	return append(b, 0xc0, byte(len(b)), 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
}

// garbage is a reply with octets for an answer that are no record.
func garbage(q *dns.Msg) []byte {
	b := reply(q, nil)
	binary.BigEndian.PutUint16(b[6:], 1)
	return append(b, 0x40, 0xff, 0x80, 0xff, 0xff)
}

// emptyRdata is a reply with an A record that has no address.
func emptyRdata(q *dns.Msg) []byte {
	b := reply(q, nil)
	binary.BigEndian.PutUint16(b[6:], 1)
	return append(b, 0xc0, headerSize, 0, 1, 0, 1, 0, 0, 0, 60, 0, 0)
}

// compressionBomb is a reply with n records, each of which unpacks to names of 244 octets that
// are escaped to four times that, from 14 octets.
func compressionBomb(q *dns.Msg, n int) []byte {
	b := reply(q, func(m *dns.Msg) { m.Extra = nil })
	binary.BigEndian.PutUint16(b[6:], uint16(n))
	name := []byte{0xc0, byte(len(b))}
	for range 4 {
		b = append(append(b, 60), make([]byte, 60)...)
	}
	b = append(b, 0)
	for i := range n {
		if i > 0 {
			b = append(b, name...)
		}
		b = append(b, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2)
		b = append(b, name...)
	}
	return b
}

// A reply from another address than the one asked is dropped by the kernel.
func TestOtherAddress(t *testing.T) {
	forger, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Skip("left out: 127.0.0.2 is no address here")
	}
	defer forger.Close()
	packets := listenUDP(t)
	go func() {
		buf := make([]byte, maxUDP)
		n, client, _ := packets.ReadFromUDP(buf)
		query := new(dns.Msg)
		query.Unpack(buf[:n])
		forger.WriteToUDP(reply(query, nil, "x.example. 60 A 203.0.113.66"), client)
		packets.WriteToUDP(reply(query, nil, "x.example. 60 A 192.0.2.1"), client)
	}()
	r := newResolver(t, Config{}, packets.LocalAddr().String())
	if got := summary(r.Query(ctx, "x.example", A)); got != "found||192.0.2.1" {
		t.Errorf("got %q", got)
	}
}

// What is sent: one question with RD, AD and DO, EDNS with 1232 octets, a new ID and port each time.
func TestQueryAsSent(t *testing.T) {
	ids, ports := map[uint16]bool{}, map[int]bool{}
	packets := listenUDP(t)
	const questions = 50
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxUDP)
		for range questions {
			n, client, _ := packets.ReadFromUDP(buf)
			query := new(dns.Msg)
			query.Unpack(buf[:n])
			opt := query.IsEdns0()
			if !query.RecursionDesired || !query.AuthenticatedData || query.CheckingDisabled || opt == nil || !opt.Do() || opt.UDPSize() != maxUDP {
				t.Errorf("sent %v", query)
			}
			ids[query.Id], ports[client.Port] = true, true
			packets.WriteToUDP(reply(query, nil), client)
		}
	}()
	r := newResolver(t, Config{}, packets.LocalAddr().String())
	for i := range questions {
		r.Query(ctx, fmt.Sprintf("n%d.example", i), A)
	}
	<-done
	if len(ids) < questions-2 || len(ports) < questions/2 {
		t.Errorf("%d questions had %d IDs and %d ports", questions, len(ids), len(ports))
	}
}

func TestConnectionRefused(t *testing.T) {
	packets := listenUDP(t)
	addr := packets.LocalAddr().String()
	packets.Close()
	r := newResolver(t, Config{Timeout: time.Minute}, addr)
	if got := r.Query(ctx, "x.example", A); got.Reason != "connection refused" {
		t.Errorf("got %q", summary(got))
	}
}
