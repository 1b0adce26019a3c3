package integration_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

// wantNoCanary wants each line of a log to be a JSON object without the canary.
func wantNoCanary(t *testing.T, p *proc) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(p.stderr.String()) {
		var parsed map[string]any
		if strings.Contains(line, "canary") {
			t.Errorf("%s logs it: %s", p.name, line)
		}
		if p.name == "worker" {
			if err := json.Unmarshal([]byte(line), &parsed); err != nil {
				t.Errorf("no JSON: %s", line)
			}
		}
		lines = append(lines, parsed)
	}
	return lines
}

// Whatever goes wrong with tasks: their payloads and headers are in no line of a log, and
// each line about one says which it is.
func TestPayloadsAreNotLogged(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/hang") {
			_, _ = io.Copy(io.Discard, r.Body) // or the server does not see its client go
			<-r.Context().Done()
			return
		}
		http.Error(w, "canary", 500)
	}))
	defer service.Close()
	worker := startWorker(t, server.URL(), "--log-level", "debug", "--name", "w")
	host := strings.TrimPrefix(service.URL, "http://")
	// A task that no worker can read, with what looks like a payload in it.
	c := server.Client()
	lane := "lane-x"
	if err := c.HSet(t.Context(), queue.TaskPrefix(lane)+"g:1", "msg", "\x0a\xffcanary").Err(); err != nil {
		t.Fatal(err)
	}
	c.LPush(t.Context(), queue.Pending(lane), "g:1")
	c.SAdd(t.Context(), "asynq:queues", lane)
	payload := func(path string) string {
		return `{"url":"http://canary-user:canary@` + host + path + `?q=canary","headers":{"X-Mine":"canary"},"body":"canary"}`
	}
	var all []*proc
	for _, args := range [][]string{
		{"--payload", payload("/x"), "--repeat", "20", "--retries", "1", "--backoff", "1ms"},
		{"--payload", payload("/hang"), "--repeat", "2", "--retries", "0", "--timeout", "100ms"},
		{"--payload", strings.ReplaceAll(payload("/x"), host, "127.0.0.1:1"), "--retries", "1", "--backoff", "1ms"},
	} {
		p := startProducer(t, server.URL(), append([]string{"run", "http", "--log-level", "debug", "--quiet"}, args...)...)
		p.wait().exits(t, 1)
		all = append(all, p)
	}
	producer(t, server.URL(), "run", "sleep", "--batch", "p", "--repeat", "100", "--payload", `{"task_number":{n},"seconds":0,"fail":"panic"}`, "--retries", "0", "--quiet").exits(t, 1)
	hung := startProducer(t, server.URL(), "run", "sleep", "--batch", "h", "--payload", `{"task_number":1,"seconds":2,"fail":"hang"}`, "--retries", "0", "--timeout", "100ms", "--quiet")
	worker.logs("keeps its slot until it returns")
	hung.wait().exits(t, 1)
	worker.logs("is set aside")
	worker.logs(`"repeated":`)
	worker.signal(15)
	worker.waitAtMost(30 * time.Second)
	panics, about := 0, 0
	for _, line := range wantNoCanary(t, worker) {
		switch line["msg"] {
		case "a handler panicked":
			if n, ok := line["repeated"].(float64); ok {
				panics += int(n)
			}
			panics++
			fallthrough
		case "a handler ignores that its time is over; it keeps its slot until it returns":
			about++
			for _, key := range []string{"batch", "seq", "lane", "attempt"} {
				if line[key] == nil {
					t.Errorf("without %s: %v", key, line)
				}
			}
		}
	}
	if panics != 100 || about < 5 || about > 20 {
		t.Errorf("%d panics of 100 are told, in %d lines", panics, about)
	}
	for _, p := range all {
		wantNoCanary(t, p)
	}
}
