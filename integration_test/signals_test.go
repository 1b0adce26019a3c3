package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Ctrl-C leaves nothing running, and the same command goes on: the outcomes of both
// lives together are those of all tasks, each once.
func TestCtrlCStopsABatchAndTheSameCommandGoesOn(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for _, order := range []string{"--ordered=false", "--ordered"} {
			t.Run(sig.String()+" "+order, func(t *testing.T) {
				t.Parallel()
				const n = 1200
				url := durable(t).URL()
				startWorker(t, url, "--concurrency", "10")
				args := []string{"run", "sleep", "--repeat", strconv.Itoa(n), "--payload", sleepOf(50 * time.Millisecond), order}

				first := startProducer(t, url, args...)
				first.prints(40)
				first.signal(sig)
				r := first.waitAtMost(15*time.Second).exits(t, 130)
				r.says(t, ": interrupted after", "stopped by "+sig.String())
				if strings.Contains(r.stderr, "MISMATCH") {
					t.Errorf("the summary does not add up:\n%s", r.stderr)
				}
				s := status(t, url, "")
				if s.inRedis() != 0 || s.OK >= n {
					t.Errorf("the batch is %+v", s)
				}
				if left := tasksOf(t, redisOf(t, url), "sleep"); left != 0 {
					t.Errorf("%d tasks are left in Redis", left)
				}
				again := producer(t, url, args...).exits(t, 0)
				again.says(t, "going on with it, ")
				all := outcomes(t, r.stdout+again.stdout)
				allOK(t, all, n)
				if order == "--ordered" {
					inOrder(t, all)
				}
				status(t, url, "").addsUp(t)
			})
		}
	}
}

// The same with a file.
func TestCtrlCLeavesAFileThatTheSameCommandCompletes(t *testing.T) {
	t.Parallel()
	const n = 1200
	url := durable(t).URL()
	startWorker(t, url, "--concurrency", "10")
	out := filepath.Join(t.TempDir(), "out.ndjson")
	args := []string{"run", "sleep", "--batch", "b", "--repeat", strconv.Itoa(n), "--payload", sleepOf(50 * time.Millisecond), "--out", out}
	for range 2 {
		before := linesOf(out)
		p := startProducer(t, url, args...)
		eventually(t, long, func() bool { return linesOf(out) >= before+30 }, "outcomes in the file")
		p.signal(syscall.SIGINT)
		p.waitAtMost(15*time.Second).exits(t, 130)
	}
	producer(t, url, args...).exits(t, 0)
	allOK(t, readOutcomes(t, out), n)
	status(t, url, "b").addsUp(t)
}

// A task that does not heed its context holds a first Ctrl-C up; the second leaves
// at once, and still nothing is lost.
func TestSecondCtrlCLeavesAtOnce(t *testing.T) {
	t.Parallel()
	url := durable(t).URL()
	startWorker(t, url, "--concurrency", "10")
	args := []string{"run", "sleep", "--batch", "b", "--repeat", "20", "--payload", `{"task_number":{n},"seconds":6,"fail":"hang"}`}
	p := startProducer(t, url, args...)
	awaitActive(t, url, "b", 10)
	p.signal(syscall.SIGINT)
	began := time.Now()
	for p.running() && time.Since(began) < 5*time.Second { // one soon after the first counts as the first
		time.Sleep(50 * time.Millisecond)
		p.signal(syscall.SIGINT)
	}
	r := p.waitAtMost(time.Second).exits(t, 130)
	r.says(t, "second signal, leaving at once")
	allOK(t, producer(t, url, args...).exits(t, 0).outcomes(t), 20)
	status(t, url, "b").addsUp(t)
}

// Ctrl-C ends a batch whose Redis is away, too; when it is back the same command goes
// on.
func TestCtrlCWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	const n = 3000
	server := durable(t)
	startWorker(t, server.URL(), "--concurrency", "10")
	out := filepath.Join(t.TempDir(), "out.ndjson")
	args := []string{"run", "sleep", "--batch", "b", "--repeat", strconv.Itoa(n), "--payload", sleepOf(20 * time.Millisecond), "--out", out}
	p := startProducer(t, server.URL(), args...)
	eventually(t, long, func() bool { return linesOf(out) >= 50 }, "outcomes in the file")
	server.Kill()
	p.logs("Redis does not answer")
	p.signal(syscall.SIGINT)
	r := p.waitAtMost(20*time.Second).exits(t, 130)
	r.says(t, "stopped by interrupt")
	server.Restart()
	producer(t, server.URL(), args...).exits(t, 0)
	allOK(t, readOutcomes(t, out), n)
	status(t, server.URL(), "b").addsUp(t)
}

// Ctrl-C ends what waits for something else than tasks, too.
func TestCtrlCEndsEveryWait(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := conntest.Server(t)
	gone.Kill()
	idle := conntest.Server(t)
	for _, c := range []struct {
		name  string
		cmd   *exec.Cmd
		begun string // on stderr
	}{
		{"embedded, tasks that sleep", command("producer", "", "run", "sleep", "--repeat", "1000", "--payload", sleepOf(time.Hour), "--timeout", "2h"), "embedded Redis"},
		{"embedded, an endless batch", command("producer", "", "run", "square", "--repeat", "1000000000000", "--out", "/dev/null"), "embedded Redis"},
		{"embedded, a FIFO without a writer", command("producer", "", "run", "square", fifo), "embedded Redis"},
		{"Redis that is not there", command("producer", gone.URL(), "run", "square", "--repeat", "3"), "connection refused"},
		{"a worker, Redis that is not there", command("worker", gone.URL()), "connection refused"},
		{"no workers", command("producer", idle.URL(), "run", "square", "--repeat", "3"), "begun"},
		{"no workers, a window", command("producer", idle.URL(), "run", "square", "--repeat", "30", "--window", "3"), "begun"},
		{"a terminal where nobody types", reading(t, command("producer", idle.URL(), "run", "square")), "begun"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, c.cmd)
			p.logs(c.begun)
			p.signal(syscall.SIGINT)
			r := p.waitAtMost(10*time.Second).exits(t, 130)
			r.says(t, "stopped by interrupt")
			if r.took > 5*time.Second {
				t.Logf("it took %v", r.took)
			}
			r.outcomes(t) // whole lines
		})
	}
}

// reading gives a command a stdin that stays open and says nothing.
func reading(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	cmd.Stdin = r
	return cmd
}
