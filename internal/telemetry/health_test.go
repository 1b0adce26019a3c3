package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
)

// What is served is metrics and health, and nothing that shows or slows the process.
func TestNothingElseIsServed(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	s, err := Serve("127.0.0.1:0", New("v"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/": 404, "/debug/pprof/": 404, "/debug/pprof/profile": 404, "/debug/vars": 404, "/metrics/../debug/pprof/": 404} {
		if status, _ := get(t, s, path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// Who is alive needs not be ready; the reasons are in the body.
func TestHealthHasItsReasons(t *testing.T) {
	var worker, slots error
	server := conntest.Server(t)
	rdb := server.Client()
	defer http.DefaultClient.CloseIdleConnections()
	s, err := Serve("127.0.0.1:0", New("v"),
		Reaches(func(ctx context.Context) error { return rdb.Ping(ctx).Err() }),
		Check{Name: "worker", Ask: func(context.Context) error { return worker }},
		Check{Name: "slots", Vital: true, Ask: func(context.Context) error { return slots }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		name         string
		fault        func()
		alive, ready int
		says         string
	}{
		{"all is well", func() {}, 200, 200, "redis: ok\nworker: ok\nslots: ok\nok\n"},
		{"draining", func() { worker = errors.New("stopping") }, 200, 503, "worker: stopping\n"},
		{"stuck", func() { worker, slots = nil, errors.New("all are held") }, 503, 503, "slots: all are held\n"},
		{"frozen", func() { slots = nil; server.Freeze() }, 200, 503, "redis: it does not answer: "},
		{"thawed", server.Thaw, 200, 200, "redis: ok\n"},
		{"dead", server.Kill, 200, 503, "redis: it does not answer: "},
	} {
		c.fault()
		var alive, ready int
		var body string
		began := time.Now()
		conntest.Eventually(t, 10*time.Second, c.name, func(context.Context) bool { // a thawed Redis has answers to give first
			alive, _ = get(t, s, "/healthz")
			began = time.Now()
			ready, body = get(t, s, "/readyz")
			return alive == c.alive && ready == c.ready
		})
		if !strings.Contains(body, c.says) {
			t.Errorf("%s: the body is %q", c.name, body)
		}
		if took := time.Since(began); took > checkIn+5*time.Second { // on a busy machine
			t.Errorf("%s: the answer took %v", c.name, took)
		}
		_, metrics := get(t, s, "/metrics")
		want := `weir_health{check="redis"} 1`
		if strings.HasPrefix(c.says, "redis: it") {
			want = `weir_health{check="redis"} 0`
		}
		if !strings.Contains(metrics, want) {
			t.Errorf("%s: there is no %s", c.name, want)
		}
	}
}

// Until Redis has been reached the process lives, is not ready, and says why; then other
// checks say how it is, and there is what was not there to serve before.
func TestHealthBeforeRedisIsReached(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	var connecting Connecting
	m := New("v")
	s, err := Serve("127.0.0.1:0", m, connecting.Check())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	expect := func(path string, status int, says string) {
		t.Helper()
		if got, body := get(t, s, path); got != status || !strings.Contains(body, says) {
			t.Errorf("%s: %d, %q; want %d, %q", path, got, body, status, says)
		}
	}
	expect("/readyz", 503, "redis: Redis is not reachable: it has not answered yet\n")
	connecting.Failed(errors.New("connection refused"), time.Second)
	expect("/readyz", 503, "redis: Redis is not reachable: connection refused\n")
	expect("/healthz", 200, "ok\n")
	expect("/metrics", 200, `weir_health{check="redis"} 0`)
	expect("/autoscale", 404, "")

	m.Autoscale(func(context.Context) (*lane.Signal, error) { return &lane.Signal{Wanted: 7}, nil })
	s.Check(Reaches(func(context.Context) error { return nil }), Check{Name: "worker", Ask: func(context.Context) error { return nil }})
	expect("/readyz", 200, "redis: ok\nworker: ok\nok\n")
	expect("/metrics", 200, `weir_health{check="redis"} 1`)
	expect("/autoscale", 200, "7")
}

func get(t *testing.T, s *Server, path string) (status int, body string) {
	t.Helper()
	r, err := http.Get("http://" + s.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}
