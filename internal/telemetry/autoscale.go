package telemetry

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/lane"
)

const (
	// signalKept is how long a signal is good for: whoever asks often costs Redis no more.
	signalKept = 5 * time.Second
	// signalIn is how long one may take.
	signalIn = 4 * time.Second
)

// autoscale has the signal of how many workers there should be, for KEDA.
type autoscale struct {
	ask func(context.Context) (*lane.Signal, error)

	mu     sync.Mutex // while it is asked for, too: once is enough
	signal *lane.Signal
	at     time.Time
}

// Autoscale serves the signal at /autoscale.
func (m *Metrics) Autoscale(ask func(context.Context) (*lane.Signal, error)) {
	m.autoscale = &autoscale{ask: ask}
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
