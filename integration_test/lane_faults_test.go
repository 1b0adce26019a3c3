package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// faulty is a service that four workers call, and to which, or to whose callers, something
// happens.
type faulty struct {
	t       *testing.T
	service *narrow
	redis   *conntest.RealServer
	workers []*proc
}

const (
	faultyCapacity = 20
	faultyTasks    = 4000
)

func newFaulty(t *testing.T) *faulty {
	return &faulty{t: t, service: newNarrow(t, faultyCapacity), redis: durable(t)}
}

// isNotFlooded does harm when a quarter of the tasks is done, waits for their end, and
// says what the service saw of it.
func (f *faulty) isNotFlooded(harm func(), end func()) {
	f.t.Helper()
	s := f.service
	eventually(f.t, long, func() bool { return s.ok.Load() > faultyTasks/4 }, "a quarter is done, and the limit found")
	refused := s.refused.Load()
	s.peak.Store(0)
	harm()
	done, mended := s.ok.Load(), time.Now()
	eventually(f.t, long, func() bool { return s.ok.Load() >= min(done+200, faultyTasks) }, "work goes on")
	again := time.Since(mended)
	end()
	refused = s.refused.Load() - refused
	show(f.t, "at most %d in flight on a capacity of %d, %d refused, 200 more done after %.1f s", s.peak.Load(), faultyCapacity, refused, again.Seconds())
	if s.peak.Load() > 2*faultyCapacity || refused > faultyTasks/20 {
		f.t.Errorf("at most %d in flight, %d refused", s.peak.Load(), refused)
	}
}

// Whatever happens to those who keep a lane's limit, and whatever its service says, it is not
// flooded, work goes on, and every task has its outcome.
func TestAServiceIsNotFloodedByFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		expired int
		harm    func(f *faulty)
	}{
		{"half of the workers killed", 0, func(f *faulty) {
			for _, w := range f.workers[:2] {
				w.kill()
			}
		}},
		{"Redis frozen for 10 s", 0, func(f *faulty) {
			f.redis.Freeze()
			time.Sleep(10 * time.Second) // the fault itself
			f.redis.Thaw()
		}},
		{"Redis killed and started after 10 s", 0, func(f *faulty) {
			f.redis.Kill()
			time.Sleep(10 * time.Second)
			f.redis.Restart()
		}},
		{"the lane's state deleted, ten times", 0, func(f *faulty) {
			lane := f.service.lane(f.t)
			for range 10 {
				keys := []string{"weir:{" + lane + "}:flow", "weir:{" + lane + "}:flow:v"}
				eventually(f.t, long, func() bool {
					gone, err := f.redis.Client().Del(f.t.Context(), keys...).Result()
					must(f.t, err)
					return gone > 0
				}, "there is a state to delete")
				time.Sleep(700 * time.Millisecond)
			}
		}},
		{"one answer in 20 has nonsense in Retry-After", 0, func(f *faulty) {
			var n atomic.Int64
			f.service.says(func(w http.ResponseWriter) bool {
				i := int(n.Add(1))
				if i%20 > 0 {
					return false
				}
				talkNonsense(w, i/20)
				return true
			})
		}},
		{"Retry-After of ten years, and the operator's reset", 1, func(f *faulty) {
			f.service.says(onceTenYears())
			awaitPause(f.t, f.redis.URL(), f.service)
			producer(f.t, f.redis.URL(), "lane", f.service.lane(f.t), "--reset").exits(f.t, 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			for range 4 {
				f.workers = append(f.workers, startWorker(t, f.redis.URL(), "--concurrency", "100"))
			}
			p := startProducer(t, f.redis.URL(), "run", "http", "--repeat", fmt.Sprint(faultyTasks), "--window", "1000",
				"--retries", "50", "--deadline", "1h", "--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, f.service.URL))
			f.isNotFlooded(func() { c.harm(f) }, func() {
				allOKBut(t, p.wait().exits(t, c.expired).outcomes(t), faultyTasks, c.expired)
			})
		})
	}
}

// allOKBut checks that of n tasks so many have missed their deadline, and all others are ok.
func allOKBut(t *testing.T, all []batch.Outcome, n, expired int) {
	t.Helper()
	late := 0
	for seq, o := range bySeq(t, all, n) {
		switch {
		case o.Class == batch.Expired:
			late++
		case o.State != batch.OK:
			t.Errorf("seq %d: %s %s: %s", seq, o.State, o.Class, o.Error)
		}
	}
	if late != expired {
		t.Errorf("%d have expired, want %d", late, expired)
	}
}

// nonsense may stand in Retry-After.
var nonsense = []string{
	"-7", "-999999999999999999999", "7.5", "1e9", "0x10", "soon", "NaN", "", "٣", strings.Repeat("x", 60_000),
	"Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 99 Jan 2026 03:04:05 GMT",
}

// talkNonsense refuses with the i-th nonsense.
func talkNonsense(w http.ResponseWriter, i int) {
	w.Header().Set("Retry-After", nonsense[i%len(nonsense)])
	w.WriteHeader([]int{http.StatusServiceUnavailable, http.StatusTooManyRequests}[i/len(nonsense)%2])
}

// onceTenYears refuses one call, for ten years.
func onceTenYears() func(http.ResponseWriter) bool {
	var said atomic.Bool
	return func(w http.ResponseWriter) bool {
		if said.Swap(true) {
			return false
		}
		w.Header().Set("Retry-After", "315360000")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
}

// awaitPause waits until the service's lane is paused by what the service said, and nothing in flight.
func awaitPause(t *testing.T, redisURL string, s *narrow) {
	t.Helper()
	eventually(t, long, func() bool {
		shown := producer(t, redisURL, "lane", s.lane(t)) // status 2 while there is none of that name
		return shown.code == 0 && strings.Contains(shown.stdout, "asked to wait")
	}, "the lane is paused")
	eventually(t, long, func() bool { return s.in.Load() == 0 }, "what was in flight is answered")
}

// A service that says nonsense about when to come back is asked again as if it had said nothing.
func TestNonsenseInRetryAfterIsNoPause(t *testing.T) {
	t.Parallel()
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
		talkNonsense(w, i/every)
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
	s.says(onceTenYears())
	redisURL := conntest.Server(t).URL()
	startWorker(t, redisURL)
	p := startProducer(t, redisURL, "run", "http", "--repeat", fmt.Sprint(n), "--deadline", "1h", "--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, s.URL))
	awaitPause(t, redisURL, s)
	before := s.ok.Load()
	time.Sleep(2 * time.Second)
	if asked := s.ok.Load() - before; asked > 0 || before > 10 {
		t.Errorf("%d calls before the pause, %d in it", before, asked)
	}
	producer(t, redisURL, "lane", s.lane(t), "--reset").exits(t, 0)
	// The one that was refused would have come after the batch's deadline.
	allOKBut(t, p.wait().exits(t, 1).outcomes(t), n, 1)
}
