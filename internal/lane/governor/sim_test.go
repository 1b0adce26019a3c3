package governor

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// The simulator: workers, each with its Local, call one service, in virtual time, event
// by event. The governor is whatever a run is given: the script in a Redis, or its model.

// origin is when each run begins.
var origin = time.Unix(1_000_000_000, 0)

type event struct {
	at  float64
	seq int
	do  func()
}

func (e event) before(f event) bool { return e.at < f.at || e.at == f.at && e.seq < f.seq }

// clock runs events in the order of their time (s).
type clock struct {
	now    float64
	events []event // a heap
	alarms []event // of one delay, and so in order: see alarm
	seq    int
	rng    *rand.Rand
}

func newClock(seed uint64) *clock {
	return &clock{rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
}

func (c *clock) event(t float64, do func()) event {
	c.seq++
	return event{math.Max(t, c.now), c.seq, do}
}

func (c *clock) at(t float64, do func()) {
	e := c.event(t, do)
	q := append(c.events, e)
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(q[up]) {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = e
	c.events = q
}

// pop removes the first of the heap.
func (c *clock) pop() event {
	q := c.events
	first, last := q[0], len(q)-1
	e := q[last]
	q[last].do = nil
	q = q[:last]
	c.events = q
	i := 0
	for {
		next := 2*i + 1
		if next >= last {
			break
		}
		if next+1 < last && q[next+1].before(q[next]) {
			next++
		}
		if !q[next].before(e) {
			break
		}
		q[i] = q[next]
		i = next
	}
	if last > 0 {
		q[i] = e
	}
	return first
}

func (c *clock) after(d float64, do func()) { c.at(c.now+d, do) }

// alarm is after, for a delay that is the same in the whole run: most requests end long
// before their timeout, and these would fill the heap.
func (c *clock) alarm(d float64, do func()) { c.alarms = append(c.alarms, c.event(c.now+d, do)) }

func (c *clock) run(until float64) {
	for {
		var e event
		switch {
		case len(c.alarms) > 0 && (len(c.events) == 0 || c.alarms[0].before(c.events[0])):
			if e = c.alarms[0]; e.at > until {
				c.now = until
				return
			}
			c.alarms = c.alarms[1:]
		case len(c.events) > 0 && c.events[0].at <= until:
			e = c.pop()
		default:
			c.now = until
			return
		}
		c.now = e.at
		e.do()
	}
}

func (c *clock) time() time.Time { return origin.Add(seconds(c.now)) }

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * 1e9)) }

// service is what is called. Times are in seconds.
type service struct {
	capacity  func(t float64) int // at once; below 0 without end; 0 in an outage
	time      func(r *rand.Rand, t float64) float64
	mean      func(t float64) float64
	rejects   bool    // 503 above the capacity, instead of a queue
	queueMax  int     // 503 above so many waiting; 0 for no end
	hangs     bool    // in an outage requests hang
	rejectLat float64 // latency of a rejection
	appErrors float64 // share of 404s
	overloads float64 // share of 503s that have nothing to do with load
	hits      float64 // share answered from a cache in 5 ms
	thrash    float64 // slower by so much for each capacity's worth of queue
	quota     float64 // requests/s
	burst     float64
	window    float64 // a fixed window of so long, in place of a bucket
	headers   bool
	quotaOf   func(t float64) float64 // in place of quota, where it changes; the burst is a fifth
	plain     bool                    // 503 without a Retry-After where the quota is used up

	c        *clock
	running  int
	inside   int // running, waiting, hanging
	queue    []func(answer)
	tokens   float64
	filled   float64
	windowID int64
	windowN  float64
}

type answer struct {
	out       Outcome
	after     float64
	remaining float64
	reset     float64 // in so many seconds; 0 for not told
}

func (v *service) admit() (answer, bool) {
	now := v.c.now
	switch {
	case v.quota == 0:
		return answer{}, true
	case v.window > 0:
		id := int64(now / v.window)
		if id != v.windowID {
			v.windowID, v.windowN = id, 0
		}
		reset, most := float64(id+1)*v.window, v.quota*v.window
		if v.windowN >= most {
			a := answer{out: Throttled, after: math.Ceil(reset - now)}
			if v.headers {
				a.reset = reset - now
			}
			return a, false
		}
		v.windowN++
		if v.headers {
			return answer{remaining: most - v.windowN, reset: reset - now}, true
		}
		return answer{}, true
	}
	if v.quotaOf != nil {
		v.quota = v.quotaOf(now)
		v.burst = v.quota/5 + 1
	}
	v.tokens = math.Min(v.burst, v.tokens+(now-v.filled)*v.quota)
	v.filled = now
	if v.tokens < 1 {
		if v.plain {
			return answer{out: Overload}, false
		}
		return answer{out: Throttled, after: math.Max(1, math.Ceil((1-v.tokens)/v.quota))}, false
	}
	v.tokens--
	return answer{}, true
}

func (v *service) call(done func(answer)) {
	v.inside++
	later := func(d float64, a answer) {
		v.c.after(d, func() { v.inside--; done(a) })
	}
	reject := func(a answer) { later(v.rejectLat*(0.5+v.c.rng.Float64()), a) }
	a, ok := v.admit()
	capacity := v.capacity(v.c.now)
	switch {
	case !ok:
		reject(a)
	case v.overloads > 0 && v.c.rng.Float64() < v.overloads:
		reject(answer{out: Overload})
	case v.hits > 0 && capacity != 0 && v.c.rng.Float64() < v.hits:
		later(0.005*(0.8+0.4*v.c.rng.Float64()), a)
	case capacity == 0 && v.hangs:
		later(6, answer{out: Overload})
	case capacity == 0:
		reject(answer{out: Overload})
	case capacity < 0 || v.running < capacity:
		v.start(done, a)
	case v.rejects || v.queueMax > 0 && len(v.queue) >= v.queueMax:
		reject(answer{out: Overload})
	default:
		v.queue = append(v.queue, done)
	}
}

func (v *service) start(done func(answer), a answer) {
	v.running++
	d := v.time(v.c.rng, v.c.now)
	if c := v.capacity(v.c.now); v.thrash > 0 && c > 0 {
		d *= 1 + v.thrash*float64(len(v.queue))/float64(c)
	}
	v.c.after(d, func() {
		v.running--
		v.inside--
		if v.appErrors > 0 && v.c.rng.Float64() < v.appErrors {
			a.out = AppError
		}
		v.drain() // who waits goes first, then whoever this reply lets send
		done(a)
	})
}

func (v *service) drain() {
	for len(v.queue) > 0 {
		if c := v.capacity(v.c.now); c >= 0 && v.running >= c {
			return
		}
		done := v.queue[0]
		v.queue = v.queue[1:]
		v.start(done, answer{}) // also of those who have given up
	}
}

// scenario is a service, its workers, and what happens to them.
type scenario struct {
	name    string
	workers int
	slots   int   // of each worker
	slotsOf []int // of each, where they differ
	length  float64
	warm    float64 // from when goodput counts
	timeout float64
	service func() *service
	steps   []float64               // when the capacity changes
	arrival func(t float64) float64 // tasks/s; nil: there is always work
	kill    map[float64]int         // so many workers, then
	away    [2]float64              // Redis, from and to
	cfg     Config
	log     func(t float64, ok bool) // hears of every reply; may be nil
}

// govern is a governor: what Sync is, at a time of the run.
type govern func(now float64, r Report) Grant

type worker struct {
	i        int
	slots    int
	local    *Local
	inFlight int
	waiting  int
	dead     bool
	timer    int     // of the sync that is due
	wake     float64 // of a try that is due
}

type run struct {
	scenario
	*clock
	v       *service
	all     []*worker
	govern  govern
	metrics metrics
	perSec  struct{ ok, best, most []float64 }
}

// metrics is how a run went.
type metrics struct {
	goodput  float64 // replies over what one who knows could have got
	rejected float64 // share of requests rejected or timed out
	sent     float64
	load     float64 // mean in flight over the capacity
	loadP95  float64
	peak     float64
	converge []float64 // seconds after the start, and after each step
	syncs    float64   // per second
}

func simulate(sc scenario, seed uint64, g govern) metrics {
	r := &run{scenario: sc, clock: newClock(seed), v: sc.service(), govern: g}
	r.v.c, r.v.tokens = r.clock, r.v.burst
	if r.v.quotaOf != nil {
		r.v.tokens = r.v.quotaOf(0)/5 + 1
	}
	if r.v.rejectLat == 0 {
		r.v.rejectLat = 0.02
	}
	n := int(sc.length) + 1
	r.perSec.ok, r.perSec.best, r.perSec.most = make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range sc.workers {
		w := &worker{i: i, slots: sc.slots}
		if sc.slotsOf != nil {
			w.slots = sc.slotsOf[i]
		}
		w.local = NewLocal("w"+strconv.Itoa(i), w.slots)
		w.local.jitter = r.rng.Float64
		r.all = append(r.all, w)
		r.clock.at(r.rng.Float64()*0.25, func() { r.sync(w) })
	}
	r.happen()
	loads, best := r.sample()
	r.clock.run(sc.length)
	return r.result(loads, best())
}

func (r *run) happen() {
	if r.arrival != nil {
		var next func()
		next = func() {
			w := r.all[r.rng.IntN(len(r.all))]
			w.waiting++
			r.pump(w)
			r.after(r.rng.ExpFloat64()/math.Max(0.01, r.arrival(r.now)), next)
		}
		r.clock.at(0, next)
	}
	for t, k := range r.kill {
		r.clock.at(t, func() {
			for _, w := range r.all {
				if k > 0 && !w.dead {
					w.dead = true
					k--
				}
			}
		})
	}
	for _, t := range r.steps {
		r.clock.at(t, r.v.drain)
	}
}

func (r *run) sync(w *worker) {
	if w.dead {
		return
	}
	wants := w.slots
	if r.arrival != nil {
		wants = min(w.slots, w.inFlight+w.waiting)
	}
	rep := w.local.Report(r.time(), wants)
	if r.now >= r.away[0] && r.now < r.away[1] {
		w.local.Lost(r.time(), rep)
	} else {
		r.metrics.syncs++
		w.local.Apply(r.time(), r.govern(r.now, rep))
	}
	w.timer++
	timer := w.timer
	r.clock.at(w.local.NextSync().Sub(origin).Seconds(), func() {
		if timer == w.timer {
			r.sync(w)
		}
	})
	r.pump(w)
}

func (r *run) pump(w *worker) {
	for !w.dead && w.inFlight < w.slots && (r.arrival == nil || w.waiting > 0) {
		if w.local.Take(r.time(), 1) == 0 {
			at := w.local.Ready(r.time()).Sub(origin).Seconds() + 1e-9
			if at > r.now && (w.wake <= r.now || at < w.wake) {
				w.wake = at
				r.clock.at(at, func() { r.pump(w) })
			}
			return
		}
		r.request(w)
	}
}

func (r *run) request(w *worker) {
	w.inFlight++
	if r.arrival != nil {
		w.waiting--
	}
	r.metrics.sent++
	began, over := r.now, false
	end := func(a answer) {
		if over {
			return
		}
		over = true
		w.inFlight--
		if w.dead {
			return
		}
		if r.log != nil {
			r.log(r.now, a.out == OK || a.out == AppError)
		}
		if a.out == OK || a.out == AppError {
			r.perSec.ok[min(int(r.now), len(r.perSec.ok)-1)]++
		} else {
			r.metrics.rejected++
			if r.arrival != nil {
				w.waiting++
			}
		}
		urgent := w.local.Done(r.time(), Result{Outcome: a.out, Started: origin.Add(seconds(began)),
			Latency: seconds(r.now - began), RetryAfter: seconds(a.after),
			Remaining: int(a.remaining), Reset: seconds(a.reset)})
		if urgent {
			r.sync(w)
		}
		r.pump(w)
	}
	r.alarm(r.timeout, func() { end(answer{out: Timeout}) })
	r.v.call(end)
}

// sample looks at the run ten times a second.
func (r *run) sample() (loads *[]float64, best func() float64) {
	const every = 0.1
	loads = new([]float64)
	total := 0.0
	var look func()
	look = func() {
		c := r.v.capacity(r.now)
		if c > 0 {
			most := float64(c)
			if r.v.quota > 0 {
				most = math.Min(most, math.Max(1, r.v.quota*r.v.mean(r.now)))
			}
			*loads = append(*loads, float64(r.v.inside)/most)
		}
		rate := 0.0
		for _, w := range r.all {
			if !w.dead {
				rate += float64(w.slots)
			}
		}
		if c >= 0 {
			rate = math.Min(rate, float64(c))
		}
		rate /= r.v.mean(r.now) * (1 - r.v.hits)
		if r.v.quota > 0 {
			rate = math.Min(rate, r.v.quota)
		}
		if r.arrival != nil {
			rate = math.Min(rate, r.arrival(r.now))
		}
		if r.now >= r.warm {
			total += rate * every
		}
		k := int(r.now)
		r.perSec.best[k] += rate * every
		r.perSec.most[k] = math.Max(r.perSec.most[k], float64(r.v.inside))
		r.after(every, look)
	}
	r.clock.at(every/2, look)
	return loads, func() float64 { return total }
}

func (r *run) result(loads *[]float64, best float64) metrics {
	m := r.metrics
	ok := 0.0
	for k := int(r.warm); k < len(r.perSec.ok)-1; k++ {
		ok += r.perSec.ok[k]
	}
	m.goodput = ok / best
	m.rejected /= math.Max(1, m.sent)
	m.syncs /= r.length
	if len(*loads) > 0 {
		sum := 0.0
		for _, x := range *loads {
			sum += x
		}
		m.load = sum / float64(len(*loads))
		slices.Sort(*loads)
		m.loadP95, m.peak = percentile(*loads, 0.95), percentile(*loads, 1)
	}
	for _, from := range append([]float64{0}, r.steps...) {
		m.converge = append(m.converge, r.convergence(from))
	}
	return m
}

// convergence is how long it took until 3 s had 90% of the best throughput, and in flight
// no more than 1.6 times the capacity.
func (r *run) convergence(from float64) float64 {
	for k := int(from); k+3 < len(r.perSec.ok)-1; k++ {
		var ok, best, most float64
		for j := k; j < k+3; j++ {
			ok += r.perSec.ok[j]
			best += r.perSec.best[j]
			if c := r.v.capacity(float64(j) + 0.5); c > 0 {
				most = math.Max(most, r.perSec.most[j]/float64(c))
			}
		}
		if best > 0 && ok >= 0.9*best && most <= 1.6 {
			return float64(k) - from
		}
	}
	return math.Inf(1)
}

// percentile of sorted values.
func percentile(sorted []float64, q float64) float64 {
	return sorted[int(q*float64(len(sorted)-1))]
}
