package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Whatever happens to those who keep a lane's limit, its service is not flooded, work goes
// on, and every task has its outcome.
func TestAServiceIsNotFloodedByFaults(t *testing.T) {
	t.Parallel()
	const n, capacity, atMost = 4000, 20, 2 * 20
	for _, c := range []struct {
		name string
		harm func(f *faulty)
	}{
		{"half of the workers killed", func(f *faulty) {
			for _, w := range f.workers[:2] {
				w.kill()
			}
		}},
		{"Redis frozen for 10 s", func(f *faulty) {
			f.redis.Freeze()
			time.Sleep(10 * time.Second) // the fault itself
			f.redis.Thaw()
		}},
		{"Redis killed and started after 10 s", func(f *faulty) {
			f.redis.Kill()
			time.Sleep(10 * time.Second)
			f.redis.Restart()
		}},
		{"the lane's state deleted, ten times", func(f *faulty) {
			lane := f.service.lane(f.t)
			for range 10 {
				keys := []string{"weir:{" + lane + "}:flow", "weir:{" + lane + "}:flow:v"}
				if gone, err := f.redis.Client().Del(f.t.Context(), keys...).Result(); gone == 0 || err != nil {
					f.t.Errorf("%d keys of %q are gone, %v", gone, keys, err)
				}
				time.Sleep(700 * time.Millisecond)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := &faulty{t: t, service: newNarrow(t, capacity), redis: durable(t)}
			for range 4 {
				f.workers = append(f.workers, startWorker(t, f.redis.URL(), "--concurrency", "100"))
			}
			p := startProducer(t, f.redis.URL(), "run", "http", "--repeat", fmt.Sprint(n), "--window", "1000",
				"--retries", "50", "--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, f.service.URL))
			eventually(t, long, func() bool { return f.service.ok.Load() > n/4 }, "a quarter is done, and the limit found")
			refused := f.service.refused.Load()
			f.service.peak.Store(0)
			c.harm(f)
			done := f.service.ok.Load()
			mended := time.Now()
			eventually(t, long, func() bool { return f.service.ok.Load() >= min(done+200, n) }, "work goes on")
			again := time.Since(mended)
			allOK(t, p.wait().exits(t, 0).outcomes(t), n)
			refused = f.service.refused.Load() - refused
			t.Logf("at most %d in flight on a capacity of %d, %d refused, 200 more done after %.1f s", f.service.peak.Load(), capacity, refused, again.Seconds())
			if f.service.peak.Load() > atMost || refused > n/20 {
				t.Errorf("at most %d in flight, %d refused", f.service.peak.Load(), refused)
			}
		})
	}
}

type faulty struct {
	t       *testing.T
	service *narrow
	redis   *conntest.RealServer
	workers []*proc
}

// A service that says nonsense about when to come back is asked again as if it had said nothing.
func TestNonsenseInRetryAfterIsNoPause(t *testing.T) {
	t.Parallel()
	nonsense := []string{
		"-7", "-999999999999999999999", "7.5", "1e9", "0x10", "soon", "NaN", "", "٣", strings.Repeat("x", 60_000),
		"Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 99 Jan 2026 03:04:05 GMT",
	}
	const every = 4 // of so many tasks one meets it: else it would be an outage
	var seen sync.Map
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var i int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &i); err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		if _, again := seen.LoadOrStore(i, true); again || i%every != 0 {
			return
		}
		i /= every
		w.Header().Set("Retry-After", nonsense[i%len(nonsense)])
		w.WriteHeader([]int{http.StatusServiceUnavailable, http.StatusTooManyRequests}[i/len(nonsense)%2])
	}))
	defer service.Close()
	redisURL := conntest.Server(t).URL()
	startWorker(t, redisURL)
	n := 2 * every * len(nonsense)
	r := producer(t, redisURL, "run", "http", "--repeat", fmt.Sprint(n), "--backoff", "10ms", "--retries", "20",
		"--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, service.URL)).exits(t, 0)
	all := r.outcomes(t)
	allOK(t, all, n)
	for _, o := range all {
		if want := 1 + max(0, 1-int(o.Seq)%every); o.Attempts != want {
			t.Errorf("seq %d: %d attempts, want %d", o.Seq, o.Attempts, want)
		}
	}
}

// A service that says "in ten years" is believed for a day, until the operator knows better.
func TestTenYearsOfRetryAfterEndWithTheOperatorsWord(t *testing.T) {
	t.Parallel()
	const n = 50
	s := newNarrow(t, 1000)
	var once sync.Once
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			w.Header().Set("Retry-After", "315360000")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		s.Config.Handler.ServeHTTP(w, r)
	}))
	defer service.Close()
	u, err := url.Parse(service.URL)
	must(t, err)
	lane := u.Hostname() + "_" + u.Port()
	redisURL := conntest.Server(t).URL()
	startWorker(t, redisURL)
	p := startProducer(t, redisURL, "run", "http", "--repeat", fmt.Sprint(n), "--deadline", "1h", "--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, service.URL))
	eventually(t, long, func() bool {
		shown := producer(t, redisURL, "lane", lane) // status 2 while there is none of that name
		return shown.code == 0 && strings.Contains(shown.stdout, "asked to wait")
	}, "the lane is paused")
	eventually(t, long, func() bool { return s.in.Load() == 0 }, "what was in flight is answered")
	before := s.ok.Load()
	time.Sleep(2 * time.Second)
	if asked := s.ok.Load() - before; asked > 0 || before > 10 {
		t.Errorf("%d calls before the pause, %d in it", before, asked)
	}
	producer(t, redisURL, "lane", lane, "--reset").exits(t, 0)
	// The one that was refused would have come after the batch's deadline.
	expired := 0
	for _, o := range bySeq(t, p.wait().exits(t, 1).outcomes(t), n) {
		switch {
		case o.Class == batch.Expired:
			expired++
		case o.State != batch.OK:
			t.Errorf("seq %d: %s %s: %s", o.Seq, o.State, o.Class, o.Error)
		}
	}
	if expired != 1 {
		t.Errorf("%d have expired", expired)
	}
}
