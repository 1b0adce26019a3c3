package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
)

// narrow is a service that answers so many at once in 50 ms, and refuses others.
type narrow struct {
	*httptest.Server
	in, peak, ok, refused atomic.Int64

	odd atomic.Pointer[func(http.ResponseWriter) (answered bool)] // if set, before those it would answer
}

func newNarrow(t *testing.T, capacity int64) *narrow {
	s := &narrow{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := s.in.Add(1)
		defer s.in.Add(-1)
		for p := s.peak.Load(); n > p && !s.peak.CompareAndSwap(p, n); p = s.peak.Load() {
		}
		if n > capacity {
			s.refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if odd := s.odd.Load(); odd != nil && (*odd)(w) {
			return
		}
		time.Sleep(50 * time.Millisecond)
		s.ok.Add(1)
	}))
	t.Cleanup(s.Close)
	return s
}

// says has the service say something odd from now on, when it returns true in place of an answer.
func (s *narrow) says(odd func(http.ResponseWriter) (answered bool)) { s.odd.Store(&odd) }

// lane is the name of the service's lane.
func (s *narrow) lane(t *testing.T) string {
	u, err := url.Parse(s.URL)
	must(t, err)
	return u.Hostname() + "_" + u.Port()
}

// Four workers with many times the slots that a service has: its limit is found by all
// together, hardly anything is refused, and nothing fails.
func TestAServiceIsNotFlooded(t *testing.T) {
	t.Parallel()
	const n, capacity = 3000, 20
	s := newNarrow(t, capacity)
	redisURL := conntest.Server(t).URL()
	for range 4 {
		startWorker(t, redisURL, "--concurrency", "100")
	}
	r := producer(t, redisURL, "run", "http", "--repeat", fmt.Sprint(n), "--retries", "10", "--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, s.URL)).exits(t, 0)
	allOK(t, r.outcomes(t), n)
	t.Logf("%d answered, %d refused, at most %d in flight, %.1f s", s.ok.Load(), s.refused.Load(), s.peak.Load(), r.took.Seconds())
	if s.refused.Load() > n/10 || s.peak.Load() > 5*capacity {
		t.Errorf("%d of %d refused, at most %d in flight on a capacity of %d", s.refused.Load(), n, s.peak.Load(), capacity)
	}
	var shown struct {
		Lane     string
		Governed bool
		Limit    int
	}
	for line := range strings.Lines(producer(t, redisURL, "lanes", "--json").exits(t, 0).stdout) {
		must(t, json.Unmarshal([]byte(line), &shown))
	}
	if shown.Lane != s.lane(t) || !shown.Governed || shown.Limit < 4 || shown.Limit > 3*capacity {
		t.Errorf("shown is %+v", shown)
	}
}

// What an operator says of a lane holds everywhere within a second.
func TestAnOperatorsWordHolds(t *testing.T) {
	t.Parallel()
	s := newNarrow(t, 1000)
	redisURL := conntest.Server(t).URL()
	for range 2 {
		startWorker(t, redisURL, "--concurrency", "50")
	}
	startProducer(t, redisURL, "run", "http", "--repeat", "1000000", "--window", "500", "--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, s.URL))
	eventually(t, long, func() bool { return s.ok.Load() > 100 }, "it runs")
	lane := func(args ...string) result {
		t.Helper()
		return producer(t, redisURL, append([]string{"lane", s.lane(t)}, args...)...)
	}
	lane("--pause").exits(t, 0)
	var before int64
	eventually(t, 15*time.Second, func() bool { // a second is promised, of a machine with time for it
		before = s.ok.Load()
		time.Sleep(2 * time.Second)
		return s.ok.Load() == before && s.in.Load() == 0
	}, "no more calls come")
	if out := lane().exits(t, 0).stdout; !strings.Contains(out, "paused by the operator") {
		t.Errorf("shown is %s", out)
	}
	lane("--resume", "--rate", "20/s").exits(t, 0)
	eventually(t, long, func() bool { return s.ok.Load() > before }, "it goes on")
	before, began := s.ok.Load(), time.Now()
	time.Sleep(5 * time.Second)
	if rate := float64(s.ok.Load()-before) / time.Since(began).Seconds(); rate > 40 { // without one, hundreds
		t.Errorf("%.1f calls a second at a rate of 20/s", rate)
	}
	lane("--rate", "fast").exits(t, 2).says(t, `"fast"`)
	lane("--max", "5", "--min", "9").exits(t, 2).says(t, "min 9: above max 5")
	lane("--pause", "--resume").exits(t, 2)
	producer(t, redisURL, "lane", "nobody").exits(t, 2).says(t, "no such lane")
	producer(t, redisURL, "lane", "a:b").exits(t, 2).says(t, "must match")
}

// Of a service that refuses some of what it gets, an operator sees limit, latency and errors, and
// an autoscaler that its lane, not the worker, is what holds.
func TestLanesAreWatched(t *testing.T) {
	t.Parallel()
	s := newNarrow(t, 3)
	url := conntest.Server(t).URL()
	w := startWorker(t, url, "--concurrency", "20", "--http", "127.0.0.1:0")
	startProducer(t, url, "run", "http", "--repeat", "1000000", "--window", "500", "--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, s.URL))
	p := startProducer(t, url, "lanes", "--watch")
	row := `(?m)^` + s.lane(t) + ` +open +1 +1 +\d+ +\d+ +\d+ +\d+ +- +`
	usual, failing := regexp.MustCompile(row+`[\d.]+ x [\d.]+ ms +[\d.]+% +\S`), regexp.MustCompile(row+`.* ([1-9]\d*|0)\.[1-9]% `)
	p.until(p.stdout, func(text string) bool {
		return usual.MatchString(text) && failing.MatchString(text) && strings.Count(text, "LANE ") > 1
	}, "rows with everything")
	p.signal(syscall.SIGINT)
	p.wait().exits(t, 0)

	at := "http://" + metricsAddr(t, w) + "/autoscale"
	eventually(t, long, func() bool { // a signal is kept for five seconds
		var signal lane.Signal
		must(t, json.Unmarshal([]byte(get(t, at)), &signal))
		return signal.Wanted == 1 && signal.Workers == 1 && signal.Slots == 20 && signal.Backlog > 0 && len(signal.Lanes) == 1 && signal.Lanes[0].Lane == s.lane(t)
	}, "one worker is enough, whatever waits")
}

// A lane whose configuration somebody broke is named with what helps, and that helps.
func TestABrokenLaneIsListedWithItsRemedy(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	producer(t, server.URL(), "lane", "fine", "--max", "3").exits(t, 0)
	for _, damage := range []func(){
		func() { must(t, server.Client().HSet(t.Context(), "weir:{broken}:flow:config", "rate", "abc").Err()) },
		func() { must(t, server.Client().Set(t.Context(), "weir:{broken}:flow:config", "abc", 0).Err()) },
	} {
		must(t, server.Client().SAdd(t.Context(), "weir:lanes", "broken").Err())
		damage()
		const remedy = "producer lane broken --max 0"
		list := producer(t, server.URL(), "lanes").exits(t, 0).stdout
		if !strings.Contains(list, "\nfine ") || !strings.Contains(list, "\nbroken") && !strings.HasPrefix(list, "broken") || !strings.Contains(list, remedy) {
			t.Fatal(list)
		}
		if r := producer(t, server.URL(), strings.Fields(remedy)[1:]...); r.code != 0 || !strings.Contains(r.stderr, `lane "broken": nothing is set`) {
			t.Errorf("%+v", r)
		}
		if list := producer(t, server.URL(), "lanes").exits(t, 0).stdout; strings.Contains(list, "broken") {
			t.Error(list)
		}
	}
}
