package lane

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/lane/governor"
)

const (
	// acquireWait is the longest that Acquire waits: whoever asks holds a slot meanwhile.
	acquireWait = time.Second

	// comeBack is how long after Acquire in vain it makes sense to try again: this, and
	// up to as much thrice, so that those who were refused at once do not come back at once.
	comeBack = time.Second

	// longestCall is after how long a call is counted no more. Whoever forgot Done, in a
	// handler that goes on, must not hold the lane of all others until it ends.
	longestCall = 5 * time.Minute
)

// BusyError says that a lane had no permit in time.
type BusyError struct {
	Lane  string
	Why   string // in words
	After time.Duration
}

func (e *BusyError) Error() string { return fmt.Sprintf("lane %s has no permit: %s", e.Lane, e.Why) }

// Call is a permit that a handler took beside its task's own. It needs no slot: the
// handler has one.
type Call struct {
	set  *Set
	lane string
	once sync.Once
	late *time.Timer // under the Set's lock
}

// Done gives the permit back, and tells how the service answered. It may be called more
// than once, and does nothing after longestCall: the permit is back then.
func (c *Call) Done(r governor.Result) {
	c.once.Do(func() { c.set.doneCall(c, r) })
}

// waiter waits for one permit.
type waiter struct {
	got  bool // under the Set's lock
	wake chan struct{}
}

// Acquire takes a permit of a lane for a call that a handler makes, and so the lane is
// governed. It waits in the order of asking, before the tasks in the lane, and at most
// acquireWait; not at all if the lane is known to be shut for longer. Errors: *BusyError,
// or why ctx ended.
func (s *Set) Acquire(ctx context.Context, name string) (*Call, error) {
	w, err := s.queue(name)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(acquireWait)
	defer timer.Stop()
	select {
	case <-w.wake:
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.get(name)
	if w.got {
		c := &Call{set: s, lane: name}
		c.late = time.AfterFunc(longestCall, func() { c.Done(governor.Result{Outcome: governor.Cancelled}) })
		return c, nil
	}
	l.waiters = slices.DeleteFunc(l.waiters, func(other *waiter) bool { return other == w })
	if err != nil {
		return nil, err
	}
	return nil, s.busy(name, l, 0)
}

// queue asks for a permit, behind those who asked before.
func (s *Set) queue(name string) (*waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.get(name)
	l.called = true
	if l.kind != governed {
		s.setKind(name, l, governed)
	}
	if l.local == nil {
		s.govern(l)
	}
	if wait, shut := l.local.Shut(s.now()); shut && wait > acquireWait {
		return nil, s.busy(name, l, wait)
	}
	w := &waiter{wake: make(chan struct{})}
	l.waiters = append(l.waiters, w)
	s.serve(l)
	return w, nil
}

// busy is the error of Acquire for a lane that will have no permit before wait is over.
func (s *Set) busy(name string, l *lane, wait time.Duration) error {
	why := "it is governed no more"
	if l.local != nil {
		why = l.local.Waits(s.now())
	}
	if why == "" { // it has one now, for those who asked before
		why = "others wait for it too"
	}
	return &BusyError{Lane: name, Why: why, After: max(wait, comeBack) + rand.N(3*comeBack)}
}

// serve gives what permits there are to those who wait in Acquire. The caller has s.mu.
func (s *Set) serve(l *lane) {
	for len(l.waiters) > 0 && s.takeOf(l, 1) == 1 {
		w := l.waiters[0]
		l.waiters = slices.Delete(l.waiters, 0, 1)
		l.out(1)
		w.got = true
		close(w.wake)
	}
}

func (s *Set) doneCall(c *Call, r governor.Result) {
	name := c.lane
	s.watch.Result(name, r.Outcome)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.late.Stop()
	l := s.get(name)
	if l.inFlight == 0 {
		panic("lane: more permits returned than taken")
	}
	l.peak = max(l.peak, l.inFlight)
	l.inFlight--
	if l.local != nil && l.local.Done(s.now(), r) {
		s.wake()
	}
	s.loosen(name, l)
}

// Called are the lanes that handlers call, and did so just now.
func (s *Set) Called() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.lanes {
		if l.called && l.local != nil {
			names = append(names, name)
		}
	}
	return names
}
