package integration_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
)

// rescueTime is how long a task may be stuck that a lost reply has left with nobody.
const rescueTime = 25 * time.Second // replies of the one that rescues are lost too

// Of every script, asynq's and ours, the reply of the first call is lost, the third
// is not sent, and so on: no attempt is spent, nothing is counted twice, and no task
// is stuck for longer than a rescue takes.
func TestALostReplyOfAnyScriptCostsNoAttempt(t *testing.T) {
	t.Parallel()
	const n = 3000
	server := durable(t)
	early := func(calls ...int) func(int) bool { return func(call int) bool { return slices.Contains(calls, call) } }
	bad := newForgetful(t, server.Addr(), early(1, 6, 20), early(3, 8, 30))
	worker := startWorker(t, bad.url, "--concurrency", "20", "--shutdown-timeout", "100ms")
	var in strings.Builder
	for i := range n {
		fail := ""
		switch i % 50 {
		case 10:
			fail = "expected"
		case 20:
			fail = "unexpected"
		}
		fmt.Fprintf(&in, "{\"task_number\":%d,\"seconds\":0.05,\"fail\":%q}\n", i, fail)
	}
	out := filepath.Join(t.TempDir(), "out.ndjson")
	run := func() *proc {
		return startReading(t, in.String(), bad.url, "run", "sleep", "--batch", "b", "--format", "ndjson", "--window", "100",
			"--retries", "1", "--backoff", "10ms", "--out", out)
	}
	// Stopped once, for the scripts of stopping, and with a worker that gives back.
	p := run()
	awaitStanding(t, server.URL(), "b", "some are done", func(s standing) bool { return s.OK >= 100 })
	p.signal(syscall.SIGINT)
	p.waitAtMost(15*time.Second).exits(t, 130)
	p = run()
	awaitStanding(t, server.URL(), "b", "more are done", func(s standing) bool { return s.OK >= 300 })
	worker.signal(syscall.SIGTERM)
	if r := worker.wait(); r.code != 0 && r.code != 130 { // 130: with replies lost it was not quick enough
		t.Errorf("the worker ends with status %d: %s", r.code, r.stderr)
	}
	startWorker(t, bad.url, "--concurrency", "20")
	awaitStanding(t, server.URL(), "b", "none waits for its turn", func(s standing) bool { return s.Read == n && s.Pending == 0 })
	idle := time.Now()
	p.wait().exits(t, 1)
	end := time.Now()

	lines, scripts := bad.table()
	last := idle // that a task may have been left with nobody, or had no turn
	for _, name := range []string{"take", "begin", "record"} {
		if at := scripts[name].last; at.After(last) {
			last = at
		}
	}
	t.Logf("the last outcome came %.1f s after a task's last lost reply, and after the last task's turn\n%s", end.Sub(last).Seconds(), strings.Join(lines, "\n"))
	for name, s := range scripts {
		if s.after == 0 {
			t.Errorf("no reply of %s was lost", name)
		}
	}
	for _, name := range []string{"create", "begin", "record", "checkpoint", "seal", "lease", "release", "trim", "withdraw",
		"giveback", "enqueue", "take", "done"} {
		if scripts[name].after == 0 {
			t.Errorf("%s was not called", name)
		}
	}
	if stuck := end.Sub(last); stuck > rescueTime {
		t.Errorf("a task was stuck for %v", stuck)
	}
	for seq, o := range bySeq(t, readOutcomes(t, out), n) {
		want, attempts := batch.OK, 1
		switch seq % 50 {
		case 10:
			want = batch.Failed
		case 20:
			want, attempts = batch.Failed, 2
		}
		if o.State != want || o.Attempts != attempts {
			t.Errorf("seq %d: %s after %d attempts, want %s after %d: %s", seq, o.State, o.Attempts, want, attempts, o.Error)
		}
	}
	status(t, server.URL(), "b").addsUp(t)
}
