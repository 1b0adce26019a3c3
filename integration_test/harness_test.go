package integration_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn"
)

// binDir holds the two commands, ./producer and ./worker, as they are built for
// users: without the race detector.
var binDir string

// long is how long a process may take that is not measured. Only a hang is longer.
const long = 2 * time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	// Most scenarios wait for tasks that sleep: more of them than cores can do so
	// at once. Those that need the machine for themselves are not parallel.
	if !given("test.parallel") {
		_ = flag.Set("test.parallel", "8")
	}
	conn.LogTo(slog.New(slog.DiscardHandler)) // go-redis tells of each refused dial
	os.Exit(buildAndRun(m))
}

func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./producer", "./worker", "./integration_test/rawasynq")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the commands: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// cleanEnv is the environment without what would configure the commands.
func cleanEnv() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WEIR_") && !strings.HasPrefix(v, "REDIS_URL=") {
			env = append(env, v)
		}
	}
	return env
}

// command is one of ours, "producer" or "worker", on a Redis; with an empty URL
// the flag is left out. The services of the scenarios are on this host, which a worker
// must be told to allow.
func command(name, url string, args ...string) *exec.Cmd {
	if name == "worker" {
		args = append([]string{"--egress=any"}, args...)
	}
	if url != "" {
		args = append([]string{"--redis=" + url}, args...)
	}
	return exec.Command(filepath.Join(binDir, name), args...)
}

// result is what a process has left behind.
type result struct {
	stdout, stderr string
	code           int // its exit status; -1 when a signal ended it
	took           time.Duration
}

// outcomes are the lines of its stdout.
func (r result) outcomes(t testing.TB) []batch.Outcome {
	t.Helper()
	return outcomes(t, r.stdout)
}

// exits fails the test when the exit status is another one.
func (r result) exits(t testing.TB, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit status %d, want %d; stderr:\n%s", r.code, code, r.stderr)
	}
	return r
}

// outcomes reads NDJSON, each seq once.
func outcomes(t testing.TB, text string) []batch.Outcome {
	t.Helper()
	var all []batch.Outcome
	seen := make(map[int64]bool)
	for line := range strings.Lines(text) {
		o, err := batch.ParseOutcome([]byte(line))
		if err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if seen[o.Seq] {
			t.Errorf("seq %d has two outcomes", o.Seq)
		}
		seen[o.Seq] = true
		all = append(all, *o)
	}
	return all
}

// proc is a process in a process group of its own. It is killed, with its group,
// when the test ends.
type proc struct {
	t              testing.TB
	name           string
	cmd            *exec.Cmd
	stdout, stderr *output
	began          time.Time
	took           time.Duration // valid once gone is closed
	gone           chan struct{}
}

// start starts a command; see command.
func start(t testing.TB, cmd *exec.Cmd) *proc {
	t.Helper()
	p := &proc{
		t: t, name: filepath.Base(cmd.Path), cmd: cmd,
		stdout: newOutput(), stderr: newOutput(), gone: make(chan struct{}),
	}
	cmd.Env = append(cleanEnv(), cmd.Env...)
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.WaitDelay = 10 * time.Second // a grandchild may hold the pipes
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithUs(cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		defer close(p.gone)
		runtime.LockOSThread() // dieWithUs ties the process to this thread
		defer runtime.UnlockOSThread()
		p.began = time.Now()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			p.took = time.Since(p.began)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && !slices.Contains(cmd.Args, "status") {
			t.Logf("stderr of %s %d (%v):\n%s", p.name, p.pid(), cmd.ProcessState, tail(p.stderr.String(), 6000))
		}
	})
	return p
}

// startWorker starts a worker and returns once it takes tasks.
func startWorker(t testing.TB, url string, args ...string) *proc {
	t.Helper()
	p := start(t, command("worker", url, args...))
	p.logs("worker started")
	return p
}

// startProducer starts a producer in the background.
func startProducer(t testing.TB, url string, args ...string) *proc {
	t.Helper()
	return start(t, command("producer", url, args...))
}

// producer runs one to its end.
func producer(t testing.TB, url string, args ...string) result {
	t.Helper()
	return startProducer(t, url, args...).wait()
}

// producerReading runs one that reads stdin to its end.
func producerReading(t testing.TB, stdin, url string, args ...string) result {
	t.Helper()
	return startReading(t, stdin, url, args...).wait()
}

// startReading starts a producer that reads stdin in the background.
func startReading(t testing.TB, stdin, url string, args ...string) *proc {
	t.Helper()
	cmd := command("producer", url, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return start(t, cmd)
}

// pid of the process.
func (p *proc) pid() int { return p.cmd.Process.Pid }

// running says that the process has not ended.
func (p *proc) running() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// signal sends a signal to the process alone. One that has ended does not mind.
func (p *proc) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("send %v to %s: %v", sig, p.name, err)
	}
}

// kill sends SIGKILL to the process group and waits for the end.
func (p *proc) kill() {
	if p.running() {
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	}
	<-p.gone
}

// wait waits for the end, at most as long as anything may take.
func (p *proc) wait() result {
	p.t.Helper()
	return p.waitAtMost(long)
}

// waitAtMost waits for the end. One that does not come fails the test, with the
// goroutines of the process.
func (p *proc) waitAtMost(d time.Duration) result {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(d):
		p.signal(syscall.SIGQUIT)
		select {
		case <-p.gone:
		case <-time.After(10 * time.Second):
			p.kill()
		}
		p.t.Fatalf("%s %q has not ended after %v; stderr:\n%s", p.name, p.cmd.Args[1:], d, tail(p.stderr.String(), 30000))
	}
	return result{p.stdout.String(), p.stderr.String(), p.cmd.ProcessState.ExitCode(), p.took}
}

// logs waits until stderr contains text.
func (p *proc) logs(text string) {
	p.t.Helper()
	p.until(p.stderr, func(s string) bool { return strings.Contains(s, text) }, fmt.Sprintf("%q on stderr", text))
}

// prints waits until stdout has n lines.
func (p *proc) prints(n int) {
	p.t.Helper()
	p.until(p.stdout, func(s string) bool { return strings.Count(s, "\n") >= n }, fmt.Sprintf("%d lines on stdout", n))
}

func (p *proc) until(o *output, is func(string) bool, what string) {
	p.t.Helper()
	limit := time.After(long)
	for {
		text, changed := o.now()
		if is(text) {
			return
		}
		select {
		case <-changed:
		case <-p.gone:
			if !is(o.String()) {
				p.t.Fatalf("%s %q ended (%v) without %s; stderr:\n%s", p.name, p.cmd.Args[1:], p.cmd.ProcessState, what, p.stderr)
			}
			return
		case <-limit:
			p.t.Fatalf("%s %q: no %s after %v; stderr:\n%s", p.name, p.cmd.Args[1:], what, long, p.stderr)
		}
	}
}

// output is what a process has written to one of its pipes.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	lines   []time.Time // when each line was complete
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for range bytes.Count(b, []byte{'\n'}) {
		o.lines = append(o.lines, now)
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(b)
}

// now is the text so far, and a channel that is closed when there is more.
func (o *output) now() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

// String is the text so far.
func (o *output) String() string {
	text, _ := o.now()
	return text
}

// lineTimes tells when each line came.
func (o *output) lineTimes() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]time.Time(nil), o.lines...)
}

var _ io.Writer = (*output)(nil)

// eventually waits until cond holds, at most d.
func eventually(t testing.TB, d time.Duration, cond func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(d); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "..." + s[len(s)-n:]
}
