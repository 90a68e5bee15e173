package milter

import (
	"net"
	"net/textproto"
	"strings"

	gomilter "github.com/emersion/go-milter"
)

// session is one connection of the MTA: an SMTP session with its messages. What is known of
// the client outlives a message; what is known of a message ends with it, with RSET, and with
// the next MAIL. go-milter calls from one goroutine; no method replies before the end of a
// message, because "no reply" was negotiated.
//
// Every message is answered with "continue", whatever happened: after any final answer
// go-milter would forget the session.
type session struct {
	server  *Server
	client  client
	message *message // nil between messages
}

var _ gomilter.Milter = (*session)(nil)

// Connect begins a session. An address that go-milter could not read is looked for in the macros.
func (s *session) Connect(host, family string, _ uint16, addr net.IP, m *gomilter.Modifier) (gomilter.Response, error) {
	s.drop()
	s.client = connected(host, family, addr.String(), m.Macros)
	return nil, nil
}

// Helo comes again after STARTTLS, now with the TLS macros, which are gone at the next stage.
func (s *session) Helo(name string, m *gomilter.Modifier) (gomilter.Response, error) {
	s.client.helo = strings.Clone(name)
	s.client.readTLS(m.Macros)
	return nil, nil
}

// MailFrom begins a message. Sendmail sends no abort between the messages of a session.
func (s *session) MailFrom(from string, m *gomilter.Modifier) (gomilter.Response, error) {
	s.drop()
	s.client.readMail(m.Macros)
	s.message = s.server.newMessage(s.client, from)
	s.message.wake()
	s.message.readMacros(m.Macros)
	return nil, nil
}

// RcptTo adds a recipient.
func (s *session) RcptTo(to string, _ *gomilter.Modifier) (gomilter.Response, error) {
	if s.message != nil {
		s.message.addRecipient(to)
	}
	return nil, nil
}

// rest and wake tell when the connection waits for the MTA, and no longer does.
func (s *session) rest() {
	if s.message != nil {
		s.message.rest()
	}
}

func (s *session) wake() {
	if s.message != nil {
		s.message.wake()
	}
}

// header is one field, in the order of the message; conn calls it. The value is as it was
// sent, with the blank behind the colon, and folds as LF.
func (s *session) header(name, value string) {
	if s.message != nil {
		s.message.header.add(name, value)
	}
}

// body is a chunk of the body, good until body returns; conn calls it.
func (s *session) body(chunk []byte) {
	if s.message != nil {
		s.message.body(chunk)
	}
}

// Header is never called: conn takes header fields out.
func (s *session) Header(string, string, *gomilter.Modifier) (gomilter.Response, error) {
	return nil, nil
}

// BodyChunk is never called either.
func (s *session) BodyChunk([]byte, *gomilter.Modifier) (gomilter.Response, error) {
	return nil, nil
}

// Headers is the end of the header: the lookups begin, while the body arrives.
func (s *session) Headers(_ textproto.MIMEHeader, m *gomilter.Modifier) (gomilter.Response, error) {
	if s.message != nil {
		s.message.readMacros(m.Macros)
		s.message.begin()
	}
	return nil, nil
}

// Body is the end of the message.
func (s *session) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	if s.message != nil {
		s.message.readMacros(m.Macros)
		for _, change := range s.message.end() {
			if err := change.apply(m); err != nil {
				break // the connection is gone, which its next read says
			}
		}
		s.message.close()
		s.message = nil
	}
	return gomilter.RespContinue, nil
}

// Abort gives up the message at hand; the session goes on.
func (s *session) Abort(*gomilter.Modifier) error {
	s.drop()
	return nil
}

// drop forgets a message that never reached its end (milter/attribution.md, row "aborted").
func (s *session) drop() {
	if s.message != nil {
		s.server.counters.aborted.Add(1)
		s.message.close()
		s.message = nil
	}
}

// close ends the session.
func (s *session) close() { s.drop() }
