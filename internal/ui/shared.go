package ui

import (
	"context"
	"sync"
	"time"
)

const (
	// tick is how often a page is told how things are.
	tick = time.Second
	// freshFor is for how long what was read is good: a bit less than a tick, so that who
	// ticks sees something new each time.
	freshFor = 900 * time.Millisecond
	// leisure bounds what looking costs Redis: after a read that took so long there is
	// none for so many times as long, up to stalest.
	leisure = 40
	stalest = 15 * time.Second
	// readIn is how long a read may take.
	readIn = 10 * time.Second
)

// shared is something that many look at and one reads: at most once a second however many
// look, less often where it takes long, and never while nobody does.
type shared[T any] struct {
	read func(ctx context.Context) (T, error)

	mu    sync.Mutex // while it is read, too: once is enough
	value T
	err   error
	asOf  time.Time
	next  time.Time // when it is read again
}

// get returns it, and when it was so.
func (s *shared[T]) get(ctx context.Context) (T, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if began := time.Now(); began.After(s.next) {
		// Whoever asked first may go: others wait for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readIn)
		defer cancel()
		s.value, s.err = s.read(ctx)
		now := time.Now()
		s.asOf = now
		s.next = now.Add(min(stalest, max(freshFor-now.Sub(began), leisure*now.Sub(began))))
	}
	return s.value, s.asOf, s.err
}

// stale makes the next look a new one: something was changed.
func (s *shared[T]) stale() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = time.Time{}
}
