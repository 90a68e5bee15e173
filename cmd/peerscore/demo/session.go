package demo

import (
	"bytes"
	"crypto"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"peerscore/milter/miltertest"
)

// Session is one SMTP session to be played into the milter.
type Session struct {
	peer    miltertest.Peer
	Message miltertest.Message
}

// honestSessions are all messages of every provider, some of them forwarded, and one that a
// user of ours writes to each provider that sends nothing.
func (w *World) honestSessions() ([]Session, error) {
	var sessions []Session
	for n, p := range w.Providers {
		if p.Messages == 0 {
			sessions = append(sessions, outgoing(p.Domain))
		}
		for i := range p.Messages {
			s, err := w.Honest(n, i)
			if err != nil {
				return nil, err
			}
			sessions = append(sessions, s)
		}
	}
	for i := range 12 { // a forwarder passes on signed mail
		s, err := w.Honest(0, 1000+i)
		if err != nil {
			return nil, err
		}
		s.peer = newSession("198.51.100.1", "forwarder.example", "", "", i).peer
		s.Message.From = fmt.Sprintf("srs%d@forwarder.example", i)
		sessions = append(sessions, s)
	}
	return sessions, nil
}

// Spoofs claim in turn to be from the victims, with a forged score.
func Spoofs(n int, victims ...string) []Session {
	var sessions []Session
	for i := range n {
		victim := victims[i%len(victims)]
		s := newSession("203.0.113.66", "evil.example", "ceo@"+victim, "The Boss", i)
		forged := "Peer-Score: " + ownMX + "; domain=" + victim + "; confidentiality=5; identity=5; integrity=5\r\n"
		s.Message.Data = append([]byte(forged), s.Message.Data...)
		sessions = append(sessions, s)
	}
	return sessions
}

// Honest is message i of provider n, from one of its hosts and signed as the provider does.
func (w *World) Honest(n, i int) (Session, error) {
	p := w.Providers[n]
	host := i % p.Senders
	s := newSession(sourceOf(n, host), p.Domain, "info@"+p.Domain, "Somebody", i)
	s.peer.Name = fmt.Sprintf("out%d.%s", host+1, p.Domain)
	s.peer.HELO = s.peer.Name
	if host < p.Plain {
		s.peer.TLSVersion, s.peer.Cipher = "", ""
	}
	if p.Key == "" {
		return s, nil
	}
	var signed bytes.Buffer
	err := dkim.Sign(&signed, bytes.NewReader(s.Message.Data), &dkim.SignOptions{
		Domain: p.Domain, Selector: signingSelector, Signer: w.signer(p.Key), Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	s.Message.Data = signed.Bytes()
	return s, err
}

// outgoing is a message that one of our own users submits to somebody at the domain.
func outgoing(domain string) Session {
	s := newSession("192.168.1.10", "", "you@"+ownDomain, "You", 0)
	s.peer.HELO, s.peer.Login = "laptop", "you"
	s.Message.To = []string{"info@" + domain}
	return s
}

// newSession is message i of an author whose address is the reverse-path too.
func newSession(client, helo, address, author string, i int) Session {
	return Session{
		peer: miltertest.Peer{
			Addr: netip.MustParseAddr(client), HELO: "mail." + helo, TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384",
		},
		Message: miltertest.Message{
			QueueID: fmt.Sprintf("4DEMO%05d", i), From: address, To: []string{"you@" + ownDomain},
			Data: fmt.Appendf(nil, "From: %s <%s>\r\nTo: you@%s\r\nSubject: message %d\r\nDate: %s\r\nMessage-ID: <%d.%s>\r\n\r\nHello, this is message %d.\r\n",
				author, address, ownDomain, i+1, time.Now().Format(time.RFC1123Z), i+1, address, i+1),
		},
	}
}

// Play is one SMTP session with one message, over the milter's socket.
func (s Session) Play(network, address string) (miltertest.Answer, error) {
	client, err := miltertest.Dial(network, address)
	if err != nil {
		return miltertest.Answer{}, err
	}
	defer client.Close()
	if err := client.Connect(s.peer); err != nil {
		return miltertest.Answer{}, err
	}
	answer, err := client.Send(s.peer, s.Message)
	if err != nil {
		return miltertest.Answer{}, err
	}
	return answer, client.Quit()
}

// playAll plays sessions as eight MTA processes would, and tells how long that took.
func playAll(network, address string, sessions []Session) (time.Duration, error) {
	began := time.Now()
	work := make(chan Session)
	var failed error
	var once sync.Once
	var players sync.WaitGroup
	for range 8 {
		players.Go(func() {
			for s := range work {
				if _, err := s.Play(network, address); err != nil {
					once.Do(func() { failed = err })
				}
			}
		})
	}
	for _, s := range sessions {
		work <- s
	}
	close(work)
	players.Wait()
	return time.Since(began), failed
}
