// Package lane gives out permits: the right to have one task in flight on a lane.
// A lane is the way to one service.
//
// What always holds: a worker has at most as many permits out as it has slots,
// and at most a lane's limit of them on that lane. A permit is held until the
// handler has really returned, even one that ignores its context.
//
// Limits here are fixed and per worker. All is local: taking and returning a
// permit is a mutex, never a call to Redis.
package lane

import (
	"sort"
	"sync"
)

// Set is the lanes of one worker. It is safe for concurrent use.
type Set struct {
	mu    sync.Mutex
	slots int
	used  int
	lanes map[string]*lane
	freed chan struct{}
}

type lane struct {
	limit    int // 0: the worker's slots alone
	inFlight int
}

// NewSet returns the lanes of a worker that runs up to slots tasks at once.
func NewSet(slots int) *Set {
	return &Set{slots: slots, lanes: make(map[string]*lane), freed: make(chan struct{}, 1)}
}

// Slots is how many tasks the worker runs at once.
func (s *Set) Slots() int { return s.slots }

// Limit sets how many permits of a lane may be out at once; 0 removes the limit.
func (s *Set) Limit(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.get(name).limit = n
	s.signal()
}

// Take takes up to want permits of a lane and returns how many there were. It
// does not wait: Freed tells when to try again.
func (s *Set) Take(name string, want int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.get(name)
	n := min(want, s.slots-s.used)
	if l.limit > 0 {
		n = min(n, l.limit-l.inFlight)
	}
	n = max(n, 0)
	l.inFlight += n
	s.used += n
	return n
}

// Return gives n permits of a lane back.
func (s *Set) Return(name string, n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.get(name)
	if n < 0 || n > l.inFlight {
		panic("lane: more permits returned than taken")
	}
	l.inFlight -= n
	s.used -= n
	s.signal()
}

// Freed receives after permits have come back.
func (s *Set) Freed() <-chan struct{} { return s.freed }

// InFlight is how many permits are out.
func (s *Set) InFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Stat is a lane at one moment.
type Stat struct {
	Name     string
	Limit    int // 0: the worker's slots alone
	InFlight int
}

// Stats is all lanes at one moment, by name.
func (s *Set) Stats() []Stat {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Stat, 0, len(s.lanes))
	for name, l := range s.lanes {
		all = append(all, Stat{Name: name, Limit: l.limit, InFlight: l.inFlight})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

func (s *Set) get(name string) *lane {
	l := s.lanes[name]
	if l == nil {
		l = &lane{}
		s.lanes[name] = l
	}
	return l
}

func (s *Set) signal() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}
