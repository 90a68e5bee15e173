package main

import (
	"context"
	"errors"
	"math/rand"
	"runtime"
	"sync"
	"testing"
	"time"

	"peerscore/milter"
	"peerscore/milter/miltertest"
)

const (
	soakSessions = 200 // at once
	soakRounds   = 16  // messages of each, two of three of which reach their end
)

// TestSoak plays 200 sessions at once, with messages that are given up anywhere, connections
// that break off, and others in their place, while the policy is set again and again. What is
// stored in the end is what the messages that were answered leave when they come one by one.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const self = "/proc/self/"
	dns, letters := officeDNS(t), append(proven(t), lying(t)...)
	o := openOffice(t, dns)
	o.deliver(letters...) // opens whatever stays open
	goroutines, files := runtime.NumGoroutine(), descriptors(t, self)

	seed := time.Now().UnixNano()
	ctx, cancel := context.WithCancel(t.Context())
	var changing, sessions sync.WaitGroup
	changing.Go(func() {
		for ctx.Err() == nil {
			o.server.SetPolicy(officePolicy())
			o.server.Stats()
			o.scores.Standing(ctx, "victim.example")
		}
	})
	played := make([]soaker, soakSessions)
	for i := range played {
		played[i] = soaker{office: o, letters: letters, r: rand.New(rand.NewSource(seed + int64(i)))}
		sessions.Go(func() {
			if err := played[i].play(); err != nil {
				t.Errorf("seed %d, session %d: %v", seed, i, err)
			}
		})
	}
	began := time.Now()
	sessions.Wait()
	cancel()
	changing.Wait()

	answered, dropped := letters, 0
	for _, s := range played {
		answered, dropped = append(answered, s.answered...), dropped+s.dropped
	}
	t.Logf("%d messages, %d given up, %v", len(answered), dropped, time.Since(began).Round(time.Millisecond))
	for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > goroutines || descriptors(t, self) > files || o.server.Stats().Open > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before; %d descriptors, %d before; %+v", runtime.NumGoroutine(), goroutines, descriptors(t, self), files, o.server.Stats())
		}
	}
	stats, sum := o.server.Stats(), 0
	for row, n := range stats.Messages {
		if row != "aborted" {
			sum += int(n)
		}
	}
	if sum != len(answered) || int(stats.Aborted) != dropped || stats.Malformed+stats.Panics+stats.Refused > 0 { // a slow disk may have let an answer overtake its observation
		t.Errorf("%+v", stats)
	}
	one := openOffice(t, dns)
	one.deliver(answered...)
	transactions := []string{"observed", "judged"} // which count them
	if diff := differ(o.rows(transactions...), one.rows(transactions...)); diff != "" {
		t.Error(diff)
	}
}

// soaker is one of many MTA processes; what became of its messages is read when it is done.
type soaker struct {
	*office
	letters  []letter
	r        *rand.Rand
	answered []letter
	dropped  int
}

// play plays its messages, on as many connections as it takes.
func (s *soaker) play() error {
	var c *miltertest.Client
	var peer miltertest.Peer
	for range soakRounds {
		l := s.letters[s.r.Intn(len(s.letters))]
		if c == nil || peer.Addr != l.peer.Addr || peer.TLSVersion != l.peer.TLSVersion {
			if c != nil {
				_ = c.Quit()
			}
			for s.server.Stats().Open > milter.MaxSessions-soakSessions { // those left behind that it has not seen end
				time.Sleep(time.Millisecond)
			}
			var err error
			if c, err = miltertest.Dial("unix", s.socket); err != nil {
				return err
			}
			if peer = l.peer; c.Connect(peer) != nil {
				return errors.New("the connection broke")
			}
		}
		if s.r.Intn(3) > 0 {
			answer, err := c.Send(peer, l.message)
			if err != nil || answer.Code != 'c' {
				return errors.Join(err, errors.New("the answer is "+string(rune(answer.Code))))
			}
			s.answered = append(s.answered, l)
			continue
		}
		if err := s.giveUp(c, l); err != nil {
			return err
		}
		if s.r.Intn(2) == 0 {
			if err := c.Abort(); err != nil {
				return err
			}
			continue
		}
		if err := errors.Join(c.Flush(), c.Close()); err != nil { // without a word
			return err
		}
		c = nil
	}
	if c != nil {
		return c.Quit()
	}
	return nil
}

// giveUp plays a message as far as chance will have it.
func (s *soaker) giveUp(c *miltertest.Client, l letter) error {
	s.dropped++
	steps := []func() error{
		func() error { return c.Envelope(l.peer, l.message) },
		func() error { return c.Header(l.peer, l.message) },
		func() error { return c.Body([]byte("half a ")) },
	}
	for _, step := range steps[:1+s.r.Intn(len(steps))] {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
