package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
)

// Metrics are those of one process, on a registry of their own.
type Metrics struct {
	registry  *prometheus.Registry
	autoscale http.Handler // nil unless Autoscale was called
	closing   []func()     // called when nobody asks any more
}

// New returns the metrics that every process has. version is the program's.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: buildInfo, Help: "1, with the version that the program was built from.",
	}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// pool tells of a client's connections.
type pool struct {
	stats       func() *redis.PoolStats
	connections *prometheus.Desc
	gets        *prometheus.Desc
	counters    []poolCounter
}

type poolCounter struct {
	desc *prometheus.Desc
	of   func(*redis.PoolStats) float64
}

// Pool adds the pool of connections to Redis.
func (m *Metrics) Pool(rdb redis.UniversalClient) {
	counter := func(name, help string, of func(*redis.PoolStats) float64) poolCounter {
		return poolCounter{prometheus.NewDesc(name, help, nil, nil), of}
	}
	m.registry.MustRegister(&pool{
		stats:       rdb.PoolStats,
		connections: prometheus.NewDesc(poolConnections, "Connections to Redis, by whether they are in use.", []string{"state"}, nil),
		gets:        prometheus.NewDesc(poolGets, "Connections that were asked for, by whether there was an idle one.", []string{"result"}, nil),
		counters: []poolCounter{
			counter(poolTimeouts, "Waits for a connection that ended without one.", func(s *redis.PoolStats) float64 { return float64(s.Timeouts) }),
			counter(poolStale, "Connections that were closed since they were broken or too old.", func(s *redis.PoolStats) float64 { return float64(s.StaleConns) }),
			counter(poolWaits, "Times that a connection was waited for, all being in use.", func(s *redis.PoolStats) float64 { return float64(s.WaitCount) }),
			counter(poolWaited, "For how long, all together.", func(s *redis.PoolStats) float64 { return float64(s.WaitDurationNs) / 1e9 }),
		},
	})
}

// Describe is a prometheus.Collector's.
func (p *pool) Describe(out chan<- *prometheus.Desc) {
	out <- p.connections
	out <- p.gets
	for _, c := range p.counters {
		out <- c.desc
	}
}

// Collect is a prometheus.Collector's.
func (p *pool) Collect(out chan<- prometheus.Metric) {
	s := p.stats()
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	tell(p.connections, prometheus.GaugeValue, float64(s.IdleConns), "idle")
	tell(p.connections, prometheus.GaugeValue, max(0, float64(s.TotalConns)-float64(s.IdleConns)), "used")
	tell(p.gets, prometheus.CounterValue, float64(s.Hits), "idle")
	tell(p.gets, prometheus.CounterValue, float64(s.Misses), "new")
	for _, c := range p.counters {
		tell(c.desc, prometheus.CounterValue, c.of(s))
	}
}
