package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits on what a server may say, before TLS and again inside it.
const (
	maxLine   = 2 << 10  // octets of a line, with its end; RFC 5321, section 4.5.3.1.5 allows 512
	maxLines  = 128      // of one reply
	maxOctets = 64 << 10 // of all replies
)

// errLimit is a peer that says more than we listen to.
var errLimit = errors.New("past a limit")

// reply is one SMTP reply (RFC 5321, section 4.2).
type reply struct {
	code  int
	lines []string // as received, without their ends
}

// temporary reports whether the server asks to come again later.
func (r reply) temporary() bool { return r.code/100 == 4 }

func (r reply) String() string {
	if len(r.lines) == 0 {
		return ""
	}
	return fmt.Sprintf("%.200s", r.lines[len(r.lines)-1])
}

// replyReader reads replies within the limits.
type replyReader struct {
	r    *bufio.Reader
	left int // octets that may still come
}

func newReplyReader(r io.Reader) *replyReader {
	return &replyReader{r: bufio.NewReaderSize(r, maxLine), left: maxOctets}
}

// read reads one reply. Its code is that of the last line: servers that change it on the way
// exist, and MTAs read them so.
func (r *replyReader) read() (reply, error) {
	var got reply
	for len(got.lines) < maxLines {
		line, err := r.line()
		if err != nil {
			return got, err
		}
		got.lines = append(got.lines, line)
		code, more, err := parseReplyLine(line)
		if err != nil {
			return got, err
		}
		if !more {
			got.code = code
			return got, nil
		}
	}
	return got, fmt.Errorf("%w: a reply of more than %d lines", errLimit, maxLines)
}

// line reads one line, which may end in a bare LF.
func (r *replyReader) line() (string, error) {
	line, err := r.r.ReadSlice('\n')
	r.left -= len(line)
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", fmt.Errorf("%w: a line of more than %d octets", errLimit, maxLine)
	case r.left < 0:
		return "", fmt.Errorf("%w: more than %d octets of replies", errLimit, maxOctets)
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// buffered is what has been received and not been asked for.
func (r *replyReader) buffered() int { return r.r.Buffered() }

// errNotSMTP is a line that is no part of an SMTP reply.
var errNotSMTP = errors.New("not an SMTP reply")

// parseReplyLine reads "250-text", "250 text" or "250"; more tells that the reply goes on.
func parseReplyLine(line string) (code int, more bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) {
		return 0, false, fmt.Errorf("%w: %.80q", errNotSMTP, line)
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil
	}
	switch line[3] {
	case ' ':
		return code, false, nil
	case '-':
		return code, true, nil
	}
	return 0, false, fmt.Errorf("%w: %.80q", errNotSMTP, line)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
