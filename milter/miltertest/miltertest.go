// Package miltertest is the MTA side of the milter protocol (version 6), for whoever plays
// sessions into a milter without an MTA: tests, the demo, the benchmark and the fuzzer.
//
// It speaks as Postfix does. It offers all actions and steps, sends each macro with the stage
// that the milter asked for it, writes ahead where the milter negotiated that it sends no
// reply, and keeps or drops the blank after the colon of a field as negotiated. What the
// milter changes comes back as an Answer, which can be applied to the message.
//
// Left out: the commands that peerscore never needs to see (unknown commands, DATA), and
// recipients, bodies and senders changed by the milter, which are reported and not applied.
package miltertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// What an MTA offers, as Postfix 3.7 and Sendmail 8.17 do.
const (
	Version        = 6
	AllActions     = 1<<9 - 1
	AllSteps       = 1<<21 - 1
	stepNoConnect  = 1 << 0
	stepNoHELO     = 1 << 1
	stepNoMail     = 1 << 2
	stepNoRcpt     = 1 << 3
	stepNoBody     = 1 << 4
	stepNoHeader   = 1 << 5
	stepNoEOH      = 1 << 6
	noHeaderReply  = 1 << 7
	noConnectReply = 1 << 12
	noHELOReply    = 1 << 13
	noMailReply    = 1 << 14
	noRcptReply    = 1 << 15
	noEOHReply     = 1 << 18
	noBodyReply    = 1 << 19
	leadingSpace   = 1 << 20
)

const (
	maxReply   = 1 << 20  // bytes of one packet from the milter
	chunkSize  = 65535    // bytes of body in one packet (MILTER_CHUNK_SIZE)
	bufferSize = 32 << 10 // of the connection, each way
)

// stages of the macro list, in the numbering of SMFIM_*.
var stages = map[byte]uint32{'C': 0, 'H': 1, 'M': 2, 'R': 3, 'E': 5, 'N': 6}

// Client is one connection of an MTA to a milter. It is not safe for concurrent use.
type Client struct {
	// Steps and Actions are what the milter asked for.
	Steps, Actions uint32
	// Wanted are the macros that the milter asked for by stage (SMFIM_*); a stage that is
	// missing gets every macro there is.
	Wanted map[uint32][]string
	// Timeout for a reply; 30 s when zero.
	Timeout time.Duration

	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

// Dial connects to a milter and negotiates.
func Dial(network, address string) (*Client, error) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	c := NewClient(conn)
	if err := c.Negotiate(AllActions, AllSteps); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// NewClient is a client on a connection of the caller, before negotiation.
func NewClient(conn net.Conn) *Client {
	return &Client{conn: conn, r: bufio.NewReaderSize(conn, bufferSize), w: bufio.NewWriterSize(conn, bufferSize)}
}

// Negotiate offers actions (SMFIF_*) and steps (SMFIP_*) and reads what the milter chose.
func (c *Client) Negotiate(actions, steps uint32) error {
	var offer []byte
	for _, v := range []uint32{Version, actions, steps} {
		offer = binary.BigEndian.AppendUint32(offer, v)
	}
	if err := c.Write('O', offer); err != nil {
		return err
	}
	code, data, err := c.Read()
	if err != nil {
		return fmt.Errorf("negotiation: %w", err)
	}
	if code != 'O' || len(data) < 12 {
		return fmt.Errorf("negotiation: the milter answered %q", code)
	}
	c.Actions, c.Steps = binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	c.Wanted = map[uint32][]string{}
	for list := data[12:]; len(list) > 4; {
		stage := binary.BigEndian.Uint32(list)
		names, rest, ok := strings.Cut(string(list[4:]), "\x00")
		if !ok {
			return errors.New("negotiation: the macro list does not end")
		}
		c.Wanted[stage] = strings.Fields(names)
		list = []byte(rest)
	}
	return nil
}

// Write buffers one packet; Read and Flush send what is buffered.
func (c *Client) Write(code byte, data []byte) error {
	head := binary.BigEndian.AppendUint32(c.w.AvailableBuffer(), uint32(len(data)+1))
	if _, err := c.w.Write(append(head, code)); err != nil {
		return err
	}
	_, err := c.w.Write(data)
	return err
}

// Flush sends what is buffered.
func (c *Client) Flush() error { return c.w.Flush() }

// Read flushes and reads one packet of the milter.
func (c *Client) Read() (code byte, data []byte, err error) {
	if err := c.w.Flush(); err != nil {
		return 0, nil, err
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(timeout)) // what was sent before the connection was closed can be read
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxReply {
		return 0, nil, fmt.Errorf("a packet of %d bytes from the milter", n)
	}
	packet := make([]byte, n)
	if _, err := io.ReadFull(c.r, packet); err != nil {
		return 0, nil, err
	}
	return packet[0], packet[1:], nil
}

// Close ends the connection without a word.
func (c *Client) Close() error { return c.conn.Close() }

// Quit ends the connection as an MTA does after its session.
func (c *Client) Quit() error {
	err := c.Write('Q', nil)
	if err == nil {
		err = c.w.Flush()
	}
	return errors.Join(err, c.conn.Close())
}

// macros sends the macros that belong to the stage of a command: those asked for, or all.
func (c *Client) macros(code byte, values map[string]string) error {
	wanted, listed := c.Wanted[stages[code]]
	packet := []byte{code}
	for _, name := range sortedKeys(values) {
		if !listed || slices.Contains(wanted, name) {
			packet = cstrings(packet, name, values[name])
		}
	}
	return c.Write('D', packet)
}

// step sends one command and, where the milter replies to it, waits for "continue".
func (c *Client) step(code byte, suppress, noReply uint32, data []byte) error {
	if c.Steps&suppress != 0 {
		return nil
	}
	if err := c.Write(code, data); err != nil || c.Steps&noReply != 0 {
		return err
	}
	reply, _, err := c.Read()
	if err != nil {
		return err
	}
	if reply != 'c' {
		return fmt.Errorf("the milter answered %q to %q", reply, code)
	}
	return nil
}

// cstrings appends strings, each with its NUL.
func cstrings(b []byte, values ...string) []byte {
	for _, v := range values {
		b = append(append(b, v...), 0)
	}
	return b
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
