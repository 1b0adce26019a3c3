package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// checkIn is how long all checks together may take.
const checkIn = 2 * time.Second

// Check is something that a process needs to do its work.
type Check struct {
	Name string
	// Vital says that nothing but a new start of the process mends it.
	Vital bool
	// Ask is nil where all is well, else why not.
	Ask func(context.Context) error
}

// Checks are a process' health. It is alive while the vital ones are well, and ready while
// all are.
type Checks []Check

// ask asks all at the same time. An answer that does not come is one, too.
func (c Checks) ask(ctx context.Context) []error {
	ctx, cancel := context.WithTimeout(ctx, checkIn)
	defer cancel()
	answers := make([]error, len(c))
	var all sync.WaitGroup
	for i := range c {
		all.Go(func() { answers[i] = c[i].Ask(ctx) })
	}
	all.Wait()
	return answers
}

func (c Checks) vital() (vital Checks) {
	for _, check := range c {
		if check.Vital {
			vital = append(vital, check)
		}
	}
	return vital
}

// ServeHTTP answers 200, or 503 where something is not well; in the body, each check with
// its reason.
func (c Checks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body strings.Builder
	status := http.StatusOK
	for i, err := range c.ask(r.Context()) {
		if err != nil {
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&body, "%s: %v\n", c[i].Name, err)
			continue
		}
		fmt.Fprintf(&body, "%s: ok\n", c[i].Name)
	}
	if status == http.StatusOK {
		body.WriteString("ok\n")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body.String())) // to a client that may have gone
}

var healthDesc = prometheus.NewDesc(health, "1 where a check of /readyz is well, else 0.", []string{"check"}, nil)

// Describe is a prometheus.Collector's.
func (c Checks) Describe(out chan<- *prometheus.Desc) { out <- healthDesc }

// Collect is a prometheus.Collector's.
func (c Checks) Collect(out chan<- prometheus.Metric) {
	for i, err := range c.ask(context.Background()) {
		well := 1.0
		if err != nil {
			well = 0
		}
		out <- prometheus.MustNewConstMetric(healthDesc, prometheus.GaugeValue, well, c[i].Name)
	}
}

// Reaches is the check that Redis answers.
func Reaches(ping func(context.Context) error) Check {
	return Check{Name: "redis", Ask: func(ctx context.Context) error {
		if err := ping(ctx); err != nil {
			return fmt.Errorf("it does not answer: %w", err)
		}
		return nil
	}}
}

// Connecting is the check of a process that has not reached Redis yet; it is never well.
type Connecting struct{ why atomic.Pointer[error] }

// Failed is told of a try to reach Redis that failed.
func (c *Connecting) Failed(err error, _ time.Duration) { c.why.Store(&err) }

// Check tells why Redis is not reachable. It is not vital: Redis may come.
func (c *Connecting) Check() Check {
	return Check{Name: "redis", Ask: func(context.Context) error {
		if why := c.why.Load(); why != nil {
			return fmt.Errorf("Redis is not reachable: %w", *why)
		}
		return errors.New("Redis is not reachable: it has not answered yet")
	}}
}
