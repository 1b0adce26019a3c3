package integration_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Row "an endless Fibonacci generator, consumer stops when it has had enough".
func TestEndlessBatchEndsWithItsReader(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		url := conntest.Server(t).URL()
		startWorker(t, url)
		endsWithItsReader(t, "--redis="+url)
		s := status(t, url, "")
		s.addsUp(t)
		t.Logf("batch is %s: read %d = ok %d + failed %d + cancelled %d", s.State, s.Read, s.OK, s.Failed, s.Cancelled)
		if s.State != string(batch.GivenUp) || s.OK < 30 {
			t.Errorf("status %+v", s)
		}
		if n := tasksOf(t, redisOf(t, url), "fibonacci"); n != 0 {
			t.Errorf("%d tasks are left in Redis", n)
		}
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		endsWithItsReader(t, "")
	})
}

func endsWithItsReader(t *testing.T, redis string) {
	t.Helper()
	script := fmt.Sprintf(`{ %s %s run fibonacci --repeat 1000000000; echo "exit status $?" >&2; } | head -n 30`,
		filepath.Join(binDir, "producer"), redis)
	r := start(t, exec.Command("sh", "-c", script)).wait().exits(t, 0)
	t.Logf("30 of a billion took %v; %s", r.took.Round(time.Millisecond), r.summaryLine("read"))
	if r.took > 10*time.Second {
		t.Errorf("it took %v", r.took)
	}
	all := r.outcomes(t)
	if len(all) != 30 {
		t.Errorf("%d lines, want 30", len(all))
	}
	for _, o := range all {
		var m map[string]json.Number
		if err := json.Unmarshal(o.Result, &m); err != nil || len(m) != 1 {
			t.Errorf("seq %d: %s", o.Seq, o.Result)
		}
	}
	if got := r.summaryLine("exit status"); got != "exit status 0" {
		t.Errorf("the producer left with %s:\n%s", got, r.stderr)
	}
}

// A worker told to stop finishes what it runs; another does the rest.
func TestSIGTERMLetsRunningTasksFinish(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	first := startWorker(t, url, "--concurrency", "5", "--shutdown-timeout", "30s")
	p := startProducer(t, url, "run", "sleep", "--batch", "b", "--repeat", "20", "--payload", sleepOf(2*time.Second))
	awaitActive(t, url, "b", 5)
	first.signal(syscall.SIGTERM)
	stopping := time.Now()
	first.wait().exits(t, 0)
	took := time.Since(stopping)
	s := status(t, url, "b")
	t.Logf("the worker left %.1f s after SIGTERM: ok %d, pending %d, active %d", took.Seconds(), s.OK, s.Pending, s.Active)
	if s.Active != 0 || s.OK < 5 || s.OK+s.Pending != 20 {
		t.Errorf("it left %+v", s)
	}
	if took > 10*time.Second {
		t.Errorf("it took %v to finish tasks of 2 s", took)
	}
	startWorker(t, url)
	all := p.wait().exits(t, 0).outcomes(t)
	allOK(t, all, 20)
	onceEach(t, all)
	status(t, url, "b").addsUp(t)
}

// What does not finish within --shutdown-timeout goes back at once: no waiting
// for the rescue, and no attempt is spent.
func TestSIGTERMGivesLongTasksBack(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	first := startWorker(t, url, "--concurrency", "5", "--shutdown-timeout", "500ms")
	p := startProducer(t, url, "run", "sleep", "--batch", "b", "--retries", "0", "--repeat", "8", "--payload", sleepOf(10*time.Second))
	awaitActive(t, url, "b", 5)
	first.signal(syscall.SIGTERM)
	stopping := time.Now()
	first.wait().exits(t, 0)
	took := time.Since(stopping)
	s := status(t, url, "b")
	t.Logf("the worker left %.1f s after SIGTERM: ok %d, pending %d, retry %d, active %d", took.Seconds(), s.OK, s.Pending, s.Retry, s.Active)
	if s.Active != 0 || s.OK != 0 || s.Pending+s.Retry != 8 {
		t.Errorf("it left %+v", s)
	}
	if took > 7*time.Second {
		t.Errorf("it took %v, with --shutdown-timeout 500ms", took)
	}
	second := startWorker(t, url)
	began := time.Now()
	all := p.wait().exits(t, 0).outcomes(t)
	allOK(t, all, 8)
	onceEach(t, all)
	for _, o := range all {
		if !strings.HasSuffix(o.Worker, fmt.Sprintf(":%d", second.pid())) {
			t.Errorf("seq %d was run by %s, want the second worker", o.Seq, o.Worker)
		}
	}
	lines := p.stdout.lineTimes()
	if total := lines[len(lines)-1].Sub(began); total > 16*time.Second { // a rescue takes eight or more, and 10 s the task
		t.Errorf("the last outcome came %v after there was another worker", total)
	}
}

// So it does where Redis stalls for longer than --shutdown-timeout.
func TestSIGTERMGivesTasksBackToARedisThatStalls(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	w := startWorker(t, url, "--concurrency", "5", "--shutdown-timeout", "100ms")
	startProducer(t, url, "enqueue", "sleep", "--batch", "b", "--repeat", "5", "--payload", sleepOf(time.Minute))
	awaitActive(t, url, "b", 5)
	server.Freeze()
	w.signal(syscall.SIGTERM)
	time.Sleep(3 * time.Second) // the fault itself
	server.Thaw()
	w.wait().exits(t, 0)
	if s := status(t, url, "b"); s.Active != 0 || s.Pending+s.Retry != 5 {
		t.Errorf("it left %+v", s)
	}
}

func onceEach(t *testing.T, all []batch.Outcome) {
	t.Helper()
	for _, o := range all {
		if o.Attempts != 1 {
			t.Errorf("seq %d took %d attempts", o.Seq, o.Attempts)
		}
	}
}

// A second signal does not wait for anything.
func TestSecondSIGTERMLeavesAtOnce(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	worker := startWorker(t, url, "--shutdown-timeout", "10m")
	startProducer(t, url, "run", "sleep", "--batch", "b", "--repeat", "3", "--payload", sleepOf(1000*time.Second), "--timeout", "30m")
	awaitActive(t, url, "b", 3)
	worker.signal(syscall.SIGTERM)
	worker.logs("stopping")
	began := time.Now()
	for worker.running() && time.Since(began) < 20*time.Second { // one soon after the first counts as the first
		worker.signal(syscall.SIGTERM)
		time.Sleep(50 * time.Millisecond)
	}
	r := worker.waitAtMost(time.Second).exits(t, 130)
	t.Logf("it left %.1f s after the first signal", time.Since(began).Seconds())
	if !strings.Contains(r.stderr, "second signal, leaving at once") {
		t.Error("it does not say why")
	}
}

// Ctrl-C leaves nothing in Redis, and the same command goes on; so does --limit
// leave nothing.
func TestInterruptedProducerLeavesNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	const n = 3000
	url := conntest.Server(t).URL()
	startWorker(t, url, "--concurrency", "10")
	file := filepath.Join(t.TempDir(), "outcomes.ndjson")
	args := []string{"run", "sleep", "--batch", "b", "--repeat", fmt.Sprint(n), "--payload", sleepOf(20 * time.Millisecond), "--out", file}

	p := startProducer(t, url, args...)
	awaitStanding(t, url, "b", "100 are done", func(s standing) bool { return s.OK >= 100 })
	p.signal(syscall.SIGINT)
	p.wait().exits(t, 130)
	if left := tasksOf(t, redisOf(t, url), "sleep"); left != 0 {
		t.Errorf("%d tasks are left in Redis", left)
	}
	before := status(t, url, "b")
	if before.OK < 100 || before.OK == n {
		t.Fatalf("it was not interrupted in the middle: %+v", before)
	}
	r := producer(t, url, args...).exits(t, 0)
	t.Logf("%d were done at Ctrl-C; then: %s", before.OK, r.summaryLine("read"))
	eachSeqOnce(t, file, n)
	status(t, url, "b").addsUp(t)

	limited := producer(t, url, "run", "fibonacci", "--batch", "few", "--repeat", "1000000000", "--limit", "25").exits(t, 0)
	allOK(t, limited.outcomes(t), 25)
	status(t, url, "few").addsUp(t)
}
