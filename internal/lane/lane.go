// Package lane gives out permits: the right to have one task in flight on a lane.
// A lane is the way to one service.
//
// What always holds: a worker has at most as many permits out as it has slots, and at
// most a lane's limit of them on that lane. A permit is held until the handler has
// really returned, even one that ignores its context. What a handler takes beside, for
// calls of other services, needs no slot, since it has one: see Acquire.
//
// A lane may have a limit in each worker. One that is governed has a limit, and perhaps a
// rate, for all workers together, which follow what its service can take: see package
// governor. Any other has the worker's slots alone. Whether a lane is governed a worker
// knows from the operator's configuration, from the tasks it took, or from others: Redis
// has the set of governed lanes. Until it knows, it tries with few.
//
// A lane may weigh more than others, for workers with too few slots for all: see SetWeight.
// Its tasks may be spread over several queues, see SetShards: permits, governor, weight and
// settings are the lane's, and what its queues hold is added up.
//
// Lanes that are idle and empty are removed, with what weir keeps of them: see Sweep.
//
// All is local: taking and returning a permit is a mutex, never a call to Redis.
package lane

import (
	"sort"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/lane/governor"
)

// few is how many permits of a lane of unknown kind a worker gives out: those a governed
// one begins with.
const few = 4

// Set is the lanes of one worker. It is safe for concurrent use.
type Set struct {
	worker string
	now    func() time.Time
	watch  Watcher

	mu     sync.Mutex
	slots  int
	used   int
	asking int // lanes with work that wait for their first grant
	lanes  map[string]*lane
	listed map[string]bool // the governed ones, as last told; most have nothing to do here
	loose  []string        // lanes that refused a permit, and may have one now
	freed  chan struct{}
	stir   chan struct{} // the governor is to look at its lanes
}

// Watcher hears what happens in a worker's lanes. It must not call the Set.
type Watcher interface {
	// Result is told how each request was answered.
	Result(lane string, o governor.Outcome)
	// Sync is told of each report to a lane's governor: its answer, or err.
	Sync(lane string, g governor.Grant, took time.Duration, err error)
}

type deaf struct{}

func (deaf) Result(string, governor.Outcome)                   {}
func (deaf) Sync(string, governor.Grant, time.Duration, error) {}

type lane struct {
	kind     kind
	limit    int // in this worker; 0: none
	inFlight int
	peak     int             // requests in flight at once, at most, of those answered since the last report
	wanted   int             // by the last report
	backlog  int             // tasks that wait, as last told
	local    *governor.Local // of a governed one that is busy
	asks     bool            // it has had no grant yet
	syncing  bool            // a report is under way
	refused  bool            // it had no permit for somebody
	ready    time.Time       // when time alone may give it permits
	idle     time.Time       // since when
	called   bool            // handlers take permits of it: it is governed, whatever others say
	took     time.Duration   // how long its tasks take, of late; 0: none has ended
	waiters  []*waiter       // for Acquire, the longest waiting first
}

type kind int

const (
	unknown kind = iota
	plain
	governed
)

// NewSet returns the lanes of a worker that runs up to slots tasks at once. worker is
// unique per start of a process.
func NewSet(worker string, slots int) *Set {
	return &Set{
		worker: worker, slots: slots, now: time.Now, watch: deaf{}, lanes: make(map[string]*lane),
		freed: make(chan struct{}, 1), stir: make(chan struct{}, 1),
	}
}

// Watch makes w hear what happens. Call it before anything else.
func (s *Set) Watch(w Watcher) { s.watch = w }

// Slots is how many tasks the worker runs at once.
func (s *Set) Slots() int { return s.slots }

// Limit sets how many permits of a lane may be out at once in this worker.
func (s *Set) Limit(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.get(name)
	l.limit = n
	if l.kind == unknown {
		l.kind = plain
	}
	s.loosen(name, l)
}

// Learn says whether a lane is governed, going by a task in it. What is known already
// stays, but for a lane that is found to be governed.
func (s *Set) Learn(name string, isGoverned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.get(name)
	switch {
	case isGoverned && l.kind != governed:
		s.setKind(name, l, governed)
	case !isGoverned && l.kind == unknown:
		s.setKind(name, l, plain)
	}
}

// Governed says which lanes are governed, all of them.
func (s *Set) Governed(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed = make(map[string]bool, len(names))
	for _, name := range names {
		s.listed[name] = true
	}
	for name, l := range s.lanes {
		switch {
		case s.listed[name] && l.kind != governed:
			s.setKind(name, l, governed)
		case l.kind == governed && !s.listed[name] && !l.called:
			s.setKind(name, l, unknown) // its next tasks tell
		}
	}
}

func (s *Set) setKind(name string, l *lane, k kind) {
	l.kind = k
	switch {
	case k != governed:
		s.giveUp(l)
	case l.inFlight > 0:
		s.govern(l)
		l.local.Hold(l.inFlight)
	}
	s.loosen(name, l)
}

// Knows says whether it is known of what kind a lane is, and if so whether it is governed.
func (s *Set) Knows(name string) (isGoverned, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[name]
	if l == nil {
		return s.listed[name], s.listed[name]
	}
	return l.kind == governed, l.kind != unknown
}

// Backlog tells how many tasks wait in a lane, as far as is known.
func (s *Set) Backlog(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[name]; l != nil {
		l.backlog = n
	}
}

// Take takes up to want permits of a lane and returns how many there were. It does not
// wait: Freed and Loose tell when to try again.
func (s *Set) Take(name string, want int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.get(name)
	l.backlog = max(l.backlog, 1) // else nobody would ask
	n := min(want, s.slots-s.used)
	if n <= 0 {
		return 0
	}
	s.serve(l)
	n = s.takeOf(l, n)
	l.refused = n == 0
	l.out(n)
	s.used += n
	return n
}

func (l *lane) out(n int) {
	l.inFlight += n
	if n > 0 {
		l.idle = time.Time{}
	}
}

// takeOf takes what the lane itself allows.
func (s *Set) takeOf(l *lane, n int) int {
	if l.limit > 0 {
		n = min(n, l.limit-l.inFlight)
	}
	if l.kind == unknown {
		n = min(n, few-l.inFlight)
	}
	if n <= 0 {
		return 0
	}
	if l.kind != governed {
		return n
	}
	if l.local == nil {
		s.govern(l)
	}
	return l.local.Take(s.now(), n)
}

// govern begins to ask for permits.
func (s *Set) govern(l *lane) {
	l.local, l.asks, l.peak = governor.NewLocal(s.worker, s.slots), true, 0
	s.asking++
	s.wake()
}

// answered ends the wait for the first grant, and giveUp all of it.
func (s *Set) answered(l *lane) {
	if l.asks {
		l.asks = false
		s.asking--
	}
}

func (s *Set) giveUp(l *lane) {
	s.answered(l)
	l.local = nil
}

// Room is for how many more lanes it makes sense to ask for permits, or to take some: the
// slots that are free, less those for lanes whose governor has not answered yet.
func (s *Set) Room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots - s.used - s.asking
}

// Return gives n permits of a lane back with which nothing was asked of its service.
func (s *Set) Return(name string, n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.back(name, n)
	if l.local != nil {
		l.local.Return(n)
	}
	s.loosen(name, l)
}

// Done gives a permit back, and tells how the service answered.
func (s *Set) Done(name string, r governor.Result) {
	s.watch.Result(name, r.Outcome)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.get(name)
	l.peak = max(l.peak, l.inFlight)
	s.back(name, 1)
	l.learnTook(r)
	if l.local != nil && l.local.Done(s.now(), r) {
		s.wake()
	}
	s.loosen(name, l)
}

// learnTook follows how long tasks take.
func (l *lane) learnTook(r governor.Result) {
	switch {
	case r.Outcome == governor.Cancelled || r.Latency <= 0:
	case l.took == 0:
		l.took = r.Latency
	default:
		l.took += (r.Latency - l.took) / 16
	}
}

// Took is how long tasks of a lane take in this worker, of late, or 0.
func (s *Set) Took(name string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[name]; l != nil {
		return l.took
	}
	return 0
}

func (s *Set) back(name string, n int) *lane {
	l := s.get(name)
	if n < 0 || n > l.inFlight {
		panic("lane: more permits returned than taken")
	}
	l.inFlight -= n
	s.used -= n
	return l
}

// loosen notes that a lane may have permits again.
func (s *Set) loosen(name string, l *lane) {
	s.serve(l)
	if l.refused {
		l.refused = false
		s.loose = append(s.loose, name)
	}
	signal(s.freed)
}

// Freed receives when permits may be had again: a slot's, or those of Loose.
func (s *Set) Freed() <-chan struct{} { return s.freed }

// Loose are the lanes that refused a permit and may have one now, each told once.
func (s *Set) Loose() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	loose := s.loose
	s.loose = nil
	return loose
}

// InFlight is how many permits are out.
func (s *Set) InFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Stat is a lane at one moment.
type Stat struct {
	Name     string
	Limit    int // in this worker; 0: its slots alone
	InFlight int
	Backlog  int // tasks that wait, as far as is known, and calls from handlers
	// Governed is how a governed lane is, Waits why it gives no permit, in words.
	Governed *governor.Stat
	Waits    string
}

// Stats is all lanes at one moment, by name.
func (s *Set) Stats() []Stat {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	all := make([]Stat, 0, len(s.lanes))
	for name, l := range s.lanes {
		st := Stat{Name: name, Limit: l.limit, InFlight: l.inFlight, Backlog: l.backlog + len(l.waiters)}
		if l.local != nil {
			g := l.local.Stat(now)
			st.Governed, st.Limit, st.Waits = &g, g.Permits, l.local.Waits(now)
		}
		all = append(all, st)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// Keep forgets all lanes but those named and those with permits out.
func (s *Set) Keep(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := make(map[string]bool, len(names))
	for _, name := range names {
		keep[name] = true
	}
	for name, l := range s.lanes {
		if l.limit == 0 && l.inFlight == 0 && l.local == nil && len(l.waiters) == 0 && !keep[name] {
			delete(s.lanes, name)
		}
	}
}

func (s *Set) get(name string) *lane {
	l := s.lanes[name]
	if l == nil {
		l = &lane{}
		if s.listed[name] {
			l.kind = governed
		}
		s.lanes[name] = l
	}
	return l
}

func (s *Set) wake() { signal(s.stir) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
