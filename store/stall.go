package store

import (
	"sync"
	"time"
)

// patience is how long a session waits for the writer at most.
const patience = busyTimeout

// stall is where sessions learn that the writer is at one transaction for longer than
// patience: locked out by another process, or on a disk that does not answer. From then on
// until it ends nobody waits for it; observations queue up behind it in memory.
type stall struct {
	mu   sync.Mutex
	long chan struct{} // closed once the present transaction takes too long
}

// reached is closed while the present transaction takes too long.
func (s *stall) reached() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.present()
}

// present is the channel of the present transaction; mu is held.
func (s *stall) present() chan struct{} {
	if s.long == nil {
		s.long = make(chan struct{})
	}
	return s.long
}

// watch looks after one transaction, until the function that it returns is called.
func (s *stall) watch() (end func()) {
	over := false // guarded by mu
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !over {
			close(s.present())
		}
	})
	return func() {
		if timer.Stop() {
			return // nobody was told
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		over, s.long = true, nil
	}
}
