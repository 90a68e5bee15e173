package miltertest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand"
	"net"
	"slices"
	"strings"
	"time"
)

// Hostile is whoever reached the socket of the milter and is no MTA: it plays sessions that
// begin as valid ones, with several messages, aborts and STARTTLS, and changes them. Half of the
// changes keep the form of every packet, so that they reach what lies behind the checks. It is
// not safe for concurrent use.
type Hostile struct {
	Rand     *rand.Rand
	Peers    []Peer    // who may speak
	Messages []Message // what may be said
	Texts    []string  // what may stand in place of any string
}

// maxHostile is from how many packets on a session is not made longer.
const maxHostile = 2000

// packet is one packet of a session, and what its length field says beside the truth.
type packet struct {
	code byte
	data []byte
	lie  int
}

// Play plays one session on conn, closes it, and tells how many packets were sent. Whatever
// the milter says is read and dropped. Nothing is sent behind the first packet that is
// malformed enough to make the milter hang up.
func (h *Hostile) Play(conn net.Conn) (packets int) {
	defer conn.Close()
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn) // ends when either side closes
		close(drained)
	}()
	list := h.mutate(h.session())
	w := bufio.NewWriterSize(conn, 1<<uint(h.Rand.Intn(17))) // cuts the stream anywhere
	for _, p := range list {
		if h.write(w, p) != nil {
			return packets
		}
		packets++
	}
	if h.Rand.Intn(8) == 0 {
		_, _ = w.Write([]byte{0, 0, 0, 9, 'B', 'h', 'a', 'l', 'f'}) // which is half a packet
	}
	if w.Flush() != nil || h.Rand.Intn(8) == 0 {
		return packets
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		select {
		case <-drained: // it has read all
		case <-time.After(time.Minute):
		}
	}
	return packets
}

func (h *Hostile) write(w *bufio.Writer, p packet) error {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(p.data)+1+p.lie))
	if _, err := w.Write(append(head, p.code)); err != nil {
		return err
	}
	_, err := w.Write(p.data)
	return err
}

// session is a valid one: an offer, a client, perhaps in TLS, and up to four messages.
func (h *Hostile) session() []packet {
	var out bytes.Buffer
	c := &Client{w: bufio.NewWriter(&out), Steps: AllSteps &^ 0x37f} // all steps, no replies
	offer := []byte{0, 0, 0, Version}
	offer = binary.BigEndian.AppendUint32(offer, AllActions)
	_ = c.Write('O', binary.BigEndian.AppendUint32(offer, AllSteps)) // a buffer takes everything
	p := h.Peers[h.Rand.Intn(len(h.Peers))]
	_ = c.Connect(p)
	for range 1 + h.Rand.Intn(4) {
		m := h.Messages[h.Rand.Intn(len(h.Messages))]
		m.Parse()
		_ = c.Envelope(p, m)
		_ = c.Header(p, m)
		_ = c.Body(m.parsed.body)
		_ = c.macros('E', c.endMacros(p, m))
		_ = c.Write('E', nil)
	}
	_ = c.Write('Q', nil)
	_ = c.Flush()

	var list []packet
	for stream := out.Bytes(); len(stream) > 0; {
		n := binary.BigEndian.Uint32(stream)
		list = append(list, packet{code: stream[4], data: stream[5 : 4+n]})
		stream = stream[4+n:]
	}
	return list
}

// mutate makes a few changes; only a third of the sessions get one that breaks the form of a packet.
func (h *Hostile) mutate(list []packet) []packet {
	for range 1 + h.Rand.Intn(6) {
		list = h.reorder(list)
	}
	for range h.Rand.Intn(6) {
		h.retell(list)
	}
	if h.Rand.Intn(3) == 0 {
		list = h.damage(list)
	}
	return list
}

// reorder changes which packets come, and when.
func (h *Hostile) reorder(list []packet) []packet {
	if len(list) < 2 || len(list) > maxHostile {
		return list
	}
	i, j := 1+h.Rand.Intn(len(list)-1), h.Rand.Intn(len(list))
	switch h.Rand.Intn(10) {
	case 0:
		return slices.Delete(list, i, i+1)
	case 1:
		return slices.Insert(list, i, list[j])
	case 2:
		list[i], list[j] = list[j], list[i]
	case 3:
		return slices.Insert(list, i, packet{code: 'A'})
	case 4:
		return slices.Insert(list, i, h.macros())
	case 5:
		client := append(cstrings(nil, h.text()), "46LU"[h.Rand.Intn(4)], 0x80, 0)
		return slices.Insert(list, i, packet{code: "EN"[h.Rand.Intn(2)]}, packet{code: 'C', data: cstrings(client, h.text())})
	case 6: // a field, up to more often than a header may have fields
		field := packet{code: 'L', data: cstrings(nil, h.text(), h.text())}
		most := []int{5, 5, 5, 5, 5, 5, 5, 11}[h.Rand.Intn(8)]
		return slices.Insert(list, i, slices.Repeat([]packet{field}, 1<<uint(h.Rand.Intn(most)))...)
	case 7:
		return slices.Insert(list, i, packet{code: 'B', data: h.body()})
	case 8: // the session begins anew, or ends in the middle
		return append(list[:i:i], list[h.Rand.Intn(i):]...)
	case 9:
		return list[:i]
	}
	return list
}

// macros is a macro packet for any stage.
func (h *Hostile) macros() packet {
	names := []string{"i", "j", "_", "{client_addr}", "{client_name}", "{client_resolve}", "{tls_version}", "{cipher}", "{verify}", "{auth_type}", "{auth_authen}", "{daemon_name}"}
	data := []byte{"CHMREND?"[h.Rand.Intn(8)]}
	for range h.Rand.Intn(20) {
		data = cstrings(data, names[h.Rand.Intn(len(names))], h.text())
	}
	if h.Rand.Intn(8) == 0 {
		data = data[:1+h.Rand.Intn(len(data))]
	}
	return packet{code: 'D', data: data}
}

// text is a string without NUL.
func (h *Hostile) text() string {
	switch h.Rand.Intn(4) {
	case 0:
		noise := make([]byte, 1+h.Rand.Intn(40))
		for i := range noise {
			noise[i] = byte(1 + h.Rand.Intn(255))
		}
		return string(noise)
	case 1:
		return strings.Repeat(h.Texts[h.Rand.Intn(len(h.Texts))], 1<<uint(h.Rand.Intn(7)))
	}
	return h.Texts[h.Rand.Intn(len(h.Texts))]
}

// body is a chunk that bodies are seldom made of.
func (h *Hostile) body() []byte {
	unit := []string{"\r\n", "\n", "\r", " \t\r\n", "x", "\x00", ".\r\n", " " + h.text()}[h.Rand.Intn(8)]
	return bytes.Repeat([]byte(unit), 1+(1<<uint(h.Rand.Intn(17)))/len(unit))
}

// retell changes what a packet says and keeps its form: one of its strings becomes another, or
// a few of its letters do.
func (h *Hostile) retell(list []packet) {
	if len(list) == 0 {
		return
	}
	p := &list[h.Rand.Intn(len(list))]
	if len(p.data) < 2 || p.code == 'O' || p.code == 'C' {
		return
	}
	parts := strings.Split(string(p.data[:len(p.data)-1]), "\x00")
	i := h.Rand.Intn(len(parts))
	if h.Rand.Intn(2) == 0 || parts[i] == "" {
		parts[i] = h.text()
	} else {
		letters := []byte(parts[i])
		for range 1 + h.Rand.Intn(3) {
			letters[h.Rand.Intn(len(letters))] = byte(1 + h.Rand.Intn(255))
		}
		parts[i] = string(letters)
	}
	p.data = append([]byte(strings.Join(parts, "\x00")), 0)
}

// damage breaks the form of one packet: its length, its code, or any of its bytes.
func (h *Hostile) damage(list []packet) []packet {
	if len(list) == 0 {
		return list
	}
	p := &list[h.Rand.Intn(len(list))]
	switch h.Rand.Intn(8) {
	case 0:
		p.lie = -len(p.data) - 1 // a packet without a code
	case 1:
		p.lie = h.Rand.Intn(64) - 32
	case 2:
		p.lie = []int{1<<20 - len(p.data), 1 << 20, 1 << 30, -len(p.data) - 2}[h.Rand.Intn(4)]
	case 3:
		p.code = byte(h.Rand.Intn(256))
	case 4:
		p.data = p.data[:h.Rand.Intn(len(p.data)+1)]
	case 5:
		p.data = append(slices.Clone(p.data), h.text()...)
	case 6:
		p.data = bytes.Repeat([]byte{byte(h.Rand.Intn(256))}, h.Rand.Intn(1<<20-1))
	case 7:
		p.data = slices.Clone(p.data)
		for range min(len(p.data), 1+h.Rand.Intn(8)) {
			p.data[h.Rand.Intn(len(p.data))] = byte(h.Rand.Intn(256))
		}
	}
	return list
}
