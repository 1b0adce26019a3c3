// Package telemetry is what a process tells of itself to those who operate it:
// metrics and health over HTTP.
package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/weir-tasks/weir/internal/attempt"
	"github.com/weir-tasks/weir/internal/work"
)

// Names of the metrics. Labels are bounded: types and verdicts are fixed sets, and so many
// lanes have a label of their own.
const (
	attemptsTotal  = "weir_attempts_total"
	attemptSeconds = "weir_attempt_duration_seconds"
	inFlight       = "weir_worker_in_flight"
	stuckHandlers  = "weir_worker_stuck_handlers"
	clockOffset    = "weir_worker_clock_offset_seconds"
)

// Worker is a worker's metrics.
type Worker struct {
	registry *prometheus.Registry
	attempts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	*lanes
	autoscale *autoscale // nil unless Autoscale was called
}

// NewWorker returns a worker's metrics on a registry of their own.
func NewWorker() *Worker {
	m := &Worker{
		registry: prometheus.NewRegistry(),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: attemptsTotal, Help: "Attempts that ended, by task type, verdict and class of failure.",
		}, []string{"type", "verdict", "class"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: attemptSeconds, Help: "How long handlers ran.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 14),
		}, []string{"type"}),
		lanes: newLanes(),
	}
	m.lanes.register(m.registry)
	m.registry.MustRegister(m.attempts, m.seconds, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Observe counts an attempt's end.
func (m *Worker) Observe(a attempt.Attempt) {
	m.attempts.WithLabelValues(a.Type, a.Verdict, string(a.Class)).Inc()
	if a.Took > 0 {
		m.seconds.WithLabelValues(a.Type).Observe(a.Took.Seconds())
	}
}

// Watch adds the gauges of a worker's state.
func (m *Worker) Watch(stat func() work.Stat) {
	m.registry.MustRegister(
		&laneGauges{lanes: m.lanes, stat: stat},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: inFlight, Help: "Handlers that run, stuck ones too.",
		}, func() float64 { return float64(stat().InFlight) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: stuckHandlers, Help: "Handlers that go on though their time is over.",
		}, func() float64 { return float64(stat().Stuck) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: clockOffset, Help: "By how much this host's clock is ahead of Redis'.",
		}, func() float64 { return stat().Clock.Seconds() }),
	)
}
