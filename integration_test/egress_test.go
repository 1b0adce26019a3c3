package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// TestAWorkerReachesTheInternetAlone: without a word of its operator's a worker connects to
// nothing on its own host, Redis included, and says what would allow it; with one it does.
func TestAWorkerReachesTheInternetAlone(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	var asked atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer service.Close()

	plain := startWorkerAsIs(t, url)
	input := strings.Join([]string{service.URL, strings.Replace(url, "redis://", "http://", 1), "http://169.254.169.254/latest/"}, "\n")
	r := producerReading(t, input, url, "run", "http", "--retries", "5", "--ordered").exits(t, 1)
	for _, o := range r.outcomes(t) {
		if o.State != batch.Failed || o.Class != batch.Rejected || o.Attempts != 1 || !strings.Contains(o.Error, "--allow-net") {
			t.Errorf("got %+v", o)
		}
	}
	r = producerReading(t, "127.0.0.1", url, "run", "ping").exits(t, 1)
	if o := r.outcomes(t)[0]; o.Class != batch.Rejected {
		t.Errorf("ping: got %+v", o)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the service was asked %d times", n)
	}
	plain.kill()

	// Nothing is sent: the port is judged before the connection is made.
	elsewhere := startWorkerAsIs(t, url, "--allow-port", "8080,8443")
	r = producerReading(t, "http://8.8.8.8:22/", url, "run", "http").exits(t, 1)
	if o := r.outcomes(t)[0]; o.Class != batch.Rejected || o.Attempts != 1 || !strings.Contains(o.Error, "8.8.8.8:22 is denied: port 22 is none of [80 443 8080 8443]; a worker with --allow-port 22,") {
		t.Errorf("another port: got %+v", o)
	}
	elsewhere.kill()

	startWorkerAsIs(t, url, "--allow-net", "127.0.0.0/8,::1", "--deny-net", "127.0.0.9")
	producerReading(t, service.URL, url, "run", "http").exits(t, 0)
	r = producerReading(t, "http://127.0.0.9/", url, "run", "http").exits(t, 1)
	if o := r.outcomes(t)[0]; o.Class != batch.Rejected || !strings.Contains(o.Error, "--deny-net 127.0.0.9/32") {
		t.Errorf("denied: got %+v", o)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the service was asked %d times, want 1", n)
	}
}

// startWorkerAsIs starts a worker with no flag but these.
func startWorkerAsIs(t *testing.T, url string, args ...string) *proc {
	t.Helper()
	cmd := command("worker", url)
	cmd.Args = append([]string{filepath.Join(binDir, "worker"), fmt.Sprintf("--redis=%s", url)}, args...)
	p := start(t, cmd)
	p.logs("worker started")
	return p
}
