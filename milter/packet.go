package milter

import (
	"bytes"
	"encoding/binary"
	"fmt"

	gomilter "github.com/emersion/go-milter"
)

// What is asked of the MTA. It replies to nothing but the end of a message, so that the mail
// never waits for us before; fields arrive with the blank after their colon, which DKIM needs;
// headers are all that may ever be changed.
const (
	actions = gomilter.OptAddHeader | gomilter.OptChangeHeader | gomilter.OptSetSymList

	steps = gomilter.OptNoUnknown | gomilter.OptNoData |
		gomilter.OptNoConnReply | gomilter.OptNoHeloReply | gomilter.OptNoMailReply | gomilter.OptNoRcptReply |
		gomilter.OptNoHeaderReply | gomilter.OptNoEOHReply | gomilter.OptNoBodyReply |
		gomilter.OptHeaderLeadingSpace
)

// maxCommand is the length of what comes with HELO, MAIL and RCPT. SMTP knows 512 bytes
// (RFC 5321, section 4.5.3.1), Postfix takes 2,048.
const maxCommand = 8 << 10

// maxMacros is how many strings one macro packet may hold: names and values. MTAs send a dozen.
const maxMacros = 512

// checkPacket reports whether a packet has the form that the protocol gives it. Packets of other
// codes are malformed too, since the steps above leave no others.
func checkPacket(code gomilter.Code, data []byte) error {
	ok := false
	switch code {
	case gomilter.CodeOptNeg:
		return checkOffer(data)
	case gomilter.CodeMacro:
		ok = len(data) >= 1 && bytes.Count(data, []byte{0}) <= maxMacros
	case gomilter.CodeConn:
		ok = validConnect(data)
	case gomilter.CodeHelo, gomilter.CodeMail, gomilter.CodeRcpt:
		ok = bytes.HasSuffix(data, []byte{0}) && len(data) <= maxCommand
	case gomilter.CodeHeader:
		ok = len(data) > 2 && data[0] != 0 && data[len(data)-1] == 0 && bytes.Count(data, []byte{0}) == 2
	case gomilter.CodeBody:
		ok = true
	case gomilter.CodeEOH, gomilter.CodeEOB, gomilter.CodeAbort, gomilter.CodeQuit:
		ok = len(data) == 0
	}
	if !ok {
		return fmt.Errorf("%w: %q with %d bytes", errMalformed, byte(code), len(data))
	}
	return nil
}

// checkOffer reads what the MTA offers. go-milter asks for what it likes; an MTA that does not
// offer it would fail later and in a worse way.
func checkOffer(data []byte) error {
	if len(data) != 12 {
		return fmt.Errorf("%w: an offer of %d bytes", errMalformed, len(data))
	}
	offered := gomilter.OptAction(binary.BigEndian.Uint32(data[4:]))
	speaks := gomilter.OptProtocol(binary.BigEndian.Uint32(data[8:]))
	if offered&actions != actions || speaks&steps != steps {
		return fmt.Errorf("%w: the MTA offers actions %#x and steps %#x, needed are %#x and %#x (Postfix: milter_protocol = 6)",
			errMalformed, offered, speaks, actions, steps)
	}
	return nil
}

// validConnect checks: host name NUL family, and for IPv4 and IPv6 port, address NUL.
func validConnect(data []byte) bool {
	_, rest, found := bytes.Cut(data, []byte{0})
	if !found || len(rest) == 0 {
		return false
	}
	switch family := gomilter.ProtoFamily(rest[0]); family {
	case gomilter.FamilyInet, gomilter.FamilyInet6:
		return len(rest) > 3 && rest[len(rest)-1] == 0
	case gomilter.FamilyUnknown, gomilter.FamilyUnix:
		return true
	}
	return false
}
