package telemetry

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/produce"
)

// Producer is a producer's metrics. A nil one hears and counts nothing.
type Producer struct {
	*Metrics
	outcomes *prometheus.CounterVec
	pickup   prometheus.Histogram
}

// Producer adds a producer's metrics.
func (m *Metrics) Producer() *Producer {
	p := &Producer{
		Metrics: m,
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: producerOutcomes, Help: "Outcomes that this producer has handed on, by state and class of failure.",
		}, []string{"state", "class"}),
		pickup: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: producerPickup, Help: "From enqueue to first start, as the outcomes have it.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 14),
		}),
	}
	m.registry.MustRegister(p.outcomes, p.pickup)
	return p
}

// Outcome counts one; wait is from enqueue to first start, less than 0 if unknown.
func (m *Producer) Outcome(o *batch.Outcome, wait time.Duration) {
	if m == nil {
		return
	}
	m.outcomes.WithLabelValues(known(o.State, batch.OK, batch.Failed, batch.Cancelled), known(o.Class, "", batch.Invalid, batch.Permanent,
		batch.Rejected, batch.Timeout, batch.Panic, batch.Exhausted, batch.Crashed, batch.Expired)).Inc()
	if wait >= 0 {
		m.pickup.Observe(wait.Seconds())
	}
}

// known is what Redis says if that is one of what weir writes there, else other.
func known[T ~string](said T, all ...T) string {
	if slices.Contains(all, said) {
		return string(said)
	}
	return other
}

// Watch adds how far a batch's input has been read.
func (m *Producer) Watch(progress func() produce.Progress) {
	if m == nil {
		return
	}
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: producerRead, Help: "Records of the batch that are enqueued or have an outcome, in earlier lives too.",
		}, func() float64 { return float64(progress().Read) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: producerParked, Help: "Records that were read and wait in this process for their lane.",
		}, func() float64 { return float64(progress().Parked) }),
	)
}
