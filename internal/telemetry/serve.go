package telemetry

import (
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server serves /metrics, /healthz (alive), /readyz (ready), and /autoscale (how many
// workers there should be) if the metrics have that.
type Server struct {
	http     *http.Server
	listener net.Listener
	gone     chan struct{}
	closing  []func()
}

// Serve begins to serve on addr, and adds the checks to the metrics.
func Serve(addr string, m *Metrics, checks ...Check) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	m.registry.MustRegister(Checks(checks))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	if m.autoscale != nil {
		mux.Handle("GET /autoscale", m.autoscale)
	}
	mux.Handle("GET /healthz", Checks(checks).vital())
	mux.Handle("GET /readyz", Checks(checks))
	s := &Server{http: &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}, listener: listener, gone: make(chan struct{}), closing: m.closing}
	go func() {
		defer close(s.gone)
		_ = s.http.Serve(listener) // ends with Close
	}()
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close ends it.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.gone
	for _, end := range s.closing {
		end()
	}
	s.closing = nil
	return err
}
