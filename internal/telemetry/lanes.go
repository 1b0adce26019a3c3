package telemetry

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/work"
)

const (
	// mostLanes is how many lanes have a label of their own. The rest are lane="other".
	mostLanes = 100
	other     = "other"

	// rankEvery is how often it is seen which lanes are the busiest, and mostChanges how many
	// labels then go to others at most.
	rankEvery   = time.Minute
	mostChanges = 20
)

// labels are the lanes that have a label of their own.
//
// A lane gets one when it is first heard of, while there are fewer than mostLanes; later, in
// place of another, when it has been more than twice as busy for rankEvery. So there are few
// new series however lanes come and go.
type labels struct {
	named  map[string]bool
	recent map[string]int64 // how busy since ranked
	ranked time.Time
}

func newLabels() labels {
	return labels{named: make(map[string]bool), recent: make(map[string]int64), ranked: time.Now()}
}

// lanes counts what happens in lanes. It is a lane.Watcher.
//
// When a lane loses its label its series end, and what it does from now on counts as other:
// so no series ever falls.
type lanes struct {
	now     func() time.Time
	results *prometheus.CounterVec
	changes *prometheus.CounterVec
	sync    prometheus.Histogram
	errors  prometheus.Counter

	mu sync.Mutex
	labels
}

var _ lane.Watcher = (*lanes)(nil)

func newLanes() *lanes {
	return &lanes{
		now: time.Now, labels: newLabels(),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: laneResults, Help: "How services answered: ok, error (an answer that has nothing to do with load), overload, throttled, timeout, cancelled.",
		}, []string{"lane", "result"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: laneChanges, Help: "Changes of a lane's limit or state that this worker's report brought about, by why.",
		}, []string{"lane", "why"}),
		sync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: syncSeconds, Help: "How long reports to the lanes' governors took.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 10),
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: syncErrors, Help: "Reports to the lanes' governors that were not answered.",
		}),
	}
}

func (l *lanes) register(r prometheus.Registerer) {
	r.MustRegister(l.results, l.changes, l.sync, l.errors)
}

// Result counts an answer.
func (l *lanes) Result(name string, o governor.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock() // till it is counted: the label may be taken from the lane
	l.recent[name]++
	l.rank()
	l.results.WithLabelValues(l.label(name), o.String()).Inc()
}

// Sync counts a report.
func (l *lanes) Sync(name string, g governor.Grant, took time.Duration, err error) {
	if err != nil {
		l.errors.Inc()
		return
	}
	l.sync.Observe(took.Seconds())
	if g.Why == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes.WithLabelValues(l.label(name), g.Kind()).Inc()
}

// label is the lane's own, or other.
func (l *labels) label(name string) string {
	if !l.named[name] {
		if len(l.named) >= mostLanes || !nameable(name) {
			return other
		}
		l.named[name] = true
	}
	return name
}

// nameable says that a lane can have a label: whoever writes to Redis may name one as it
// likes, and no label may be anything but UTF-8, or there twice.
func nameable(lane string) bool { return lane != other && utf8.ValidString(lane) }

// rank ends the series of lanes that lose their label. The caller has l.mu.
func (l *lanes) rank() {
	for _, name := range l.labels.rank(l.now()) {
		l.results.DeletePartialMatch(prometheus.Labels{"lane": name})
		l.changes.DeletePartialMatch(prometheus.Labels{"lane": name})
	}
}

// rank sees from time to time which lanes are the busiest, and says which ones have lost
// their label.
func (l *labels) rank(now time.Time) (gone []string) {
	if now.Sub(l.ranked) < rankEvery {
		return nil
	}
	l.ranked = now
	if len(l.named) >= mostLanes {
		gone = l.exchange()
	}
	l.recent = make(map[string]int64)
	return gone
}

// exchange gives the labels of the idlest lanes to those that are far busier.
func (l *labels) exchange() (gone []string) {
	idlest := slices.SortedFunc(maps.Keys(l.named), func(a, b string) int { return cmp.Compare(l.recent[a], l.recent[b]) })
	var rest []string
	for name := range l.recent {
		if !l.named[name] && nameable(name) {
			rest = append(rest, name)
		}
	}
	slices.SortFunc(rest, func(a, b string) int { return cmp.Compare(l.recent[b], l.recent[a]) })
	for i := 0; i < min(len(rest), len(idlest), mostChanges) && l.recent[rest[i]] > 2*l.recent[idlest[i]]; i++ {
		delete(l.named, idlest[i])
		gone = append(gone, idlest[i])
		l.named[rest[i]] = true
	}
	return gone
}

// gauge is one of laneGauges. Sums of it make sense, or it is for lanes of a label only.
type gauge struct {
	desc *prometheus.Desc
	of   func(s *lane.Stat) (v float64, ok bool)
	sums bool
}

func gaugeOf(name, help string, sums bool, of func(s *lane.Stat) (float64, bool)) gauge {
	return gauge{prometheus.NewDesc(name, help, []string{"lane"}, nil), of, sums}
}

func governed(of func(g *governor.Stat) float64) func(*lane.Stat) (float64, bool) {
	return func(s *lane.Stat) (float64, bool) {
		if s.Governed == nil || s.Governed.Lease == 0 { // not, or not answered yet
			return 0, false
		}
		return of(s.Governed), true
	}
}

var gauges = []gauge{
	gaugeOf(laneLimit, "Tasks that may be in flight in all workers together; of governed lanes in use here.", true,
		governed(func(g *governor.Stat) float64 { return float64(g.Limit) })),
	gaugeOf(laneShare, "Of those, this worker's.", true,
		governed(func(g *governor.Stat) float64 { return float64(g.Permits) })),
	gaugeOf(laneInFlight, "Tasks in flight in this worker, and calls by handlers.", true,
		func(s *lane.Stat) (float64, bool) { return float64(s.InFlight), true }),
	gaugeOf(laneWaiting, "Tasks that wait in the lane, as this worker last saw, and calls by its handlers.", true,
		func(s *lane.Stat) (float64, bool) { return float64(s.Backlog), true }),
	gaugeOf(laneRate, "Requests a second that all workers together may make; 0 is no such limit.", true,
		governed(func(g *governor.Stat) float64 { return g.Rate })),
	gaugeOf(laneRatio, "Latency against the usual one.", false,
		governed(func(g *governor.Stat) float64 { return g.Ratio })),
	gaugeOf(laneBase, "The usual latency.", false,
		governed(func(g *governor.Stat) float64 { return g.Base.Seconds() })),
}

var stateDesc = prometheus.NewDesc(laneState, "1 for the state that a governed lane is in.", []string{"lane", "state"}, nil)

// laneGauges tells how lanes are when it is asked.
type laneGauges struct {
	lanes *lanes
	stat  func() work.Stat
}

// Describe is a prometheus.Collector's.
func (c *laneGauges) Describe(out chan<- *prometheus.Desc) {
	for _, g := range gauges {
		out <- g.desc
	}
	out <- stateDesc
}

// Collect is a prometheus.Collector's.
func (c *laneGauges) Collect(out chan<- prometheus.Metric) {
	stats := c.stat().Lanes
	labels := make([]string, len(stats))
	c.lanes.mu.Lock()
	c.lanes.rank()
	for i := range stats {
		labels[i] = c.lanes.label(stats[i].Name)
	}
	c.lanes.mu.Unlock()
	for _, g := range gauges {
		sum, any := 0.0, false
		for i := range stats {
			v, ok := g.of(&stats[i])
			switch {
			case !ok:
			case labels[i] != other:
				out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, v, labels[i])
			case g.sums:
				sum, any = sum+v, true
			}
		}
		if any {
			out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, sum, other)
		}
	}
	for i := range stats {
		if g := stats[i].Governed; g != nil && g.Lease > 0 && labels[i] != other {
			for s := governor.Open; s <= governor.Held; s++ {
				is := 0.0
				if s == g.State {
					is = 1
				}
				out <- prometheus.MustNewConstMetric(stateDesc, prometheus.GaugeValue, is, labels[i], s.String())
			}
		}
	}
}
