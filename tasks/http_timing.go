package tasks

import (
	"context"
	"crypto/tls"
	"math"
	"net/http/httptrace"
	"sync"
	"time"
)

// HTTPTiming splits a request's time, in milliseconds. Phases that did not
// happen, as on a connection used again, are 0; redirects add up.
type HTTPTiming struct {
	DNS       float64 `json:"dns"`
	Connect   float64 `json:"connect"`
	TLS       float64 `json:"tls"`
	FirstByte float64 `json:"first_byte" doc:"from the start to the first byte of the last answer"`
	Total     float64 `json:"total" doc:"from the start to the end of what is kept of the body"`
}

// stopwatch collects a request's times. The transport reports from goroutines
// that may go on after the request is over, hence the lock.
type stopwatch struct {
	mu                         sync.Mutex
	start, dns, connect, shake time.Time
	timing                     HTTPTiming
}

func newStopwatch() *stopwatch { return &stopwatch{start: time.Now()} }

// trace returns ctx with the watch listening to the request made with it.
func (w *stopwatch) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { w.begin(&w.dns) },
		DNSDone:              func(httptrace.DNSDoneInfo) { w.end(&w.dns, &w.timing.DNS) },
		ConnectStart:         func(_, _ string) { w.begin(&w.connect) },
		ConnectDone:          func(_, _ string, _ error) { w.end(&w.connect, &w.timing.Connect) },
		TLSHandshakeStart:    func() { w.begin(&w.shake) },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { w.end(&w.shake, &w.timing.TLS) },
		GotFirstResponseByte: func() { w.firstByte() },
	})
}

// begin starts a phase. Addresses tried at the same time are one phase.
func (w *stopwatch) begin(since *time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if since.IsZero() {
		*since = time.Now()
	}
}

func (w *stopwatch) end(since *time.Time, ms *float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !since.IsZero() {
		*ms += millis(time.Since(*since))
		*since = time.Time{}
	}
}

func (w *stopwatch) firstByte() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timing.FirstByte = millis(time.Since(w.start))
}

// split returns the times, the total being until now.
func (w *stopwatch) split() HTTPTiming {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.timing
	t.Total = millis(time.Since(w.start))
	return t
}

// millis is d in milliseconds, to the microsecond.
func millis(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}
