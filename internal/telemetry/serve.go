package telemetry

import (
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server serves /metrics, /healthz (alive), /readyz (ready), and /autoscale (how many
// workers there should be) if the metrics have that.
type Server struct {
	http     *http.Server
	listener net.Listener
	gone     chan struct{}
	metrics  *Metrics
	checks   Checks
	mux      atomic.Pointer[http.ServeMux]
}

// Serve begins to serve on addr, and adds the checks to the metrics.
func Serve(addr string, m *Metrics, checks ...Check) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{listener: listener, gone: make(chan struct{}), metrics: m}
	s.Check(checks...)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.mux.Load().ServeHTTP(w, r) }),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	go func() {
		defer close(s.gone)
		_ = s.http.Serve(listener) // ends with Close
	}()
	return s, nil
}

// Check has these checks from now on instead of those before, and serves /autoscale if the
// metrics have got that since. It is not for several goroutines at once.
func (s *Server) Check(checks ...Check) {
	s.metrics.registry.Unregister(s.checks)
	s.checks = checks
	s.metrics.registry.MustRegister(s.checks)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	if s.metrics.autoscale != nil {
		mux.Handle("GET /autoscale", s.metrics.autoscale)
	}
	mux.Handle("GET /healthz", s.checks.vital())
	mux.Handle("GET /readyz", s.checks)
	s.mux.Store(mux)
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close ends it. It may be called again.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.gone
	for _, end := range s.metrics.closing {
		end()
	}
	s.metrics.closing = nil
	return err
}
