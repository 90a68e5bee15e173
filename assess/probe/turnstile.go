package probe

import (
	"context"
	"sync"
)

// turnstile lets one goroutine at a time through for each key, in the order of arrival.
// Whoever comes second finds in some cache what the first one left there.
type turnstile[K comparable] struct {
	mu    sync.Mutex
	turns map[K]*turn
}

type turn struct {
	free chan struct{} // holds one token while nobody is through
	here int           // goroutines that wait or are through
}

// enter waits for the key; leave must be called once. The error is the context's.
func (t *turnstile[K]) enter(ctx context.Context, key K) (leave func(), err error) {
	t.mu.Lock()
	if t.turns == nil {
		t.turns = make(map[K]*turn)
	}
	own := t.turns[key]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		t.turns[key] = own
	}
	own.here++
	t.mu.Unlock()

	select {
	case <-own.free:
		return func() {
			own.free <- struct{}{}
			t.forget(key, own)
		}, nil
	case <-ctx.Done():
		t.forget(key, own)
		return nil, ctx.Err()
	}
}

func (t *turnstile[K]) forget(key K, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.here--; own.here == 0 {
		delete(t.turns, key)
	}
}
