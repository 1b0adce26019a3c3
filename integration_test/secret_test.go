package integration_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// monitor collects every command that a Redis gets, those of scripts included.
func monitor(t *testing.T, rdb redis.UniversalClient) (text func() string) {
	t.Helper()
	conn, err := net.Dial("tcp", rdb.(*redis.Client).Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprint(conn, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all strings.Builder
	lines := bufio.NewReader(conn)
	if first, err := lines.ReadString('\n'); err != nil || first != "+OK\r\n" {
		t.Fatalf("MONITOR: %q, %v", first, err)
	}
	go func() {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			mu.Lock()
			all.WriteString(line)
			mu.Unlock()
		}
	}()
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}

// dump is all that a Redis holds, as text.
func dump(t *testing.T, rdb redis.UniversalClient) string {
	t.Helper()
	ctx := t.Context()
	var all strings.Builder
	for _, key := range rdb.Keys(ctx, "*").Val() {
		fmt.Fprintln(&all, key, rdb.Get(ctx, key).Val(), rdb.HGetAll(ctx, key).Val(), rdb.LRange(ctx, key, 0, -1).Val(),
			rdb.SMembers(ctx, key).Val(), rdb.ZRange(ctx, key, 0, -1).Val(), rdb.XRange(ctx, key, "-", "+").Val())
	}
	return all.String()
}

// TestASecretThatIsReferredToIsNowhere: not in logs, metrics, traces, the web UI, outcomes,
// outcome files, nor in anything that Redis ever got; though services answer with it, and commands print it
// and fail.
func TestASecretThatIsReferredToIsNowhere(t *testing.T) {
	t.Parallel()
	const inEnv, inFile, plain = "canary-of-the-environment", "canary-of-the-file", "marker-in-plain-text"
	var mu sync.Mutex
	arrived := map[string]int{}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		arrived[r.Header.Get("Authorization")+" "+r.Header.Get("X-Key")]++
		mu.Unlock()
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		if r.URL.Path == "/fails" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, r.Header)
	}))
	defer service.Close()
	dir := t.TempDir()
	file, complain := filepath.Join(dir, "secret"), filepath.Join(dir, "complain")
	for path, text := range map[string]string{file: inFile + "\n", complain: "#!/bin/sh\necho \"out $1 $TOKEN\"; echo \"err $1 $TOKEN\" >&2; exit $2\n"} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}

	server := conntest.Server(t)
	commands := monitor(t, server.Client())
	cmd := command("worker", server.URL(), "--allow-env", "CANARY", "--allow-file", dir+"/sec*", "--http", "127.0.0.1:0",
		"--log-level", "debug", "--allow-exec", "complain="+complain)
	traces := startReceiver(t)
	cmd.Env = []string{"CANARY=" + inEnv, "CANARY_OTHER=" + inEnv, "OTEL_EXPORTER_OTLP_ENDPOINT=" + traces.URL, "OTEL_BSP_SCHEDULE_DELAY=100"}
	worker := start(t, cmd)
	worker.logs("worker started")

	ref := fmt.Sprintf(`{"$env":"CANARY"},"X-Key":{"$file":%q},"X-Plain":%q`, file, plain)
	requests := fmt.Sprintf(`{"url":"%[1]s/","want_headers":["X-Echo"],"headers":{"Authorization":%[2]s}}
{"url":"%[1]s/fails","headers":{"Authorization":%[2]s}}
{"url":"%[1]s/","headers":{"Authorization":{"$env":"CANARY_OTHER"}}}
{"url":"%[1]s/","headers":{"Authorization":{"$file":"/etc/passwd"}}}
{"url":"%[1]s/","headers":{"Accept\u0020":{"$env":"CANARY"}}}
`, service.URL, ref)
	out := filepath.Join(dir, "out")
	flags := []string{"--format", "ndjson", "--retries", "2", "--backoff", "10ms", "--with-payload", "--out", out, "--log-level", "debug"}
	r := producerReading(t, requests, server.URL(), append([]string{"run", "http", "--batch", "requests"}, flags...)...).exits(t, 1)
	all := bySeq(t, readOutcomes(t, out), 5)
	for seq, want := range map[int64]batch.Class{0: "", 1: batch.Exhausted, 2: batch.Rejected, 3: batch.Rejected, 4: batch.Invalid} {
		if all[seq].Class != want {
			t.Errorf("got %+v, want class %q", all[seq], want)
		}
	}
	var answer struct{ Headers map[string]string }
	if err := json.Unmarshal(all[0].Result, &answer); err != nil || answer.Headers["X-Echo"] != "***" {
		t.Errorf("the service's echo is %s, %v", all[0].Result, err)
	}
	calls := fmt.Sprintf(`{"command":"complain","args":[{"$env":"CANARY"},"0"],"env":{"TOKEN":{"$file":%[1]q}}}
{"command":"complain","args":[{"$env":"CANARY"},"1"],"env":{"TOKEN":{"$file":%[1]q}}}
`, file)
	e := producerReading(t, calls, server.URL(), "run", "exec", "--batch", "calls", "--format", "ndjson", "--retries", "1", "--backoff", "10ms", "--with-payload").exits(t, 1)
	if o := bySeq(t, e.outcomes(t), 2)[0]; !strings.Contains(string(o.Result), "out *** ***") {
		t.Errorf("the command's output is %s", o.Result)
	}
	failures := producer(t, server.URL(), "failures", "requests").exits(t, 0)
	web := startProducer(t, server.URL(), "ui", "--addr", "127.0.0.1:0")
	web.logs("web UI on ")
	at := regexp.MustCompile(`web UI on (\S+)`).FindStringSubmatch(web.stderr.String())[1]
	var pages strings.Builder
	for _, path := range []string{"/api/batches", "/api/batches/requests", "/api/batches/requests/failures", "/api/batches/requests/tasks/0", "/api/batches/requests/tasks/1",
		"/api/batches/calls/failures", "/api/batches/calls/tasks/0", "/api/lanes", "/api/workers", "/api/redis", "/asynq/api/queues"} {
		pages.WriteString(get(t, at+path))
	}
	eventually(t, long, func() bool { return traces.has(`"settle`) }, "traces arrive")

	mu.Lock()
	if n := arrived[inEnv+" "+inFile]; n != 4 || len(arrived) != 1 { // and 2 retries
		t.Errorf("the service got %v", arrived)
	}
	mu.Unlock()
	file1, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	addr := metricsAddr(t, worker)
	places := map[string]string{
		"worker's log": worker.stderr.String() + worker.stdout.String(), "producer's output": r.stdout + r.stderr + e.stdout + e.stderr,
		"failures": failures.stdout + failures.stderr, "outcome file": string(file1), "metrics": get(t, "http://"+addr+"/metrics"),
		"what Redis was sent": commands(), "what Redis holds": dump(t, server.Client()),
		"web UI": pages.String() + web.stderr.String(), "traces": traces.all(),
		"types": producer(t, server.URL(), "status", "--json").stdout,
	}
	for name, text := range places {
		for _, secret := range []string{inEnv, inFile, inEnv[:12], inFile[3:15]} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s has %q: ...%s", name, secret, text[max(0, at-100):min(len(text), at+100)])
			}
		}
	}
	for _, name := range []string{"what Redis was sent", "what Redis holds", "outcome file", "web UI"} { // or they would not be searched
		if !strings.Contains(places[name], plain) {
			t.Errorf("%s lacks what is no secret", name)
		}
	}
}

// TestSecretsInPayloadsAreNotShown: where one is written out all the same, Redis has it,
// but it is not printed.
func TestSecretsInPayloadsAreNotShown(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	var found atomic.Bool
	got := make(chan string, 10)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !found.Load() {
			http.NotFound(w, r)
			return
		}
		got <- r.Header.Get("Authorization")
	}))
	defer service.Close()
	startWorker(t, server.URL())
	payload := fmt.Sprintf(`{"url":"%s/{n}","headers":{"Authorization":"Bearer canary","X-Api-Key":"canary","Accept":"shown"}}`, service.URL)
	r := producer(t, server.URL(), "run", "http", "--batch", "b", "--repeat", "2", "--payload", payload, "--with-payload").exits(t, 1)
	bad := producer(t, server.URL(), "run", "http", "--payload", strings.Replace(payload, `"url"`, `"uri"`, 1)).exits(t, 2)
	failures := producer(t, server.URL(), "failures", "b").exits(t, 0)
	status := producer(t, server.URL(), "status", "b").exits(t, 0)
	for what, text := range map[string]string{
		"run": r.stdout + r.stderr, "a wrong payload": bad.stderr, "failures": failures.stdout, "status": status.stdout + status.stderr,
	} {
		if strings.Contains(text, "canary") {
			t.Errorf("%s prints it:\n%s", what, text)
		}
	}
	for _, text := range []string{r.stdout, failures.stdout} {
		if !strings.Contains(text, `"Accept":"shown"`) {
			t.Errorf("what is no secret is not shown:\n%s", text)
		}
	}
	// Retry needs it whole.
	found.Store(true)
	producer(t, server.URL(), "retry", "b").exits(t, 0)
	if auth := <-got; auth != "Bearer canary" {
		t.Errorf("retry has sent %q", auth)
	}
}
