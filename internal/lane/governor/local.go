package governor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Outcome is what became of one request, as far as its lane is concerned.
type Outcome int

// Outcomes of a request. A 429 or 503 with Retry-After is Throttled; without, Overload.
const (
	OK        Outcome = iota
	AppError          // an answer that has nothing to do with load: 404, 500
	Overload          // 503, connection refused or reset
	Throttled         // 429
	Timeout           // nobody answered in time
	Cancelled         // we gave up for reasons of our own: says nothing about the service
)

func (o Outcome) String() string {
	names := [...]string{"ok", "error", "overload", "throttled", "timeout", "cancelled"}
	if o < 0 || int(o) >= len(names) {
		return "outcome " + strconv.Itoa(int(o))
	}
	return names[o]
}

// Result is one request, over.
type Result struct {
	Outcome    Outcome
	Started    time.Time
	Latency    time.Duration // of the call only, not of any waiting
	RetryAfter time.Duration // 0 for none
	Remaining  int           // of the service's quota, with Reset
	Reset      time.Duration // until the quota is full again; 0 where the service does not say
}

const (
	urgentAfter = 50 * time.Millisecond // between two reports that cannot wait
	wakeJitter  = 50 * time.Millisecond // spreads the workers after a pause
	maxRemain   = 1_000_000_000
	firstTry    = 250 * time.Millisecond // between reports, before the first Grant
	lastTry     = time.Second            // between reports that fail
	longestRest = 5 * time.Second
	firstRest   = time.Second // where the service's latency is not known
)

// Local is a worker's half of one lane: it gives out the permits that are leased, and
// collects what the next report tells. It never waits and never calls Redis. Safe for
// concurrent use; but only one report may be under way at a time:
//
//	r := l.Report(now, wants)
//	if g, err := Sync(ctx, rdb, lane, r); err != nil { l.Lost(now, r) } else { l.Apply(now, g) }
type Local struct {
	worker string
	slots  int
	jitter func() float64 // 0 to 1

	mu       sync.Mutex
	grant    Grant
	granted  bool // at all
	permits  int
	over     bool // more are in flight than permitted, which others wait for
	inFlight int
	rests    []time.Time // when permits that met overload may be used again, ascending
	tokens   int         // below 0 where more were used than the last Grant has
	rated    bool
	paces    bool // the service counts by the second or less: its last Retry-After said so
	pause    time.Time
	wake     time.Time // the extra sync at a pause's end

	began   time.Time // the epoch, as seen here: earlier requests are not of it
	settled time.Time
	outage  time.Time // the last: how long earlier requests take tells of it, not of the load
	report  Report    // the next one
	asked   time.Time // when the request was sent that report.RetryAfter answered
	resets  time.Time // when the quota of report.Remaining is full again

	sent    time.Time // the report under way, or the last one
	heard   time.Time // the last report that was answered
	used    int       // tokens since the report under way
	spent   int       // and since the last Grant, which was
	applied time.Time // applied then
	next    time.Time
	urgent  time.Time // the last urgent one
	lost    int       // in a row

	alone    bool // Redis has not answered for longer than the lease
	cut      time.Time
	trickled time.Time
	trickle  float64
}

// NewLocal returns a worker's half of a lane. worker is unique per start of a process;
// slots is how many tasks it can have in flight at all.
func NewLocal(worker string, slots int) *Local {
	l := &Local{worker: worker, slots: slots, jitter: rand.Float64}
	l.clear()
	return l
}

func (l *Local) clear() { l.report = Report{Remaining: -1} }

// Take takes up to want permits and returns how many there were. Each is given back by
// one Done, or by Return where no request was made.
func (l *Local) Take(now time.Time, want int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass(now)
	n := min(want, l.free(now))
	if n <= 0 {
		return 0
	}
	l.inFlight += n
	l.tokens -= n
	l.used += n
	l.spent += n
	return n
}

func (l *Local) free(now time.Time) int {
	if !l.granted || now.Before(l.pause) {
		return 0
	}
	n := l.permits - l.inFlight - len(l.rests)
	if l.grant.State == Probing { // rests that end meanwhile are no probes
		n = min(n, 1-l.spent)
	}
	if l.rated {
		n = min(n, l.tokens)
		if !l.alone && l.paces {
			n = min(n, l.paced(now))
		}
	}
	return n
}

// paced is how many of the tokens may be used by now: a service that counts by the fraction
// of a second may have no room for all of them at once, in all workers.
func (l *Local) paced(now time.Time) int {
	return l.ahead() + int(l.pace()*now.Sub(l.applied).Seconds()) - l.spent
}

// pace is in tokens per second, a little above the share, as what is leased; ahead is what
// needs not wait.
func (l *Local) pace() float64 { return 1.25 * l.grant.Share }
func (l *Local) ahead() int    { return max(1, int(l.grant.Share/50)) }

// Hold notes n permits that are out already, from before the lane was governed.
func (l *Local) Hold(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight += n
}

// Return gives back n permits that no request was made with.
func (l *Local) Return(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 0 || n > l.inFlight {
		panic("governor: more permits returned than taken")
	}
	l.inFlight -= n
	l.tokens += n
	l.used -= n
	l.spent -= n
}

// Done gives a permit back and tells what became of its request. It returns true when
// the next report must not wait: NextSync is now.
func (l *Local) Done(now time.Time, r Result) (urgent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight == 0 {
		panic("governor: more permits returned than taken")
	}
	l.pass(now)
	l.inFlight--
	if l.over && l.inFlight <= l.permits {
		l.over = false
		urgent = l.hurry(now)
	}
	if l.rated && l.tokens <= 0 && l.grant.Rate*l.grant.Interval.Seconds() < 1 && l.inFlight < l.permits {
		urgent = l.hurry(now) || urgent // tokens are too few to have one ready
	}
	if r.Outcome == Cancelled {
		return urgent
	}
	bound(&r)
	if r.Reset > 0 {
		l.report.Remaining, l.resets = r.Remaining, now.Add(r.Reset)
	}
	bad := r.Outcome == Overload || r.Outcome == Throttled || r.Outcome == Timeout
	if bad {
		l.report.Refused++
	}
	switch {
	case bad && r.RetryAfter > 0 && r.Outcome != Timeout:
		l.throttled(now, r)
	case bad && r.Outcome == Throttled && r.Reset > 0 && r.Remaining == 0:
		l.until(now.Add(r.Reset))
	case bad:
		if !r.Started.Before(l.began) {
			l.report.Overloads++
		}
	default:
		l.report.Answered++
		if !now.Before(l.settled) && !r.Started.Before(l.outage) {
			l.report.Samples.Add(r.Latency)
		}
	}
	return bad && l.overloaded(now) || urgent
}

// bound keeps what a service says within reason.
func bound(r *Result) {
	r.Latency = max(r.Latency, 0)
	r.RetryAfter = min(max(r.RetryAfter, 0), MaxRetryAfter)
	r.Reset = min(max(r.Reset, 0), MaxRetryAfter)
	r.Remaining = min(max(r.Remaining, 0), maxRemain)
}

func (l *Local) throttled(now time.Time, r Result) {
	if r.Started.After(l.asked) || l.report.RetryAfter == 0 {
		l.asked = r.Started
	}
	l.paces = r.RetryAfter <= time.Second
	l.report.RetryAfter = max(l.report.RetryAfter, r.RetryAfter)
	l.until(now.Add(r.RetryAfter))
}

// until pauses here, before the cluster has heard of it.
func (l *Local) until(end time.Time) {
	if end.After(l.pause) {
		l.pause, l.wake = end, l.soonAfter(end)
	}
}

func (l *Local) soonAfter(t time.Time) time.Time {
	return t.Add(time.Duration(l.jitter() * float64(wakeJitter)))
}

// overloaded rests the permit: a service that rejects fast would else be asked as fast. In
// two intervals the governor has mostly cut the limit, and one too many is rejected but once.
func (l *Local) overloaded(now time.Time) (urgent bool) {
	rest := max(2*l.grant.Interval, min(l.grant.Base, longestRest))
	if l.grant.Base == 0 {
		rest = firstRest
	}
	end := now.Add(rest)
	at, _ := slices.BinarySearchFunc(l.rests, end, time.Time.Compare)
	l.rests = slices.Insert(l.rests, at, end)
	if l.alone {
		if now.Sub(l.cut) > time.Second {
			l.cut = now
			l.permits = max(1, l.permits*7/10)
		}
		return false
	}
	return l.hurry(now)
}

// hurry makes the next report due, unless there was an urgent one a moment ago.
func (l *Local) hurry(now time.Time) bool {
	if l.alone || now.Sub(l.urgent) <= urgentAfter {
		return false
	}
	l.urgent, l.next = now, now
	return true
}

// pass lets time pass: rests end, and so does the lease.
func (l *Local) pass(now time.Time) {
	ended := 0
	for ended < len(l.rests) && !l.rests[ended].After(now) {
		ended++
	}
	l.rests = slices.Delete(l.rests, 0, ended)
	if !l.granted || now.Sub(l.heard) <= l.grant.Lease {
		return
	}
	if !l.alone {
		l.alone = true
		if l.permits > 0 {
			l.permits = max(1, l.permits/2)
		}
		l.trickled, l.trickle = now, 0
	}
	if l.rated {
		rate := l.grant.Share / 2
		l.trickle = min(l.trickle+rate*now.Sub(l.trickled).Seconds(), max(1, rate))
		l.trickled = now
		whole := int(l.trickle)
		l.tokens = min(l.tokens+whole, max(1, int(rate), l.tokens))
		l.trickle -= float64(whole)
	}
}

// Report begins a report. wants is how many tasks the worker would have in flight on
// this lane if it could: those it has and those that wait.
func (l *Local) Report(now time.Time, wants int) Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass(now)
	r := l.report
	r.Worker, r.Epoch, r.Slots = l.worker, l.grant.Epoch, l.slots
	r.Wants, r.InFlight = min(max(wants, 0), l.slots), l.inFlight+len(l.rests)
	if l.rated {
		r.Unused = max(l.tokens, 0)
	}
	if r.RetryAfter > 0 {
		r.Age = max(now.Sub(l.asked), 0)
	}
	if r.Remaining >= 0 {
		r.Reset = max(l.resets.Sub(now), 0)
	}
	if !l.wake.After(now) {
		l.wake = time.Time{}
	}
	l.clear()
	l.sent, l.used = now, 0
	l.next = now.Add(l.interval())
	return r
}

func (l *Local) interval() time.Duration {
	every := l.grant.Interval
	if !l.granted {
		every = firstTry
	}
	return time.Duration(float64(every) * (0.9 + 0.2*l.jitter()))
}

// Apply ends a report: g is its answer.
func (l *Local) Apply(now time.Time, g Grant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.granted: // what is in flight already, see Hold, is of this epoch
		l.settled = now.Add(g.Settle)
	case g.Epoch != l.grant.Epoch:
		l.began, l.settled = now, now.Add(g.Settle)
		l.report.Samples, l.report.Overloads = Samples{}, 0
	}
	l.grant, l.granted = g, true
	l.permits, l.over = g.Permits, l.inFlight > g.Permits
	l.rated = g.Tokens >= 0
	l.tokens = max(g.Tokens, 0) - l.used
	l.applied, l.spent = now, 0
	l.heard, l.alone, l.lost = l.sent, false, 0
	if g.State == Outage || g.State == Probing {
		l.outage = l.sent
	}
	pause := now.Add(g.Wait)
	if g.State == Outage {
		pause = now // the permits say it
	}
	switch {
	case pause == now && l.report.RetryAfter == 0:
		l.pause, l.wake = time.Time{}, time.Time{}
	case l.report.RetryAfter > 0 && !pause.After(l.pause): // the cluster has not heard of it yet
	case pause.Sub(l.pause).Abs() > time.Millisecond:
		l.pause, l.wake = pause, l.soonAfter(pause)
	}
	l.next = l.sent.Add(l.interval())
}

// Lost ends a report that was not answered. What decisions are to rest on is told again.
func (l *Local) Lost(now time.Time, r Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Answered += r.Answered
	l.report.Refused += r.Refused
	if r.RetryAfter > 0 {
		if asked := l.sent.Add(-r.Age); l.report.RetryAfter == 0 || asked.After(l.asked) {
			l.asked = asked
		}
		l.report.RetryAfter = max(l.report.RetryAfter, r.RetryAfter)
	}
	l.lost++
	l.next = now.Add(min(l.interval()<<min(l.lost-1, 4), lastTry))
}

// NextSync is when the next report is due: at once for a new Local.
func (l *Local) NextSync() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.wake.IsZero() && l.wake.Before(l.next) {
		return l.wake
	}
	return l.next
}

// Ready is when time alone frees permits: a pause or a rest ends. It is zero where only
// a Done or the next report can.
func (l *Local) Ready(now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass(now)
	if now.Before(l.pause) {
		return l.pause
	}
	var at time.Time
	if len(l.rests) > 0 {
		at = l.rests[0]
	}
	if l.rated && !l.alone && l.paces && l.tokens > 0 && l.grant.Share > 0 && l.paced(now) <= 0 {
		short := float64(l.spent-l.ahead()+1) / l.pace()
		if next := l.applied.Add(time.Duration(short * float64(time.Second))); at.IsZero() || next.Before(at) {
			at = next
		}
	}
	return at
}

// lookAgain is after which time it makes sense to look whether the operator still wants
// nothing to begin.
const lookAgain = 5 * time.Second

// Shut says that the service or the operator asked to wait, and until when there is no use
// in asking for a permit.
func (l *Local) Shut(now time.Time) (wait time.Duration, shut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.granted && l.grant.State == Held:
		return lookAgain, true
	case now.Before(l.pause):
		return l.pause.Sub(now), true
	}
	return 0, false
}

// Stat is a Local at one moment.
type Stat struct {
	Grant    // the last; with InFlight above its Permits where those became fewer
	InFlight int
	Resting  int  // permits that met overload
	Alone    bool // Redis has not answered for longer than the lease
}

// Stat is how it is.
func (l *Local) Stat(now time.Time) Stat {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass(now)
	s := Stat{Grant: l.grant, InFlight: l.inFlight, Resting: len(l.rests), Alone: l.alone}
	s.Permits = l.permits
	return s
}

// Waits says in words why Take gives nothing, or "" when it would.
func (l *Local) Waits(now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass(now)
	if l.free(now) > 0 {
		return ""
	}
	g := l.grant
	switch {
	case !l.granted:
		return "Redis has not answered yet"
	case g.State == Held:
		return "paused by the operator"
	case now.Before(l.pause):
		return fmt.Sprintf("the service asked to wait, %s more", round(l.pause.Sub(now)))
	case l.alone:
		return fmt.Sprintf("Redis does not answer: %d in flight, half of the last share", l.inFlight)
	case g.State == Outage:
		return "outage: the next probe comes soon"
	case g.State == Probing:
		return "outage: probing"
	case l.inFlight+len(l.rests) < l.permits:
		return fmt.Sprintf("rate %.4g/s", g.Rate)
	case l.inFlight < l.permits:
		return fmt.Sprintf("%d permits rest after overload", len(l.rests))
	case l.permits == 0:
		return fmt.Sprintf("limit %d: others have it in use", g.Limit)
	}
	return fmt.Sprintf("limit %d: all %d of this worker are in flight", g.Limit, l.permits)
}

func round(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Millisecond)
}
