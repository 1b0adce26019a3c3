package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// tasksPerSeed is how many tasks a seed's batches have in all.
const tasksPerSeed = 300

// options are what a seed draws before it begins.
type options struct {
	flaky, refuse float64       // how many requests and dials meet a fault
	cutAcks       time.Duration // for so long of each 15 s asynq's acks fail
	failing       bool          // most tasks fail at first
	slow          time.Duration // tasks take so much longer
	extra         int           // how many executions more than needed are allowed from the start
	workers       []workerOptions
	batches       []batchOptions
	faults        []fault
	faultyFor     time.Duration
	shards        int // of each lane, at first
}

type workerOptions struct {
	concurrency int
	grace       time.Duration // its shutdown timeout
	skew        time.Duration // how much its clock is off
}

type batchOptions struct {
	n, window int64
	narrow    bool
	ordered   bool
	dies      *death // of the first life of its producer
}

// fault is something that happens at a time. See world.happen for the kinds.
type fault struct {
	at    time.Duration
	kind  string
	place int
	d     death
	lasts time.Duration
	late  bool
}

func (f fault) String() string {
	switch f.kind {
	case "spread lanes":
		return fmt.Sprintf("%v %s over %d queues", f.at, f.kind, f.place)
	case "kill worker", "kill producer":
		return fmt.Sprintf("%v %s %d %s request +%d, late %v", f.at, f.kind, f.place, f.d.how, f.d.steps, f.d.late)
	case "hold worker", "hold producer":
		return fmt.Sprintf("%v %s %d for %v, late %v", f.at, f.kind, f.place, f.lasts, f.late)
	}
	return fmt.Sprintf("%v %s %d", f.at, f.kind, f.place)
}

func (o *options) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "requests with a fault %.1f%%, dials refused %.1f%%, for %v; shards %d\n", 100*o.flaky, 100*o.refuse, o.faultyFor, o.shards)
	for i, w := range o.workers {
		fmt.Fprintf(&s, "worker %d: concurrency %d, shutdown timeout %v, clock off by %v\n", i, w.concurrency, w.grace, w.skew)
	}
	for i, b := range o.batches {
		fmt.Fprintf(&s, "batch %d: %d tasks, window %d, narrow %v, ordered %v", i, b.n, b.window, b.narrow, b.ordered)
		if b.dies != nil {
			fmt.Fprintf(&s, ", its producer dies %s request %d, late %v", b.dies.how, b.dies.steps, b.dies.late)
		}
		s.WriteByte('\n')
	}
	for _, f := range o.faults {
		fmt.Fprintln(&s, f)
	}
	return s.String()
}

// profile narrows down what a seed draws.
type profile func(r *rand.Rand, o *options)

var profiles = map[string]profile{
	"all": func(*rand.Rand, *options) {},
	// No faults at all: what goes wrong here goes wrong always.
	"calm": func(_ *rand.Rand, o *options) { o.flaky, o.refuse, o.faults = 0, 0, nil; o.noDeaths() },
	// Lost replies and cut connections only, many of them.
	"requests": func(_ *rand.Rand, o *options) { o.flaky, o.refuse, o.faults = 0.05, 0, nil; o.noDeaths() },
	// asynq's acks fail for a moment, every so often. They are sent again 5 s after the last
	// that failed, which is hardly ever later than the rescue.
	"acks": func(_ *rand.Rand, o *options) {
		o.flaky, o.refuse, o.faults = 0, 0, nil
		o.noDeaths()
		o.cutAcks, o.failing, o.extra = time.Second, true, 3
	},
	// Workers die and are cut off, nothing else happens.
	"workers": func(_ *rand.Rand, o *options) {
		o.flaky, o.refuse = 0, 0
		o.noDeaths()
		o.faults = slices.DeleteFunc(o.faults, func(f fault) bool { return !strings.Contains(f.kind, "worker") })
	},
	// Producers die, at their first requests too, nothing else happens.
	"producers": func(_ *rand.Rand, o *options) {
		o.flaky, o.refuse = 0, 0
		o.faults = slices.DeleteFunc(o.faults, func(f fault) bool { return !strings.Contains(f.kind, "producer") })
	},
	// What a producer sent before it died arrives when another has gone on for long.
	"late checkpoint": func(r *rand.Rand, o *options) {
		o.flaky, o.refuse, o.faults = 0, 0, nil
		for i := range o.batches {
			o.batches[i].window = 20
			o.batches[i].dies = &death{how: "late", steps: 2 + r.IntN(4), of: isCheckpoint, late: 15 * time.Second}
		}
	},
	// A producer dies at its first tasks. They arrive when another has enqueued them again,
	// and most have their outcome.
	"late enqueue": func(_ *rand.Rand, o *options) {
		o.flaky, o.refuse, o.faults = 0, 0, nil
		for i := range o.batches {
			o.batches[i].window = 20
			o.batches[i].dies = &death{how: "late", steps: 1, of: isEnqueue, late: 25 * time.Second}
		}
	},
	// A producer is interrupted, and dies as it stops its batch or takes the tasks out of Redis.
	// That arrives when another has gone on with the batch, and enqueued them again.
	"late stop": func(r *rand.Rand, o *options) {
		o.flaky, o.refuse, o.faults, o.slow = 0, 0, nil, time.Second
		for i := range o.batches {
			o.batches[i].window = 60
			of := []func([]byte) bool{isWithdrawal, isStop}[r.IntN(2)]
			steps := 1 + r.IntN(2) // at the first call Redis may not know the script
			o.batches[i].dies = &death{how: "late", steps: steps, of: of, late: time.Duration(3+r.IntN(15)) * time.Second}
			o.faults = append(o.faults, fault{at: time.Duration(2+r.IntN(3)) * time.Second, kind: "interrupt producer", place: i})
		}
	},
	// Producers and workers die at calls of one kind or a few, whatever these are, which come
	// much later: seldom ones as often as those that are sent all the time.
	"late calls": func(r *rand.Rand, o *options) {
		o.flaky, o.refuse = 0, 0
		o.noDeaths()
		o.faults = slices.DeleteFunc(o.faults, func(f fault) bool { return f.kind != "interrupt producer" && f.kind != "stop worker" })
		die := func() death {
			d := drawDeath(r, 3)
			d.how, d.of = "late", isOf(r.Uint32())
			return d
		}
		for at := time.Second; at < o.faultyFor; at += time.Duration(2000+r.IntN(6000)) * time.Millisecond {
			f := fault{at: at, kind: "kill producer", place: r.IntN(len(o.batches)), d: die()}
			if r.IntN(2) == 0 {
				f.kind, f.place, f.lasts = "kill worker", r.IntN(len(o.workers)), 20*time.Second
			}
			o.faults = append(o.faults, f)
		}
		slices.SortStableFunc(o.faults, func(a, b fault) int { return int(a.at - b.at) })
	},
	// Each worker dies while it has much to do, one after the other.
	"deaths": func(r *rand.Rand, o *options) {
		o.flaky, o.refuse, o.faults = 0, 0, nil
		o.noDeaths()
		for place := range o.workers {
			o.faults = append(o.faults, fault{
				at: time.Duration(3+12*place) * time.Second, kind: "kill worker", place: place,
				d: drawDeath(r, 20), lasts: 20 * time.Second,
			})
		}
	},
	// Two workers are cut off in turn, each when it has what was the other's: tasks are
	// blamed for it.
	"blame": func(r *rand.Rand, o *options) {
		o.flaky, o.refuse, o.faults, o.slow = 0, 0, nil, 2*time.Second
		o.noDeaths()
		o.workers = o.workers[:2]
		for at := 3 * time.Second; at < time.Minute; at += time.Duration(10_000+r.IntN(1000)) * time.Millisecond {
			o.faults = append(o.faults, fault{
				at: at, kind: "hold worker", place: len(o.faults) % 2, lasts: 9500 * time.Millisecond, late: r.IntN(2) == 0,
			})
		}
	},
}

func (o *options) noDeaths() {
	for i := range o.batches {
		o.batches[i].dies = nil
	}
}

func draw(seed uint64, name string) *options {
	r := rand.New(rand.NewPCG(seed, 1))
	o := &options{
		flaky:     []float64{0, 0.002, 0.01, 0.03}[r.IntN(4)],
		refuse:    []float64{0, 0.05, 0.3}[r.IntN(3)],
		faultyFor: time.Duration(30+r.IntN(30)) * time.Second,
	}
	for range 2 + r.IntN(2) {
		w := workerOptions{concurrency: 3 + r.IntN(6), grace: time.Duration(r.IntN(6)) * time.Second}
		o.workers = append(o.workers, w)
	}
	if r.IntN(3) == 0 {
		o.workers[0].skew = time.Duration(r.IntN(131)-65) * time.Second
	}
	left := int64(tasksPerSeed)
	if r.IntN(2) == 0 {
		n := 30 + r.Int64N(70)
		left -= n
		o.batches = append(o.batches, batchOptions{n: n, narrow: true})
	}
	o.batches = append(o.batches, batchOptions{n: left})
	for i := range o.batches {
		b := &o.batches[i]
		b.window, b.ordered = 10+r.Int64N(200), r.IntN(3) == 0
		if r.IntN(2) == 0 {
			d := drawDeath(r, 60)
			b.dies = &d
		}
	}
	o.drawFaults(r)
	profiles[name](r, o)
	o.drawShards(rand.New(rand.NewPCG(seed, 3)))
	return o
}

// drawShards spreads the lanes of two seeds in five over several queues, of one of them over
// other numbers of them in the course of time.
func (o *options) drawShards(r *rand.Rand) {
	o.shards = 1
	kind := r.IntN(5)
	if kind < 2 {
		o.shards = 2 + r.IntN(11)
	}
	if kind > 0 {
		return
	}
	for at := time.Duration(0); at < o.faultyFor; {
		at += time.Duration(1000+r.IntN(20_000)) * time.Millisecond
		o.faults = append(o.faults, fault{at: at, kind: "spread lanes", place: 1 + r.IntN(12)})
	}
	slices.SortStableFunc(o.faults, func(a, b fault) int { return int(a.at - b.at) })
}

func drawDeath(r *rand.Rand, within int) death {
	return death{
		how:   []string{"before", "amid", "after", "late"}[r.IntN(4)],
		steps: 1 + r.IntN(within), late: time.Duration(5+r.IntN(40)) * time.Second,
	}
}

func (o *options) drawFaults(r *rand.Rand) {
	kinds := []string{
		"kill worker", "kill worker", "kill producer", "kill producer", "hold worker", "hold worker",
		"hold producer", "cut", "stop worker", "interrupt producer",
	}
	for range 3 + r.IntN(8) {
		f := fault{at: time.Duration(r.Int64N(int64(o.faultyFor))).Round(time.Millisecond), kind: kinds[r.IntN(len(kinds))]}
		f.place = r.IntN(len(o.workers))
		if strings.HasSuffix(f.kind, "producer") {
			f.place = r.IntN(len(o.batches))
		}
		f.d = drawDeath(r, 200)
		f.lasts = time.Duration(5000+r.IntN(45000)) * time.Millisecond
		f.late = r.IntN(2) == 0
		o.faults = append(o.faults, f)
	}
	slices.SortFunc(o.faults, func(a, b fault) int { return int(a.at - b.at) })
}
