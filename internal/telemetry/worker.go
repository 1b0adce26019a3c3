package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/weir-tasks/weir/internal/attempt"
	"github.com/weir-tasks/weir/internal/rescue"
	"github.com/weir-tasks/weir/internal/work"
)

// Worker is a worker's metrics.
type Worker struct {
	*Metrics
	attempts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	pickup   *prometheus.HistogramVec
	age      *prometheus.HistogramVec
	rescued  *prometheus.CounterVec
	*lanes
}

// Worker adds a worker's metrics.
func (m *Metrics) Worker() *Worker {
	w := &Worker{
		Metrics: m,
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: attemptsTotal, Help: "Attempts that ended, by task type, verdict and class of failure.",
		}, []string{"type", "verdict", "class"}),
		seconds: ofType(attemptSeconds, "How long handlers ran.", prometheus.ExponentialBuckets(0.001, 2.5, 14)),
		pickup:  ofType(pickupSeconds, "From a task's enqueue to a start of its first attempt; one that was throttled or handed back starts again, and counts again.", prometheus.ExponentialBuckets(0.001, 3, 14)),
		age:     ofType(ageSeconds, "From a task's enqueue to its recorded outcome.", prometheus.ExponentialBuckets(0.001, 3, 16)),
		rescued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: rescuedTotal, Help: "Tasks whose worker did not have them any more, by what this worker made of them.",
		}, []string{"fate"}),
		lanes: newLanes(),
	}
	for _, fate := range rescue.Fates {
		w.rescued.WithLabelValues(string(fate)) // so that the first one is a rise
	}
	w.lanes.register(m.registry)
	m.registry.MustRegister(w.attempts, w.seconds, w.pickup, w.age, w.rescued)
	return w
}

func ofType(name, help string, buckets []float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"type"})
}

// Observe counts an attempt's end.
func (m *Worker) Observe(a attempt.Attempt) {
	m.attempts.WithLabelValues(a.Type, a.Verdict, string(a.Class)).Inc()
	if a.Took > 0 {
		m.seconds.WithLabelValues(a.Type).Observe(a.Took.Seconds())
	}
	if a.Age > 0 {
		m.age.WithLabelValues(a.Type).Observe(a.Age.Seconds())
	}
}

// Started is told of each start of a task's first attempt: there are several where it was
// throttled or handed back.
func (m *Worker) Started(taskType string, wait time.Duration) {
	m.pickup.WithLabelValues(taskType).Observe(wait.Seconds())
}

// Rescued counts tasks of dead workers.
func (m *Worker) Rescued(fate rescue.Fate, n int) {
	m.rescued.WithLabelValues(string(fate)).Add(float64(n))
}

// Watch adds the gauges of a worker's state.
func (m *Worker) Watch(stat func() work.Stat) {
	gauge := func(name, help string, of func(work.Stat) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return of(stat()) })
	}
	m.registry.MustRegister(
		&laneGauges{lanes: m.lanes, stat: stat}, gateCounters{stat},
		gauge(inFlight, "Handlers that run, stuck ones too.", func(s work.Stat) float64 { return float64(s.InFlight) }),
		gauge(workerSlots, "Handlers that may run at once.", func(s work.Stat) float64 { return float64(s.Slots) }),
		gauge(stuckHandlers, "Handlers that go on though their time is over.", func(s work.Stat) float64 { return float64(s.Stuck) }),
		gauge(clockOffset, "By how much this host's clock is ahead of Redis'.", func(s work.Stat) float64 { return s.Clock.Seconds() }),
		gauge(gateHeld, "1 while this worker takes nothing: its clock is off, or a task that workers died of runs alone in it.", func(s work.Stat) float64 {
			if s.Gate.Held {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: gateErrors, Help: "Times that Redis did not answer the gate, or refused.",
		}, func() float64 { return float64(stat().Gate.Failed) }),
	)
}

var gateTasksDesc = prometheus.NewDesc(gateTasks, "Tasks that the gate took, and what it did with them but to hand them on.", []string{"what"}, nil)

// gateCounters tells of the tasks that went through a worker's gate.
type gateCounters struct{ stat func() work.Stat }

// Describe is a prometheus.Collector's.
func (gateCounters) Describe(out chan<- *prometheus.Desc) { out <- gateTasksDesc }

// Collect is a prometheus.Collector's.
func (c gateCounters) Collect(out chan<- prometheus.Metric) {
	g := c.stat().Gate
	for what, n := range map[string]int64{"taken": g.Taken, "given_back": g.GivenBack, "put_off": g.PutOff} {
		out <- prometheus.MustNewConstMetric(gateTasksDesc, prometheus.CounterValue, float64(n), what)
	}
}
