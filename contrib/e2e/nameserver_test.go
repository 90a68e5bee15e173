package e2e

import (
	"bytes"
	"net"
	"sync/atomic"
	"time"
)

// nameServer stands between peerscore and Unbound and is as reliable as it is told to be.
type nameServer struct {
	address string
	how     atomic.Value // reliability
	conn    atomic.Pointer[net.UDPConn]
}

// reliability answers one query through reply, which can be used any number of times.
type reliability func(query []byte, reply func([]byte))

// startNameServer listens on address:53. It never answers for a name with the label "tarpit".
func (l *lab) startNameServer(address string) *nameServer {
	l.t.Helper()
	n := &nameServer{address: address}
	n.be(honest)
	n.open(l)
	l.t.Cleanup(n.close)
	return n
}

func (n *nameServer) be(how reliability) { n.how.Store(how) }

func (n *nameServer) open(l *lab) {
	l.t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(n.address), Port: 53})
	if err != nil {
		l.t.Fatal(err)
	}
	n.conn.Store(conn)
	go n.serve(conn)
}

func (n *nameServer) close() { n.conn.Load().Close() }

func (n *nameServer) serve(conn *net.UDPConn) {
	for {
		query := make([]byte, 1500)
		size, peer, err := conn.ReadFromUDPAddrPort(query)
		if err != nil {
			return
		}
		if query = query[:size]; bytes.Contains(query, []byte("\x06tarpit")) {
			continue
		}
		go n.how.Load().(reliability)(query, func(reply []byte) { conn.WriteToUDPAddrPort(reply, peer) })
	}
}

var honest reliability = func(query []byte, reply func([]byte)) {
	if answer := ask(query); answer != nil {
		reply(answer)
	}
}

var silent reliability = func([]byte, func([]byte)) {}

// slow is within the second that one try of a question may take.
var slow reliability = func(query []byte, reply func([]byte)) {
	time.Sleep(400 * time.Millisecond) // of real time: the daemon is another process
	honest(query, reply)
}

// lying gives the right records under another id, and to another question.
var lying reliability = func(query []byte, reply func([]byte)) {
	answer := ask(query)
	if answer == nil {
		return
	}
	otherID := bytes.Clone(answer)
	otherID[1] ^= 1
	reply(otherID)
	answer[13] ^= 1 // the first letter of the name in the question
	reply(answer)
}

// ask puts a query to Unbound as it is.
func ask(query []byte) []byte {
	conn, err := net.Dial("udp", net.JoinHostPort(unboundAddress, "53"))
	if err != nil {
		return nil
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, 4096)
	if _, err := conn.Write(query); err != nil {
		return nil
	}
	n, err := conn.Read(answer)
	if err != nil || n < 14 {
		return nil
	}
	return answer[:n]
}
