package telemetry

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/weir-tasks/weir/internal/lane"
)

const (
	workersWanted = "weir_autoscale_workers_wanted"
	allBacklog    = "weir_autoscale_backlog"
	allOldest     = "weir_autoscale_oldest_seconds"
	allDrain      = "weir_autoscale_drain_seconds"
	laneWanted    = "weir_lane_workers_wanted"
	laneBacklog   = "weir_lane_backlog"
	laneOldest    = "weir_lane_oldest_seconds"
	laneDrain     = "weir_lane_drain_seconds"
)

const (
	// signalKept is how long a signal is good for: whoever asks often costs Redis no more.
	signalKept = 5 * time.Second
	// signalIn is how long one may take.
	signalIn = 4 * time.Second
)

// autoscale has the signal of how many workers there should be, for metrics and for KEDA.
type autoscale struct {
	lanes *lanes
	ask   func(context.Context) (*lane.Signal, error)

	mu     sync.Mutex // while it is asked for, too: once is enough
	signal *lane.Signal
	at     time.Time
}

// Autoscale serves the signal at /autoscale, and as metrics.
func (m *Worker) Autoscale(ask func(context.Context) (*lane.Signal, error)) {
	m.autoscale = &autoscale{lanes: m.lanes, ask: ask}
	m.registry.MustRegister(m.autoscale)
}

func (a *autoscale) get(ctx context.Context) (*lane.Signal, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signal != nil && time.Since(a.at) < signalKept {
		return a.signal, nil
	}
	ctx, cancel := context.WithTimeout(ctx, signalIn)
	defer cancel()
	s, err := a.ask(ctx)
	if err != nil {
		return nil, err
	}
	a.signal, a.at = s, time.Now()
	return s, nil
}

// ServeHTTP answers with the signal as JSON, or 503 where Redis does not answer: a wrong
// number would stop workers.
func (a *autoscale) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, err := a.get(r.Context())
	if err != nil {
		http.Error(w, "Redis does not answer: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s) // a client that has gone
}

var (
	wantedDesc  = prometheus.NewDesc(workersWanted, "Workers that what waits now can use.", nil, nil)
	backlogDesc = prometheus.NewDesc(allBacklog, "Tasks that could run now, in all lanes.", nil, nil)
	oldestDesc  = prometheus.NewDesc(allOldest, "How long the oldest of them has waited.", nil, nil)
	drainDesc   = prometheus.NewDesc(allDrain, "In which time they are worked off as things are, in the lane that takes longest.", nil, nil)

	laneDescs = []struct {
		desc *prometheus.Desc
		of   func(d *lane.Demand) *float64
	}{
		{prometheus.NewDesc(laneWanted, "Workers that the lane can use.", []string{"lane"}, nil),
			func(d *lane.Demand) *float64 { return &d.Workers }},
		{prometheus.NewDesc(laneBacklog, "Tasks that could run now.", []string{"lane"}, nil),
			func(d *lane.Demand) *float64 { n := float64(d.Backlog); return &n }},
		{prometheus.NewDesc(laneOldest, "How long the oldest of them has waited.", []string{"lane"}, nil),
			func(d *lane.Demand) *float64 { return &d.Oldest }},
		{prometheus.NewDesc(laneDrain, "In which time they are worked off as things are.", []string{"lane"}, nil),
			func(d *lane.Demand) *float64 { return d.Drain }},
	}
)

// Describe is a prometheus.Collector's.
func (a *autoscale) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{wantedDesc, backlogDesc, oldestDesc, drainDesc} {
		out <- d
	}
	for _, d := range laneDescs {
		out <- d.desc
	}
}

// Collect is a prometheus.Collector's. Where Redis does not answer there are no such metrics.
func (a *autoscale) Collect(out chan<- prometheus.Metric) {
	s, err := a.get(context.Background())
	if err != nil {
		return
	}
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	tell(wantedDesc, float64(s.Wanted))
	tell(backlogDesc, float64(s.Backlog))
	tell(oldestDesc, s.Oldest)
	if s.Drain != nil {
		tell(drainDesc, *s.Drain)
	}
	a.lanes.mu.Lock()
	defer a.lanes.mu.Unlock()
	for i := range s.Lanes {
		if a.lanes.label(s.Lanes[i].Lane) == other {
			continue // the sums are above
		}
		for _, d := range laneDescs {
			if v := d.of(&s.Lanes[i]); v != nil {
				tell(d.desc, *v, s.Lanes[i].Lane)
			}
		}
	}
}
