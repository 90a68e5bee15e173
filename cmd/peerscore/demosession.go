package main

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

// demoSession is one SMTP session to be played into the milter.
type demoSession struct {
	peer    miltertest.Peer
	message miltertest.Message
}

// honestSessions are all messages of every provider, some of them forwarded, and one that a
// user of ours writes to each provider that sends nothing.
func (w *demoWorld) honestSessions() ([]demoSession, error) {
	var sessions []demoSession
	for n, p := range w.providers {
		if p.messages == 0 {
			sessions = append(sessions, outgoing(p.domain))
		}
		for i := range p.messages {
			s, err := w.honest(n, i)
			if err != nil {
				return nil, err
			}
			sessions = append(sessions, s)
		}
	}
	for i := range 12 { // a forwarder passes on signed mail
		s, err := w.honest(0, 1000+i)
		if err != nil {
			return nil, err
		}
		s.peer = newDemoSession("198.51.100.1", "forwarder.example", "", "", i).peer
		s.message.From = fmt.Sprintf("srs%d@forwarder.example", i)
		sessions = append(sessions, s)
	}
	return sessions, nil
}

// spoofs claim in turn to be from the victims, with a forged score.
func spoofs(n int, victims ...string) []demoSession {
	var sessions []demoSession
	for i := range n {
		victim := victims[i%len(victims)]
		s := newDemoSession("203.0.113.66", "evil.example", "ceo@"+victim, "The Boss", i)
		forged := "Peer-Score: " + demoMX + "; domain=" + victim + "; confidentiality=5; identity=5; integrity=5\r\n"
		s.message.Data = append([]byte(forged), s.message.Data...)
		sessions = append(sessions, s)
	}
	return sessions
}

// honest is message i of provider n, from one of its hosts and signed as the provider does.
func (w *demoWorld) honest(n, i int) (demoSession, error) {
	p := w.providers[n]
	host := i % p.senders
	s := newDemoSession(demoSource(n, host), p.domain, "info@"+p.domain, "Somebody", i)
	s.peer.Name = fmt.Sprintf("out%d.%s", host+1, p.domain)
	s.peer.HELO = s.peer.Name
	if host < p.plain {
		s.peer.TLSVersion, s.peer.Cipher = "", ""
	}
	if p.key == "" {
		return s, nil
	}
	var signed bytes.Buffer
	err := dkim.Sign(&signed, bytes.NewReader(s.message.Data), &dkim.SignOptions{
		Domain: p.domain, Selector: demoSelector, Signer: w.signer(p.key), Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	s.message.Data = signed.Bytes()
	return s, err
}

// outgoing is a message that one of our own users submits to somebody at the domain.
func outgoing(domain string) demoSession {
	s := newDemoSession("192.168.1.10", "", "you@"+demoOwn, "You", 0)
	s.peer.HELO, s.peer.Login = "laptop", "you"
	s.message.To = []string{"info@" + domain}
	return s
}

// newDemoSession is message i of an author whose address is the reverse-path too.
func newDemoSession(client, helo, address, author string, i int) demoSession {
	return demoSession{
		peer: miltertest.Peer{
			Addr: netip.MustParseAddr(client), HELO: "mail." + helo, TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384",
		},
		message: miltertest.Message{
			QueueID: fmt.Sprintf("4DEMO%05d", i), From: address, To: []string{"you@" + demoOwn},
			Data: fmt.Appendf(nil, "From: %s <%s>\r\nTo: you@%s\r\nSubject: message %d\r\nDate: %s\r\nMessage-ID: <%d.%s>\r\n\r\nHello, this is message %d.\r\n",
				author, address, demoOwn, i+1, time.Now().Format(time.RFC1123Z), i+1, address, i+1),
		},
	}
}

// play is one SMTP session with one message, over the milter's socket.
func (s demoSession) play(network, address string) (miltertest.Answer, error) {
	client, err := miltertest.Dial(network, address)
	if err != nil {
		return miltertest.Answer{}, err
	}
	defer client.Close()
	if err := client.Connect(s.peer); err != nil {
		return miltertest.Answer{}, err
	}
	answer, err := client.Send(s.peer, s.message)
	if err != nil {
		return miltertest.Answer{}, err
	}
	return answer, client.Quit()
}

// playAll plays sessions as eight MTA processes would, and tells how long that took.
func playAll(network, address string, sessions []demoSession) (time.Duration, error) {
	began := time.Now()
	work := make(chan demoSession)
	var failed error
	var once sync.Once
	var players sync.WaitGroup
	for range 8 {
		players.Go(func() {
			for s := range work {
				if _, err := s.play(network, address); err != nil {
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
