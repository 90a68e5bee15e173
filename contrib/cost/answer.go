package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"peerscore/assess/probe/resolver"
)

const (
	knobAnswers = iota
	knobAuthority
	knobAdditional
	knobType
	knobTCP
)

var (
	recordCounts  = []uint16{0, 1, 2, 100, 500, 5000, 65535}
	questionTypes = []uint16{dns.TypeTXT, dns.TypeA, dns.TypeMX, dns.TypePTR, dns.TypeTLSA, dns.TypeDNSKEY}
)

// answerSurface is what a name server sends: any octets behind a good header and question.
func answerSurface() *surface {
	record := func(t uint16, rdata string) string {
		return "\xc0\x0c" + string([]byte{byte(t >> 8), byte(t), 0, 1, 0, 0, 0, 0, byte(len(rdata) >> 8), byte(len(rdata))}) + rdata
	}
	return &surface{
		name: "DNS answer", kin: func(in input) string { return fmt.Sprint(in.knobs[knobTCP]) },
		parts: []part{{"records", []string{
			"\x00", "\xff", "\xc0\x0c", "\xc0\x00", "\xc0\x1c", "\x01a", "\x3f" + strings.Repeat("a", 63), "\x03\x00\x0a\x0d",
			record(dns.TypeTXT, "\x01a"), record(dns.TypeTXT, strings.Repeat("\x00", 200)), record(dns.TypeTXT, "\xff"+strings.Repeat("\xe9", 255)),
			record(dns.TypeA, "\xc0\x00\x02\x01"), record(dns.TypeMX, "\x00\x0a\xc0\x0c"), record(dns.TypeMX, "\x00\x0a\x00"), record(dns.TypeCNAME, "\xc0\x0c"), record(dns.TypeCNAME, "\x01a\xc0\x0c"),
			record(dns.TypePTR, "\x01a\xc0\x0c"), record(dns.TypeTLSA, "\x03\x01\x01"+strings.Repeat("a", 32)), record(dns.TypeTLSA, "\x03\x01\x00"+strings.Repeat("a", 4000)),
			record(dns.TypeRRSIG, strings.Repeat("a", 18)+"\xc0\x0c"+strings.Repeat("a", 64)), record(dns.TypeDNSKEY, "\x01\x01\x03\x08"+strings.Repeat("a", 512)),
			record(dns.TypeSOA, "\xc0\x0c\xc0\x0c"+strings.Repeat("\x00", 20)), record(dns.TypeNSEC, "\xc0\x0c\x00\x20"+strings.Repeat("\xff", 32)),
			"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x0f\xa0\x00\x0f\x0f\x9c\x00\x06" + strings.Repeat("e", 3994),
		}, 60000}},
		knobs:  []knob{knobAnswers: {"answers", len(recordCounts)}, knobAuthority: {"authority", len(recordCounts)}, knobAdditional: {"additional", len(recordCounts)}, knobType: {"type", len(questionTypes)}, knobTCP: {"TCP", 2}},
		limits: limits{ratio: 8, held: 4 << 20, queries: 8},
		start:  newAnswerBench,
		ordinary: func(in input, octets int) input {
			rdata := strings.Repeat("\x3f"+strings.Repeat("a", 63), max(1, min(octets, 50000)/64))
			out := input{texts: []string{record(dns.TypeTXT, rdata)}, knobs: make([]int, len(in.knobs)), ordinary: true}
			out.knobs[knobAnswers], out.knobs[knobTCP] = 1, in.knobs[knobTCP]
			return out
		},
	}
}

// answerBench is the resolver, and a name server that says what the input says.
type answerBench struct {
	resolver *resolver.Resolver
	udp      net.PacketConn
	tcp      net.Listener
	in       input
	asked    int
	names    int
}

func newAnswerBench() (bench, error) {
	b := &answerBench{}
	var err error
	if b.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	addr := b.udp.LocalAddr().String()
	if b.tcp, err = net.Listen("tcp", addr); err != nil {
		return nil, err
	}
	if b.resolver, err = resolver.New(resolver.Config{Servers: []string{netip.MustParseAddrPort(addr).String()}}); err != nil {
		return nil, err
	}
	go b.serveUDP()
	go b.serveTCP()
	return b, nil
}

func (*answerBench) meter() meter { return repeated(300 * time.Microsecond) }

func (b *answerBench) Close() error {
	b.udp.Close()
	return b.tcp.Close()
}

// run asks one question. One at a time is asked: the servers read what is set here.
func (b *answerBench) run(in input, m meter) (use, int, error) {
	b.in, b.asked = in, 0
	asked := 0
	u, err := m(func() error {
		b.names++
		asked++
		b.resolver.Query(context.Background(), fmt.Sprintf("n%d.victim.example", b.names), resolver.Type(questionTypes[in.knobs[knobType]]))
		return nil
	})
	u.queries = b.asked / asked
	return u, len(b.reply(make([]byte, 12), false)), err
}

// reply answers a question: its own header and question, and the input.
func (b *answerBench) reply(query []byte, udp bool) []byte {
	head := append([]byte(nil), query...)
	if end := questionEnd(head); end > 0 {
		head = head[:end]
	}
	head[2] |= 0x80 // a response
	for i, knob := range []int{knobAnswers, knobAuthority, knobAdditional} {
		binary.BigEndian.PutUint16(head[6+2*i:], recordCounts[b.in.knobs[knob]])
	}
	if udp && b.in.knobs[knobTCP] == 1 {
		head[2] |= 0x02 // truncated
		return head
	}
	reply := append(head, b.in.texts[0]...)
	if udp {
		return reply[:min(len(reply), 1232)]
	}
	return reply
}

// questionEnd is where the only question of a message ends; 0 where there is none.
func questionEnd(message []byte) int {
	for i := 12; i < len(message); i += 1 + int(message[i]) {
		if message[i] == 0 {
			return min(i+5, len(message))
		}
	}
	return 0
}

func (b *answerBench) serveUDP() {
	buf := make([]byte, 4096)
	for {
		n, from, err := b.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		b.asked++
		_, _ = b.udp.WriteTo(b.reply(buf[:n], true), from) // the client tells
	}
}

func (b *answerBench) serveTCP() {
	for {
		conn, err := b.tcp.Accept()
		if err != nil {
			return
		}
		b.asked++
		b.answerTCP(conn)
	}
}

func (b *answerBench) answerTCP(conn net.Conn) {
	defer conn.Close()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, query); err != nil || len(query) < 12 {
		return
	}
	reply := b.reply(query, false)
	_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
}
