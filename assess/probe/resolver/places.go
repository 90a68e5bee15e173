package resolver

import (
	"context"
	"sync"
)

const (
	maxInFlight       = 512 // questions under way upstream, each with a socket
	maxOfOrganisation = 32  // of them, of names of one organisation
)

// places bounds the questions under way. A silent name server holds the place of each question
// until that times out, so the names of one organisation get a sixteenth of all places: whoever
// sends many messages with such names lets nobody else wait.
type places struct {
	all  chan struct{}
	each int // of an organisation

	mu sync.Mutex
	of map[string]*share // by organisation, of those with questions
}

type share struct {
	taken chan struct{}
	here  int // questions that wait or are under way
}

// newPlaces are so many, maxInFlight at most and when most is 0.
func newPlaces(most int) places {
	if most == 0 || most > maxInFlight {
		most = maxInFlight
	}
	return places{all: make(chan struct{}, most), each: max(1, most*maxOfOrganisation/maxInFlight), of: make(map[string]*share)}
}

// take waits for a place; leave gives it back. Without one by the end of the context ok is false.
func (p *places) take(ctx context.Context, organisation string) (leave func(), ok bool) {
	own := p.enter(organisation)
	select {
	case own.taken <- struct{}{}:
	case <-ctx.Done():
		p.leave(organisation, own)
		return nil, false
	}
	select {
	case p.all <- struct{}{}:
	case <-ctx.Done():
		<-own.taken
		p.leave(organisation, own)
		return nil, false
	}
	return func() {
		<-p.all
		<-own.taken
		p.leave(organisation, own)
	}, true
}

func (p *places) enter(organisation string) *share {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.of[organisation]
	if own == nil {
		own = &share{taken: make(chan struct{}, p.each)}
		p.of[organisation] = own
	}
	own.here++
	return own
}

func (p *places) leave(organisation string, own *share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if own.here--; own.here == 0 {
		delete(p.of, organisation)
	}
}
