package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/miekg/dns"
)

const (
	maxUDP     = 1232 // octets, what is announced and what is taken (DNS flag day 2020)
	maxStrays  = 64   // datagrams that are no reply to the question, after which a try is given up
	maxRecords = 512  // question and records of a message: a full set, its aliases, their signatures and denials, with room
)

// The header of a message (RFC 1035, section 4.1.1).
const (
	headerSize = 12
	flags      = 2 // offset
	counts     = 4 // offset of the four section counts
	response   = 0x80
	truncated  = 0x02 // both in the first octet of the flags
)

var (
	errStray     = errors.New("not a reply to the question")
	errMalformed = errors.New(ReasonMalformed)
	errTooLarge  = errors.New(ReasonTooLarge)
	errBudget    = errors.New(ReasonBudget)
)

// exchange puts a question to a server, over UDP and then, when the reply does not fit, over
// TCP. Each question has its own connected socket: the kernel picks the port at random and drops
// what comes from elsewhere (RFC 5452, section 9). ctx must have a deadline. The query over UDP has been
// taken from the allowance, that over TCP is here.
func exchange(ctx context.Context, server netip.AddrPort, q question, checkingDisabled bool, a *allowance) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(q.name), uint16(q.t)) // with a random ID
	query.AuthenticatedData = true                                   // RFC 6840, section 5.7
	query.CheckingDisabled = checkingDisabled
	query.SetEdns0(maxUDP, true)
	packed, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack the question: %w", err)
	}
	reply, err := exchangeUDP(ctx, server, query, packed)
	if err == nil && reply.Truncated {
		if !a.spend() {
			return nil, errBudget
		}
		reply, err = exchangeTCP(ctx, server, query, packed)
	}
	return reply, err
}

func dial(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return conn, conn.SetDeadline(deadline)
}

// exchangeUDP waits past datagrams that are no reply to the question.
func exchangeUDP(ctx context.Context, server netip.AddrPort, query *dns.Msg, packed []byte) (*dns.Msg, error) {
	conn, err := dial(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(packed); err != nil {
		return nil, err
	}
	buf := make([]byte, maxUDP+1)
	for range maxStrays {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n > maxUDP {
			buf[flags] |= truncated // what came is more than was asked for, and not all of it
		}
		if reply, err := decode(buf[:n], query); err != errStray {
			return reply, err
		}
	}
	return nil, errStray
}

// exchangeTCP reads one message with the length before it (RFC 1035, section 4.2.2).
func exchangeTCP(ctx context.Context, server netip.AddrPort, query *dns.Msg, packed []byte) (*dns.Msg, error) {
	conn, err := dial(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(packed)), uint16(len(packed)))
	if _, err := conn.Write(append(framed, packed...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return nil, err
	}
	reply, err := decode(message, query)
	if err == nil && reply.Truncated {
		return nil, errTooLarge
	}
	return reply, err
}

// decode unpacks a message if it is a reply to the query: same ID, one question, the same one.
// Anything else is a stray, which may come from a forger. The number of records is checked
// before they are read; of a truncated reply only the header counts.
func decode(message []byte, query *dns.Msg) (*dns.Msg, error) {
	if len(message) < headerSize || binary.BigEndian.Uint16(message) != query.Id || message[flags]&response == 0 {
		return nil, errStray
	}
	records := 0
	for count := counts; count < headerSize; count += 2 {
		records += int(binary.BigEndian.Uint16(message[count:]))
	}
	if records > maxRecords {
		return nil, errTooLarge
	}
	reply := new(dns.Msg)
	err := reply.Unpack(message)
	if reply.Opcode != dns.OpcodeQuery || len(reply.Question) != 1 || !sameQuestion(reply.Question[0], query.Question[0]) {
		return nil, errStray
	}
	unpacked := len(reply.Question) + len(reply.Answer) + len(reply.Ns) + len(reply.Extra)
	if (err != nil || unpacked != records) && !reply.Truncated {
		return nil, errMalformed
	}
	return reply, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// errorReason is why there was no reply.
func errorReason(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "connection closed"
	}
	return err.Error()
}
