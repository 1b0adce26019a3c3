package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// durable is a Redis as it should be: it loses nothing that it has answered for.
func durable(t *testing.T) *conntest.RealServer {
	t.Helper()
	return conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
}

// says fails the test when r's stderr lacks one of the words.
func (r result) says(t testing.TB, words ...string) result {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("stderr does not say %q:\n%s", w, tail(r.stderr, 4000))
		}
	}
	return r
}

// readOutcomes reads an outcome file, each seq once.
func readOutcomes(t testing.TB, file string) []batch.Outcome {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes(t, string(text))
}

// linesOf counts the lines of a file, 0 while there is none.
func linesOf(file string) int {
	text, _ := os.ReadFile(file)
	return bytes.Count(text, []byte{'\n'})
}

func inOrder(t testing.TB, all []batch.Outcome) {
	t.Helper()
	if !slices.IsSortedFunc(all, func(a, b batch.Outcome) int { return int(a.Seq - b.Seq) }) {
		t.Error("the outcomes are not in the order of input")
	}
}

// A worker waits for a Redis that is not there yet; a producer gives up soon. Both
// tell address and cause.
func TestARedisThatIsNotThereIsToldOf(t *testing.T) {
	t.Parallel()
	server := durable(t)
	server.Kill()
	missing := "redis at " + server.Addr() + ": connection refused; is redis-server running there?"
	worker := start(t, command("worker", server.URL()))
	worker.logs(missing)
	r := producer(t, server.URL(), "run", "square", "--repeat", "100").exits(t, 3)
	r.says(t, "producer: "+missing)
	if r.stdout != "" || r.took > 15*time.Second {
		t.Errorf("after %v it had printed %q", r.took, r.stdout)
	}
	for range 3 { // it waits for five seconds, which may be too few for Redis to start
		p := startProducer(t, server.URL(), "run", "square", "--repeat", "100")
		p.logs(missing)
		server.Restart()
		if r = p.wait(); r.code == 0 {
			break
		}
		server.Kill()
	}
	allOK(t, r.exits(t, 0).outcomes(t), 100)
}

// A Redis killed in the middle of a batch and started again costs time only: no
// task, no outcome, no attempt, and meanwhile nobody spins.
func TestABatchSurvivesRedisBeingKilled(t *testing.T) {
	t.Parallel()
	const n = 2000
	server := durable(t)
	worker := startWorker(t, server.URL(), "--concurrency", "20")
	p := startProducer(t, server.URL(), "run", "sleep", "--batch", "survivor", "--repeat", strconv.Itoa(n), "--payload", sleepOf(50*time.Millisecond))
	for _, outcomes := range []int{50, 250} {
		p.prints(outcomes)
		server.Kill()
		usedBefore := cpuTime(t, worker) + cpuTime(t, p)
		began := time.Now()
		for time.Since(began) < time.Second { // long enough for a spin to show
			time.Sleep(100 * time.Millisecond)
		}
		if used := cpuTime(t, worker) + cpuTime(t, p) - usedBefore; used > 500*time.Millisecond {
			t.Errorf("worker and producer use %v of CPU in 1 s of waiting for Redis", used)
		}
		server.Restart()
	}
	r := p.wait().exits(t, 0)
	r.says(t, "Redis does not answer; trying again until it does", "redis at "+server.Addr()+": ", "Redis answers again")
	if lines := strings.Count(r.stderr, "Redis does not answer"); lines > 4 {
		t.Errorf("%d lines of log tell that Redis does not answer", lines)
	}
	all := r.outcomes(t)
	allOK(t, all, n)
	onceEach(t, all)
	status(t, server.URL(), "survivor").addsUp(t)
}

// cpuTime is what a process has used; 0 where /proc does not tell.
func cpuTime(t *testing.T, p *proc) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name, which may have spaces
	fields := strings.Fields(rest)
	if err != nil || len(fields) < 13 {
		t.Fatalf("stat %q: %v", text, err)
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// A Redis that comes back empty is not waited for: nobody can know what became of
// the batch.
func TestARedisThatHasLostTheBatchIsAnError(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t) // keeps nothing
	startWorker(t, server.URL(), "--concurrency", "10")
	p := startProducer(t, server.URL(), "run", "sleep", "--batch", "lost", "--repeat", "100000", "--window", "100", "--payload", sleepOf(20*time.Millisecond))
	p.prints(50)
	server.Restart()
	p.waitAtMost(30*time.Second).exits(t, 3).says(t, `batch "lost"`, "no such batch")
	allOK(t, producer(t, server.URL(), "run", "square", "--repeat", "10").exits(t, 0).outcomes(t), 10)
}

// What is the matter with Redis for a while is told of with the remedy, and waited
// out.
func TestABatchWaitsOutARedisInTrouble(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		begin, end func(t *testing.T, server *conntest.RealServer)
		says       string
	}{
		{"out of memory",
			func(t *testing.T, s *conntest.RealServer) { do(t, s, "CONFIG", "SET", "maxmemory", "1mb") },
			func(t *testing.T, s *conntest.RealServer) { do(t, s, "CONFIG", "SET", "maxmemory", "0") },
			"it is out of memory (maxmemory); give it more: redis-cli CONFIG SET maxmemory"},
		{"demoted to a replica",
			func(t *testing.T, s *conntest.RealServer) { do(t, s, "REPLICAOF", "127.0.0.1", conntest.FreePort(t)) },
			func(t *testing.T, s *conntest.RealServer) { do(t, s, "REPLICAOF", "NO", "ONE") },
			"it is a read-only replica; give the master's address, or redis-sentinel://"},
		{"frozen",
			func(_ *testing.T, s *conntest.RealServer) { s.Freeze() },
			func(_ *testing.T, s *conntest.RealServer) { s.Thaw() },
			"no answer in time; is it overloaded, frozen or unreachable?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const n = 2500
			server := conntest.Server(t)
			worker := startWorker(t, server.URL(), "--concurrency", "10")
			p := startProducer(t, server.URL(), "run", "sleep", "--batch", "patient", "--window", "100",
				"--repeat", strconv.Itoa(n), "--payload", sleepOf(20*time.Millisecond))
			p.prints(50)
			c.begin(t, server)
			p.logs("redis at " + server.Addr() + ": " + c.says)
			if !p.running() || !worker.running() {
				t.Error("producer or worker have not waited")
			}
			c.end(t, server)
			r := p.wait().exits(t, 0)
			r.says(t, "Redis answers again")
			allOK(t, r.outcomes(t), n)
			status(t, server.URL(), "patient").addsUp(t)
		})
	}
}

// do is a command of redis-cli.
func do(t *testing.T, s *conntest.RealServer, args ...any) {
	t.Helper()
	must(t, s.Client().Do(t.Context(), args...).Err())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Every way of reaching Redis carries a whole batch.
func TestABatchRunsOverEveryKindOfRedis(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		url  func(t *testing.T) string
	}{
		{"unix socket", func(t *testing.T) string {
			dir, err := os.MkdirTemp("", "weir") // a socket's path must be short
			must(t, err)
			t.Cleanup(func() { os.RemoveAll(dir) })
			conntest.Server(t, "--unixsocket", filepath.Join(dir, "s"))
			return "unix://" + filepath.Join(dir, "s")
		}},
		{"password", func(t *testing.T) string { return conntest.Server(t, "--requirepass", "p/a@s#s").URL() }},
		{"ACL user", func(t *testing.T) string {
			server := conntest.Server(t)
			do(t, server, "ACL", "SETUSER", "weir", "on", ">secret", "~weir:*", "~asynq:*", "&*", "+@all", "-@dangerous", "+info")
			return "redis://weir:secret@" + server.Addr()
		}},
		{"sentinel", func(t *testing.T) string { return conntest.Sentinel(t, conntest.Server(t)).URL() }},
		{"cluster", func(t *testing.T) string { return conntest.Cluster(t, 3).URL() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := c.url(t)
			startWorker(t, url)
			r := producer(t, url, "run", "square", "--batch", "b", "--repeat", "300").exits(t, 0)
			allOK(t, r.outcomes(t), 300)
			status(t, url, "b").addsUp(t)
			if strings.Contains(r.stderr, "secret") || strings.Contains(r.stderr, "p/a@s#s") {
				t.Error("the password is on stderr")
			}
		})
	}
}

// A producer that is killed goes on when the same command is given again: its file
// has every outcome exactly once, in whichever order was asked for.
func TestAKilledProducersFileIsCompletedByTheSameCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		args  []string
		stdin bool
		torn  string // what the crash has left of a last line
	}{
		{"unordered", nil, false, `{"seq":599,"sta`},
		{"ordered", []string{"--ordered"}, false, ""},
		{"ordered, of a window", []string{"--ordered", "--window", "30"}, false, `{`},
		{"of stdin", []string{"--batch", "piped", "--format", "ndjson"}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const n = 5000
			url := durable(t).URL()
			startWorker(t, url, "--concurrency", "20")
			dir := t.TempDir()
			out, in := filepath.Join(dir, "out.ndjson"), filepath.Join(dir, "in.ndjson")
			var records strings.Builder
			for i := range n {
				seconds := float64(i%4) / 100
				if i == n-1 {
					seconds = 5 // so it does not end too soon
				}
				fmt.Fprintf(&records, "{\"task_number\":%d,\"seconds\":%g}\n", i, seconds)
			}
			must(t, os.WriteFile(in, []byte(records.String()), 0o600))
			run := func() *proc {
				args := append([]string{"run", "sleep", "--out", out}, c.args...)
				if c.stdin {
					return startReading(t, records.String(), url, args...)
				}
				return startProducer(t, url, append(args, in)...)
			}

			for _, lines := range []int{20, 150, 300} {
				p := run()
				eventually(t, long, func() bool { return linesOf(out) >= lines || !p.running() }, "outcomes in the file")
				p.kill()
			}
			if c.torn != "" {
				appendTo(t, out, c.torn)
			}
			run().wait().exits(t, 0).says(t, "going on with it")
			all := readOutcomes(t, out)
			allOK(t, all, n)
			if slices.Contains(c.args, "--ordered") {
				inOrder(t, all)
			}
			for _, o := range all {
				if want := fmt.Sprintf(`"task_number":%d,`, o.Seq); !strings.Contains(string(o.Result), want) {
					t.Errorf("seq %d is the task %s", o.Seq, o.Result)
				}
			}
			status(t, url, "").addsUp(t)
		})
	}
}

// The same of `producer enqueue`: no task is missing or there twice.
func TestAKilledEnqueueIsCompletedByTheSameCommand(t *testing.T) {
	t.Parallel()
	const n = 6000
	url := durable(t).URL()
	startWorker(t, url)
	args := []string{"enqueue", "square", "--batch", "b", "--repeat", strconv.Itoa(n), "--window", "600"}
	for i := range 3 {
		p := startProducer(t, url, args...)
		p.prints(1)
		awaitStanding(t, url, "b", "some are done", func(s standing) bool { return s.OK > int64(500*(i+1)) })
		p.kill()
	}
	producer(t, url, args...).exits(t, 0)
	allOK(t, producer(t, url, "follow", "b").exits(t, 0).outcomes(t), n)
	status(t, url, "b").addsUp(t)
}

func appendTo(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

// A full disk under --out stops the batch; once there is room the same command goes
// on, and the file has every outcome exactly once.
func TestAFullDiskStopsTheBatchAndTheSameCommandGoesOn(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"--ordered", "--ordered=false"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			const n = 2000
			disk := smallDisk(t)
			url := durable(t).URL()
			startWorker(t, url)
			out := filepath.Join(disk, "out.ndjson")
			args := []string{"run", "square", "--batch", "large", "--repeat", strconv.Itoa(n), "--out", out, order}
			for range 2 {
				r := producer(t, url, args...).exits(t, 3)
				r.says(t, "write outcomes to "+out, "no space left on device", "batch large: stopped")
				if strings.Count(r.stderr, "no space left on device") != 1 {
					t.Errorf("the same is said more than once:\n%s", r.stderr)
				}
				s := status(t, url, "large")
				if s.inRedis() != 0 || s.State == string(batch.Done) {
					t.Errorf("the stopped batch is %+v", s)
				}
			}
			mount(t, "-o", "remount,size=8m", disk)
			producer(t, url, args...).exits(t, 0)
			all := readOutcomes(t, out)
			allOK(t, all, n)
			if order == "--ordered" {
				inOrder(t, all)
			}
			status(t, url, "large").addsUp(t)
		})
	}
}

// smallDisk mounts a file system of 64 kB, as root or by sudo.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mount(t, "-t", "tmpfs", "-o", "size=64k,mode=777", "none", dir)
	t.Cleanup(func() {
		if out, err := asRoot("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := asRoot("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("a file system that is full cannot be made here: %v: %s", err, out)
	}
}

func asRoot(name string, args ...string) *exec.Cmd {
	if os.Geteuid() == 0 {
		return exec.Command(name, args...)
	}
	return exec.Command("sudo", append([]string{"-n", name}, args...)...)
}

// A batch that somebody feeds cannot be fed by somebody else.
func TestABatchThatIsBeingFedIsRefusedToOthers(t *testing.T) {
	t.Parallel()
	url := durable(t).URL()
	first := startProducer(t, url, "run", "sleep", "--batch", "taken", "--repeat", "5")
	first.logs("batch taken: begun")
	producer(t, url, "run", "sleep", "--batch", "taken", "--repeat", "6").exits(t, 2).
		says(t, `batch "taken" is in use: input was`, "give the same input and options to go on with it, or choose another --batch name")
	producer(t, url, "run", "sleep", "--batch", "taken", "--repeat", "5").exits(t, 2).
		says(t, fmt.Sprintf(":%d feeds it now", first.pid()), "or choose another --batch name")
	startWorker(t, url)
	allOK(t, first.wait().exits(t, 0).outcomes(t), 5)
}

// The numbers of `status --json` add up at every moment of a batch that fails,
// retries and goes on.
func TestStatusAddsUpAtEveryMoment(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url, "--concurrency", "20")
	startWorker(t, url, "--concurrency", "20")
	var in strings.Builder
	for i := range 6000 {
		fail := []string{"", "", "", "unexpected", "expected"}[i%5]
		fmt.Fprintf(&in, "{\"task_number\":%d,\"seconds\":0.04,\"fail\":%q}\n", i, fail)
	}
	cmd := command("producer", url, "run", "sleep", "--batch", "b", "--format", "ndjson", "--retries", "2", "--backoff", "50ms", "--window", "300")
	cmd.Stdin = strings.NewReader(in.String())
	p := start(t, cmd)
	p.prints(1)
	samples, inRetry := 0, int64(0)
	for p.running() {
		s := status(t, url, "b")
		samples++
		inRetry = max(inRetry, s.Retry)
		if s.Missing != 0 || s.Read != s.OK+s.Failed+s.Cancelled+s.inRedis() {
			t.Errorf("sample %d: read %d is not ok %d + failed %d + cancelled %d + pending %d + scheduled %d + retry %d + active %d; missing %d",
				samples, s.Read, s.OK, s.Failed, s.Cancelled, s.Pending, s.Scheduled, s.Retry, s.Active, s.Missing)
		}
		if s.inRedis() > 300 {
			t.Errorf("sample %d: %d tasks without an outcome, the window is 300", samples, s.inRedis())
		}
	}
	t.Logf("%d samples, at most %d tasks waited for their retry", samples, inRetry)
	if samples < 5 || inRetry == 0 {
		t.Errorf("%d samples, at most %d in retry: too few to tell", samples, inRetry)
	}
	p.wait().exits(t, 1)
	s := status(t, url, "b")
	s.addsUp(t)
	if s.OK != 3600 || s.Failed != 2400 || s.Retries != 2400 {
		t.Errorf("ok %d, failed %d, retries %d, want 3600, 2400, 2400", s.OK, s.Failed, s.Retries)
	}
}

// `producer cancel` ends a batch that others run: every task has an outcome, none
// is left, and its producer says so.
func TestCancelEndsARunningBatch(t *testing.T) {
	t.Parallel()
	url := durable(t).URL()
	startWorker(t, url, "--concurrency", "10")
	p := startProducer(t, url, "run", "sleep", "--batch", "b", "--repeat", "1000000", "--window", "100", "--payload", sleepOf(time.Second))
	p.prints(10)
	r := producer(t, url, "cancel", "b").exits(t, 0)
	r.says(t, "batch b: sleep, cancelled")
	s := status(t, url, "b")
	s.addsUp(t)
	if s.State != string(batch.GivenUp) || s.OK < 10 || s.Cancelled < 50 {
		t.Errorf("the batch is %+v", s)
	}
	if n := tasksOf(t, redisOf(t, url), "sleep"); n != 0 {
		t.Errorf("%d tasks are left in Redis", n)
	}
	r = p.waitAtMost(20*time.Second).exits(t, 1)
	r.says(t, "batch b: cancelled after")
	bySeq(t, r.outcomes(t), int(s.Read))

	producer(t, url, "cancel", "b").exits(t, 0) // again: nothing to do
	again := producer(t, url, "status", "b").exits(t, 0)
	if !strings.Contains(again.stdout, fmt.Sprintf("cancelled %d", s.Cancelled)) {
		t.Errorf("the second cancel has changed something:\n%s", again.stdout)
	}
}

// What one producer enqueued and left, anybody can follow, while it runs and after.
func TestFollowShowsABatchThatRuns(t *testing.T) {
	t.Parallel()
	url := durable(t).URL()
	enqueued := producer(t, url, "enqueue", "sleep", "--repeat", "50", "--payload", sleepOf(100*time.Millisecond)).exits(t, 0)
	name := strings.TrimSpace(enqueued.stdout)
	if err := batch.ValidName(name); err != nil {
		t.Fatal(err)
	}
	early := startProducer(t, url, "follow", name, "--ordered")
	startWorker(t, url, "--concurrency", "10")
	early.prints(5)
	late := startProducer(t, url, "follow", name)
	for _, p := range []*proc{early, late} {
		r := p.wait().exits(t, 0)
		r.says(t, "batch "+name+": done", "read 50 = ok 50 + failed 0 + cancelled 0")
		allOK(t, r.outcomes(t), 50)
	}
	inOrder(t, early.wait().outcomes(t))

	// Ctrl-C of a follower, or a reader that leaves, does not touch the batch.
	slow := strings.TrimSpace(producer(t, url, "enqueue", "sleep", "--repeat", "80", "--payload", sleepOf(time.Second)).exits(t, 0).stdout)
	follower := startProducer(t, url, "follow", slow)
	follower.prints(1)
	follower.signal(syscall.SIGINT)
	follower.waitAtMost(10*time.Second).exits(t, 130)
	start(t, inShell(`"$@" | head -n 3 >&2`, command("producer", url, "follow", slow))).wait().exits(t, 0)
	allOK(t, producer(t, url, "follow", slow).exits(t, 0).outcomes(t), 80)
	status(t, url, slow).addsUp(t)
}
