package report

import (
	"math"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/weir-tasks/weir/internal/batch"
)

const (
	maxWorkers = 10_000 // names remembered
	maxClasses = 32     // classes of failure told apart; more can only come from a foreign ledger
	maxClass   = 64     // runes of a class name
	otherClass = batch.Class("other")
)

// tally is what the outcomes seen so far have in common.
type tally struct {
	mu       sync.Mutex
	ok       int64
	failed   int64
	stopped  int64 // cancelled
	retries  int64
	run      latency // last attempts, of ok and failed tasks
	start    latency // from enqueue to first start
	workers  map[string]struct{}
	failures map[batch.Class]*failure
}

// failure is one class of them.
type failure struct {
	count int64
	seq   int64  // of the sample, the first one seen
	text  string // its error, cleaned
}

func newTally() *tally {
	return &tally{
		run:      newLatency(),
		start:    newLatency(),
		workers:  make(map[string]struct{}),
		failures: make(map[batch.Class]*failure),
	}
}

func (t *tally) add(o *batch.Outcome, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch o.State {
	case batch.OK:
		t.ok++
	case batch.Failed:
		t.failed++
		t.fail(o)
	case batch.Cancelled:
		t.stopped++
	}
	if o.Attempts > 1 {
		t.retries += int64(o.Attempts - 1)
	}
	// A cancelled task was cut short, an invalid one never ran: their times say
	// nothing about the service.
	if o.Attempts > 0 && o.State != batch.Cancelled && o.MS >= 0 { // and not NaN
		t.run.record(int64(math.Min(o.MS*1000, math.MaxInt64/2) + 0.5))
	}
	if wait >= 0 {
		t.start.record(wait.Microseconds())
	}
	if o.Worker != "" {
		if _, known := t.workers[o.Worker]; !known && len(t.workers) < maxWorkers {
			// A clone: the name may be a piece of a large buffer.
			t.workers[strings.Clone(o.Worker)] = struct{}{}
		}
	}
}

func (t *tally) fail(o *batch.Outcome) {
	class := o.Class
	if class == "" {
		class = otherClass
	}
	f := t.failures[class]
	if f == nil {
		class = batch.Class(Clean(string(class), maxClass))
		f = t.failures[class]
	}
	if f == nil && len(t.failures) >= maxClasses {
		class = otherClass
		f = t.failures[class]
	}
	if f == nil {
		f = &failure{seq: o.Seq, text: Clean(o.Error, maxSample)}
		t.failures[class] = f
	}
	f.count++
}

// progress is how many outcomes were seen, and their retries.
func (t *tally) progress() (seen, retries int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ok + t.failed + t.stopped, t.retries
}

// latency is a histogram of microseconds, right to 0.1%, up to a day.
type latency struct {
	h   *hdrhistogram.Histogram
	max int64 // exact, which the histogram's is not
}

const latencyCap = int64(24 * time.Hour / time.Microsecond)

func newLatency() latency { return latency{h: hdrhistogram.New(1, latencyCap, 3)} }

func (l *latency) record(us int64) {
	l.max = max(l.max, us)
	_ = l.h.RecordValue(min(us, latencyCap)) // fails beyond the cap only
}

// at is a percentile in milliseconds.
func (l *latency) at(p float64) float64 {
	return float64(min(l.h.ValueAtPercentile(p), l.max)) / 1000
}
