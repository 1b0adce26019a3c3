package integration_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// expectation is what must become of a task.
type expectation struct {
	payload  string
	state    batch.State
	class    batch.Class
	attempts int
	text     string // in the error
}

func checkExpectations(t *testing.T, r result, want []expectation) {
	t.Helper()
	for seq, o := range bySeq(t, r.outcomes(t), len(want)) {
		w := want[seq]
		if o.State != w.state || o.Class != w.class || o.Attempts != w.attempts || !strings.Contains(o.Error, w.text) {
			t.Errorf("%s became %s %q after %d attempts (%s), want %s %q after %d (%s)",
				w.payload, o.State, o.Class, o.Attempts, o.Error, w.state, w.class, w.attempts, w.text)
		}
		t.Logf("%-48s %-6s %-9s attempts %d, %7.1f ms %s", w.payload, o.State, o.Class, o.Attempts, o.MS, o.Error)
	}
}

func payloads(want []expectation) string {
	var b strings.Builder
	for _, w := range want {
		b.WriteString(w.payload + "\n")
	}
	return b.String()
}

// Row "unusual tasks: normal, hung 1000 s, ValueError, ZeroDivisionError, timeout 10 s".
func TestUnusualTasksGetTheirOutcomesAndTheWorkerLives(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	worker := startWorker(t, url, "--concurrency", "10")

	want := []expectation{
		{`{"task_number":0,"seconds":1}`, batch.OK, "", 1, ""},
		{`{"task_number":1,"fail":"hang"}`, batch.Failed, batch.Timeout, 1, "10s"},
		{`{"task_number":2,"seconds":1,"fail":"expected"}`, batch.Failed, batch.Permanent, 1, "expected failure"},
		{`{"task_number":3,"seconds":1,"fail":"unexpected"}`, batch.Failed, batch.Exhausted, 1, "unexpected failure"},
		{`{"task_number":4,"seconds":1,"fail":"panic"}`, batch.Failed, batch.Panic, 1, "panic: runtime error: integer divide by zero"},
		{`{"task_number":5,"seconds":1000}`, batch.Failed, batch.Timeout, 1, "10s"},
	}
	r := producerReading(t, payloads(want), url, "run", "sleep", "--format", "ndjson", "--timeout", "10s", "--retries", "0").exits(t, 1)
	checkExpectations(t, r, want)
	done := r.doneIn(t)
	t.Logf("done in %v", done)
	if done < 10*time.Second || done > 20*time.Second {
		t.Errorf("done in %v, want about 11 s", done)
	}
	status(t, url, "").addsUp(t)

	after := producer(t, url, "run", "square", "--repeat", "100").exits(t, 0)
	allOK(t, after.outcomes(t), 100)
	name := fmt.Sprintf(":%d", worker.pid())
	if got := after.outcomes(t)[0].Worker; !worker.running() || !strings.HasSuffix(got, name) {
		t.Errorf("the next batch was run by %s, not by the same worker %s", got, name)
	}
	// The hung one still runs; the worker does not wait for it.
	worker.signal(syscall.SIGTERM)
	worker.waitAtMost(30*time.Second).exits(t, 0)
}

// Row "unusual tasks", with retries: only what may help is tried again.
func TestOnlyFailuresWorthARetryAreRetried(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	worker := startWorker(t, url, "--concurrency", "10")

	want := []expectation{
		{`{"task_number":0,"seconds":0}`, batch.OK, "", 1, ""},
		{`{"task_number":1,"fail":"hang"}`, batch.Failed, batch.Timeout, 3, "2s"},
		{`{"task_number":2,"fail":"expected"}`, batch.Failed, batch.Permanent, 1, "expected failure"},
		{`{"task_number":3,"fail":"unexpected"}`, batch.Failed, batch.Exhausted, 3, "unexpected failure"},
		{`{"task_number":4,"fail":"panic"}`, batch.Failed, batch.Panic, 3, "divide by zero"},
		{`{"task_number":5,"seconds":1000}`, batch.Failed, batch.Timeout, 3, "2s"},
	}
	r := producerReading(t, payloads(want), url, "run", "sleep", "--format", "ndjson",
		"--timeout", "2s", "--retries", "2", "--backoff", "10ms").exits(t, 1)
	checkExpectations(t, r, want)
	t.Logf("done in %v", r.doneIn(t))
	s := status(t, url, "")
	s.addsUp(t)
	if s.Retries != 8 {
		t.Errorf("%d retries are counted, want 8", s.Retries)
	}
	worker.logs("a handler ignores that its time is over")
}

// Row "unusual tasks", the worst: the worker itself dies.
func TestTasksOfAKilledWorkerAreRunByAnother(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	first := startWorker(t, url)
	p := startProducer(t, url, "run", "sleep", "--batch", "orphans", "--repeat", "10", "--payload", sleepOf(5*time.Second))
	awaitActive(t, url, "orphans", 10)
	killed := time.Now()
	first.signal(syscall.SIGKILL)
	second := startWorker(t, url)
	r := p.wait().exits(t, 0)

	all := r.outcomes(t)
	allOK(t, all, 10)
	for _, o := range all {
		if o.Attempts != 1 || !strings.HasSuffix(o.Worker, fmt.Sprintf(":%d", second.pid())) {
			t.Errorf("seq %d: attempt %d by %s, want 1 by the second worker", o.Seq, o.Attempts, o.Worker)
		}
	}
	lines := p.stdout.lineTimes()
	again := lines[len(lines)-1].Sub(killed) - 5*time.Second
	t.Logf("the last of them ran again %.1f s after the kill", again.Seconds())
	if again > 30*time.Second {
		t.Errorf("the last of them ran again %v after the kill", again)
	}
	status(t, url, "orphans").addsUp(t)
}

// Row "consumers that fail before task_done while producers are blocked on a queue of 1".
func TestFailingTasksDoNotBlockAProducerWithAWindowOfOne(t *testing.T) {
	t.Parallel()
	for _, fail := range []string{"unexpected", "expected", "panic"} {
		for _, retries := range []string{"0", "1"} {
			t.Run(fail+" with retries "+retries, func(t *testing.T) {
				t.Parallel()
				url := conntest.Server(t).URL()
				startWorker(t, url, "--concurrency", "1")
				r := producer(t, url, "run", "sleep", "--repeat", "20", "--window", "1", "--retries", retries, "--backoff", "1ms",
					"--payload", `{"task_number":{n},"fail":"`+fail+`"}`).exits(t, 1)
				for seq, o := range bySeq(t, r.outcomes(t), 20) {
					if o.State != batch.Failed {
						t.Errorf("seq %d: %s", seq, o.State)
					}
				}
				t.Logf("20 failed one by one in %v", r.doneIn(t))
				status(t, url, "").addsUp(t)
			})
		}
	}
}
