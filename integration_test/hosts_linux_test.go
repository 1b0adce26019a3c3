package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Ten thousand hosts, of which the first is slow, in an input sorted by host: on Linux all of
// 127/8 is this machine.
func TestEachHostIsALaneAndASlowOneHoldsUpNoOther(t *testing.T) {
	const hosts, each = 10_000, 2
	release := make(chan struct{})
	port := serveAllHosts(t, func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "127.1.0.1:") {
			<-release
		}
	})
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	var urls strings.Builder
	for host := range hosts {
		for i := range each {
			fmt.Fprintf(&urls, "http://127.1.%d.%d:%d/%d\n", host/250, host%250+1, port, i)
		}
	}
	server := conntest.Server(t)
	w := startWorker(t, server.URL(), "--concurrency", "200", "--http", "127.0.0.1:0")
	began := time.Now()
	p := startReading(t, urls.String(), server.URL(), "run", "http", "--batch", "b")
	ledger := batch.NewLedger(server.Client())
	eventually(t, long, func() bool {
		info, err := ledger.Info(t.Context(), "b")
		return err == nil && info.OK == (hosts-1)*each
	}, "all other hosts are done")
	took := time.Since(began)
	letGo()
	r := p.wait().exits(t, 0)
	if got := len(outcomes(t, r.stdout)); got != hosts*each {
		t.Errorf("%d outcomes", got)
	}
	if lanes, err := ledger.Lanes(t.Context(), "b"); len(lanes) != hosts || err != nil {
		t.Errorf("%d lanes, %v", len(lanes), err)
	}
	// A lane that is used once is reported of when it begins, and when it has ended.
	reports := func() float64 { return metric(t, w, "weir_lane_sync_seconds_count") }
	eventually(t, long, func() bool {
		before := reports()
		time.Sleep(time.Second)
		return reports() == before
	}, "idle lanes are not reported of")
	show(t, "%d URLs of %d hosts took %.1f s, and %.1f reports for each host", hosts*each, hosts, took.Seconds(), reports()/hosts)
	if reports() > 8*hosts {
		t.Errorf("%.0f reports", reports())
	}
}

// serveAllHosts serves every address of this machine, on one port.
func serveAllHosts(t *testing.T, handle http.HandlerFunc) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	must(t, err)
	service := httptest.NewUnstartedServer(handle)
	service.Listener.Close()
	service.Listener = listener
	service.Start()
	t.Cleanup(service.Close)
	return listener.Addr().(*net.TCPAddr).Port
}

// One host is dead and one throttles; the other 98 are used as fast as without those two,
// also when all that is for the two comes first. A dead one that hangs has, of the worker's 60
// slots, the four of a new lane for the first timeout, and one for probes from then on.
func TestADeadAndAThrottledHostSlowNoOther(t *testing.T) {
	const each, least = 50, 0.85
	var healthy, first []string
	for i := range each {
		first = append(first, fmt.Sprintf("http://127.1.0.1:%%[1]d/%d", i), fmt.Sprintf("http://127.1.0.2:%%[1]d/%d", i))
	}
	for host := 3; host <= 100; host++ {
		for i := range each {
			healthy = append(healthy, fmt.Sprintf("http://127.1.0.%d:%%[1]d/%d", host, i))
		}
	}
	sorted := append(slices.Sorted(slices.Values(first)), healthy...)
	// Each host's tasks as far apart as can be.
	spread := make([]string, 0, len(sorted))
	for i := range each {
		for at := i; at < len(sorted); at += each {
			spread = append(spread, sorted[at])
		}
	}
	var alone []float64
	for _, c := range []struct {
		name  string
		urls  []string
		hangs bool
	}{
		{"sorted, the dead one refuses", sorted, false},
		{"sorted, the dead one hangs", sorted, true},
		{"mixed, the dead one hangs", spread, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 5 { // others may take the machine for a while, but hardly each time
				alone = append(alone, rateOfHealthy(t, healthy, len(healthy), false))
				rate, median := rateOfHealthy(t, c.urls, len(healthy), c.hangs), medianOf(alone)
				show(t, "%.0f/s, %.1f%% of the %.0f/s alone", rate, 100*rate/median, median)
				if rate >= least*median {
					return
				}
			}
			t.Errorf("less than %.0f%%, each time", 100*least)
		})
	}
}

func medianOf(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// rateOfHealthy is how many a second the healthy hosts answer, each after 0.2 s, from the
// beginning until nine in ten of n are answered: at the end some host is the last. Of the
// others, .1 closes connections or hangs, .2 answers 5 a second.
func rateOfHealthy(t *testing.T, urls []string, n int, hangs bool) float64 {
	t.Helper()
	var answered atomic.Int64
	var began time.Time
	var begin sync.Once
	ended, release := make(chan time.Time, 1), make(chan struct{})
	allowed := newBucket(5)
	measured := int64(n) * 9 / 10
	port := serveAllHosts(t, func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := strings.Cut(r.Host, ":")
		switch {
		case host == "127.1.0.1" && hangs:
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case host == "127.1.0.1":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.Close()
			}
		case host == "127.1.0.2" && !allowed():
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case host == "127.1.0.2":
		default:
			begin.Do(func() { began = time.Now() })
			time.Sleep(200 * time.Millisecond)
			if answered.Add(1) == measured {
				ended <- time.Now()
			}
		}
	})
	defer close(release)
	server := conntest.Server(t)
	w := startWorker(t, server.URL(), "--concurrency", "60")
	input := strings.ReplaceAll(strings.Join(urls, "\n"), "%[1]d", fmt.Sprint(port))
	p := startReading(t, input, server.URL(), "run", "http", "--timeout", "5s")
	defer func() { p.kill(); w.kill() }()
	select {
	case end := <-ended:
		return float64(measured) / end.Sub(began).Seconds()
	case <-time.After(long):
		t.Fatalf("%d of %d answered after %v", answered.Load(), n, long)
		return 0
	}
}

// newBucket allows so many a second.
func newBucket(rate int) (take func() bool) {
	var mu sync.Mutex
	var last time.Time
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < time.Second/time.Duration(rate) {
			return false
		}
		last = time.Now()
		return true
	}
}
