package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/integration_test/chaos"
	"github.com/weir-tasks/weir/integration_test/checker/invariant"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

const (
	fullStorm       = 500_000 // tasks
	fullFaults      = 210
	fullLength      = 270 * time.Second
	stormWorkerSlot = 25 // tasks at once in each worker
)

// Two producers, four workers, a follower and a Redis under faults of all kinds: in
// the end every task has one outcome, and the separate checker finds that all ten
// invariants hold. CHAOS_N is the number of tasks, CHAOS_SEED repeats a timeline;
// `make chaos` runs the full size.
func TestStorm(t *testing.T) {
	s := &storm{t: t, n: envInt(t, "CHAOS_N", 30_000), seed: envInt(t, "CHAOS_SEED", 77)}
	s.limits = invariant.DefaultLimits
	// G3 is for one worker's death. Here those who watch its leases die too, and begin
	// anew, and a task may be hit again while it waits.
	s.limits.RecoveryP50, s.limits.RecoveryP99 = 15*time.Second, time.Minute
	if s.n < fullStorm {
		t.Parallel() // beside others no time can be measured
		s.limits.RecoveryP50, s.limits.RecoveryP99, s.limits.Flow = time.Minute, 2*time.Minute, 20*time.Second
	}
	share := float64(s.n) / fullStorm
	s.length = max(45*time.Second, time.Duration(share*float64(fullLength)))
	s.faults = timeline(s.seed, max(40, int(share*fullFaults)), s.length)
	s.prepare()
	s.blow()
	s.heal()
	s.settle()
	s.fates()
	s.judge()
}

func envInt(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number", name, text)
	}
	return n
}

// storm is one run. Faults begin and end in the test's goroutine alone.
type storm struct {
	t      *testing.T
	n      int64
	seed   int64
	length time.Duration
	faults []fault
	limits invariant.Limits

	dir      string
	redis    *conntest.RealServer
	up       bool                  // Redis is
	answered bool                  // and was not a moment ago
	rdb      redis.UniversalClient // the storm's own, beside all networks
	roles    map[string]*role
	journal  *invariant.Journal
	began    time.Time
	ends     []ending
	active   int64 // as last seen
	failures []string

	stopSampling context.CancelFunc
	sampling     sync.WaitGroup
}

// ending ends a fault.
type ending struct {
	at  time.Time
	do  func()
	log *invariant.Event
	own bool // the in-flight tasks at its end may have been hit too
}

func (s *storm) batchName(i int) string { return fmt.Sprintf("storm-%d", i) }
func (s *storm) out(i int) string       { return filepath.Join(s.dir, s.batchName(i)+".ndjson") }

// prepare starts everything.
func (s *storm) prepare() {
	t := s.t
	t.Logf("CHAOS_SEED=%d: %d tasks, %d faults", s.seed, s.n, len(s.faults))
	for _, f := range s.faults {
		t.Log(f)
	}
	s.dir = t.TempDir()
	for _, d := range []string{"bin", "log", "stderr", "seen"} {
		must(t, os.Mkdir(filepath.Join(s.dir, d), 0o755))
	}
	buildStorm(t, filepath.Join(s.dir, "bin"))
	s.redis = conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-min-size", "32mb")
	s.up = true
	s.rdb = s.redis.Client()
	var err error
	s.journal, err = invariant.NewJournal(filepath.Join(s.dir, "journal.ndjson"))
	must(t, err)
	s.journal.Note(invariant.Event{Kind: invariant.Baseline, Memory: int64(usedMemory(t, s.rdb))})

	s.roles = make(map[string]*role)
	for _, name := range stormers {
		s.roles[name] = &role{storm: s, name: name, network: networkTo(t, s.redis.Addr())}
	}
	t.Cleanup(s.end)
	s.began = time.Now()
	for _, name := range append(append([]string{}, producers...), workers...) {
		s.roles[name].begin()
	}
	eventually(t, long, func() bool {
		return s.rdb.Exists(t.Context(), "weir:{storm-0}:batch", "weir:{storm-1}:batch").Val() == 2
	}, "both batches are there")
	for _, name := range followers {
		s.roles[name].begin()
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.stopSampling = cancel
	s.sampling.Go(func() { s.sample(ctx) })
}

// end lets nothing live on.
func (s *storm) end() {
	for _, r := range s.roles {
		r.retire(syscall.SIGKILL)
	}
	if s.stopSampling != nil {
		s.stopSampling()
	}
	s.sampling.Wait()
	must(s.t, s.journal.Close())
}

// buildStorm builds producer and worker as they are, with the storm's task type
// linked in, and the checker.
func buildStorm(t *testing.T, bin string) {
	t.Helper()
	link := filepath.Join(t.TempDir(), "storm.go")
	must(t, os.WriteFile(link, []byte("package main\n\nimport _ \"github.com/weir-tasks/weir/integration_test/chaos\"\n"), 0o600))
	root, err := filepath.Abs("..")
	must(t, err)
	replace := make(map[string]string)
	for _, main := range []string{"producer", "worker"} {
		replace[filepath.Join(root, main, "storm_type.go")] = link
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	must(t, err)
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	must(t, os.WriteFile(overlay, text, 0o600))
	build := exec.Command("go", "build", "-overlay", overlay, "-o", bin+string(filepath.Separator), "./producer", "./worker", "./integration_test/checker")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the storm's commands: %v\n%s", err, out)
	}
}

// blow is the storm: each fault comes when its time has come, or the work has gone
// as far as it should have by then, so that none comes too late to matter.
func (s *storm) blow() {
	for i, f := range s.faults {
		for {
			s.endings(time.Now())
			done := s.done()
			early := float64(done) > 0.9*float64(s.n)*f.at.Seconds()/s.length.Seconds()
			if time.Since(s.began) >= f.at || early {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if i%5 == 0 {
			s.notePrefixes()
		}
		s.strike(f)
	}
}

// done counts outcomes; 0 while Redis does not say.
func (s *storm) done() (sum int64) {
	if !s.up {
		return 0
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 200*time.Millisecond)
	defer cancel()
	for i := range producers {
		for _, v := range s.rdb.HMGet(ctx, "weir:{"+s.batchName(i)+"}:batch", "ok", "failed").Val() {
			text, _ := v.(string)
			n, _ := strconv.ParseInt(text, 10, 64)
			sum += n
		}
	}
	return sum
}

// strike begins a fault.
func (s *storm) strike(f fault) {
	e := &invariant.Event{Kind: invariant.Fault, Process: f.target, Fault: f.kind, At: time.Now().UnixNano()}
	worker := strings.HasPrefix(f.target, "worker")
	e.InFlight = s.inFlight(f.target)
	var undo func()
	if f.target == "redis" {
		undo = s.strikeRedis(f)
	} else {
		undo = s.roles[f.target].strike(f, e)
	}
	s.ends = append(s.ends, ending{time.Now().Add(f.lasts), undo, e, f.lasts > 0 && (worker || f.target == "redis")})
}

// strikeRedis freezes or kills it. One that is down already stays so a while longer.
func (s *storm) strikeRedis(f fault) (undo func()) {
	if !s.up {
		return func() {}
	}
	s.up = false
	if f.kind == "kill" {
		s.redis.Kill()
		return func() { s.redis.Restart(); s.up, s.answered = true, true }
	}
	s.redis.Freeze()
	return func() { s.redis.Thaw(); s.up, s.answered = true, true }
}

// inFlight is how many tasks a fault may hit: those active now, at most what the
// target may hold.
func (s *storm) inFlight(target string) int64 {
	held := int64(0) // asynq has twice a worker's slots, see package work
	switch {
	case target == "redis":
		held = int64(2 * stormWorkerSlot * len(workers))
	case strings.HasPrefix(target, "worker"):
		held = 2 * stormWorkerSlot
	}
	if s.up && held > 0 {
		ctx, cancel := context.WithTimeout(s.t.Context(), 200*time.Millisecond)
		defer cancel()
		if n, err := s.rdb.LLen(ctx, "asynq:{storm}:active").Result(); err == nil {
			s.active = n
		}
	}
	return min(held, s.active)
}

// endings ends the faults whose time is over.
func (s *storm) endings(now time.Time) {
	s.ends = slices.DeleteFunc(s.ends, func(e ending) bool {
		if e.at.After(now) {
			return false
		}
		if e.own {
			e.log.InFlight += s.inFlight(e.log.Process)
		}
		e.do()
		if e.at.UnixNano() > e.log.At+int64(time.Millisecond) {
			e.log.Until = time.Now().UnixNano()
		}
		s.journal.Note(*e.log)
		if s.answered {
			s.answered = false
			s.journal.Note(invariant.Event{Kind: invariant.Answers})
		}
		return true
	})
}

// heal ends all faults.
func (s *storm) heal() {
	for len(s.ends) > 0 {
		s.endings(time.Now())
		time.Sleep(20 * time.Millisecond)
	}
	s.journal.Note(invariant.Event{Kind: invariant.Healed})
	s.t.Logf("healed after %.0f s: %d of %d tasks have their outcome", time.Since(s.began).Seconds(), s.done(), s.n)
}

// settle waits until all is done, and stops everything in order.
func (s *storm) settle() {
	healed := time.Now()
	left := s.n - s.done()
	bound := 90*time.Second + time.Duration(left)*time.Second/300
	for _, name := range append(append([]string{}, producers...), followers...) {
		select {
		case <-s.roles[name].finished:
		case <-time.After(bound - time.Since(healed)):
			s.t.Fatalf("%s has not finished %v after the last fault: %d of %d tasks have their outcome\n%s",
				name, bound, s.done(), s.n, s.roles[name].said())
		}
	}
	s.t.Logf("%d tasks were left, done %.1f s later; %.0f s in all", left, time.Since(healed).Seconds(), time.Since(s.began).Seconds())
	for _, name := range workers {
		s.roles[name].retire(syscall.SIGTERM)
	}
	s.stopSampling()
	s.sampling.Wait()
}

// sample notes where the checkpoints stand, as the checker sees it.
func (s *storm) sample(ctx context.Context) {
	rdb := s.redis.Client()
	for ctx.Err() == nil {
		for i := range producers {
			if e, err := invariant.Sample(ctx, rdb, s.batchName(i)); err == nil && e.Created != "" {
				s.journal.Note(e)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(300*time.Millisecond, s.length/200)):
		}
	}
}

// notePrefixes notes what the outcome files hold now.
func (s *storm) notePrefixes() {
	for i := range producers {
		text, err := os.ReadFile(s.out(i))
		if err != nil {
			continue
		}
		size := int64(strings.LastIndexByte(string(text), '\n') + 1)
		hash, err := invariant.HashPrefix(s.out(i), size)
		must(s.t, err)
		s.journal.Note(invariant.Event{Kind: invariant.Prefix, File: s.out(i), Size: size, Hash: hash})
	}
}

// fates checks that each task became what its number destines it to. A few the storm may
// hit so often that they are taken for what kills workers. Not all of these deaths are in the
// handlers' log: a task that is active, or marked as running, may not have begun to run.
func (s *storm) fates() {
	var blamed int64
	for i := range producers {
		for _, o := range readOutcomes(s.t, s.out(i)) {
			fate, is := chaos.FateOf(o.Seq), chaos.Fate(o.Class)
			if o.State == batch.OK {
				is = chaos.Good
			}
			if fate == chaos.Unlucky {
				fate = chaos.Good
			}
			switch {
			case o.Class == batch.Crashed:
				blamed++
				s.t.Logf("%s:%d, destined to be %s, is taken for what kills workers: %s\n%s", s.batchName(i), o.Seq, fate, o.Error, s.executions(i, o.Seq))
			case is != fate:
				s.wrong("%s:%d is %s %s after %d attempts (%s), its fate was %s", s.batchName(i), o.Seq, o.State, o.Class, o.Attempts, o.Error, fate)
			}
		}
	}
	if blamed > s.n/50_000+1 {
		s.wrong("%d tasks are taken for what kills workers: too many", blamed)
	}
}

// executions is what the handlers' log has of a task.
func (s *storm) executions(i int, seq int64) string {
	files, err := filepath.Glob(filepath.Join(s.dir, "log", "*"))
	must(s.t, err)
	task := fmt.Appendf(nil, " %s %d ", s.batchName(i), seq)
	var lines []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(s.t, err)
		for line := range bytes.Lines(text) {
			if bytes.Contains(line, task) {
				lines = append(lines, line...)
			}
		}
	}
	return string(lines)
}

// wrong is a failure that is told at once, and again at the end.
func (s *storm) wrong(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.t.Error(what)
	s.failures = append(s.failures, what)
}

// judge has the checker judge, and tells what the faults were.
func (s *storm) judge() {
	args := []string{"--redis", s.redis.URL(), "--journal", filepath.Join(s.dir, "journal.ndjson"), "--log", filepath.Join(s.dir, "log"),
		"--recovery-p50", s.limits.RecoveryP50.String(), "--recovery-p99", s.limits.RecoveryP99.String(), "--flow", s.limits.Flow.String()}
	for i := range producers {
		args = append(args, "--batch", s.batchName(i), "--out", s.out(i))
		seen, err := filepath.Glob(filepath.Join(s.dir, "seen", s.batchName(i)+"-*"))
		must(s.t, err)
		for _, file := range seen {
			args = append(args, "--seen", file)
		}
	}
	kinds := make(map[string]int)
	for _, f := range s.faults {
		role, _, _ := strings.Cut(f.target, "-")
		kinds[role+" "+f.kind]++
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		s.t.Logf("%4d %s", kinds[kind], kind)
	}
	out, err := exec.Command(filepath.Join(s.dir, "bin", "checker"), args...).CombinedOutput()
	s.t.Logf("the checker says:\n%s", out)
	if err != nil {
		s.wrong("the checker: %v; CHAOS_N=%d CHAOS_SEED=%d repeats the storm", err, s.n, s.seed)
	}
	s.t.Logf("%d failures\n%s", len(s.failures), strings.Join(s.failures[:min(20, len(s.failures))], "\n"))
	if s.t.Failed() {
		s.keep()
	}
}

// keep moves what the storm left where it outlives the test.
func (s *storm) keep() {
	kept := filepath.Join(os.TempDir(), fmt.Sprintf("weir-storm-%d", s.seed))
	if err := os.Rename(s.dir, kept); err == nil {
		s.t.Logf("logs, outcomes and journal are kept in %s", kept)
		_ = os.Mkdir(s.dir, 0o755)
	}
}

// role is a part that a process plays, and the next one when it has died.
type role struct {
	storm    *storm
	name     string
	network  *network
	finished chan struct{} // closed when the role is over

	mu      sync.Mutex
	cmd     *exec.Cmd // nil while none runs
	lives   int
	sent    map[int]bool // pids that were sent a deadly signal
	retired bool
}

func (r *role) begin() {
	r.finished = make(chan struct{})
	r.sent = make(map[int]bool)
	go r.run()
}

// run starts one process after another until the role is over: a producer's or
// follower's when it has seen its batch through, a worker's when it is retired.
func (r *role) run() {
	runtime.LockOSThread() // dieWithUs ties the processes to this thread
	defer runtime.UnlockOSThread()
	defer close(r.finished)
	for {
		cmd, stderr, ok := r.start()
		if !ok {
			return
		}
		_ = cmd.Wait()
		e := invariant.Event{Kind: invariant.Exited, Process: r.name, PID: cmd.Process.Pid, Code: cmd.ProcessState.ExitCode(), Stderr: stderr}
		r.mu.Lock()
		if status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
			e.Signal, e.Sent = status.Signal().String(), r.sent[e.PID]
		}
		r.cmd = nil
		over := r.retired || !strings.HasPrefix(r.name, "worker") && (e.Code == 0 || e.Code == 1)
		r.mu.Unlock()
		r.storm.journal.Note(e)
		if over {
			return
		}
		time.Sleep(200 * time.Millisecond) // as whatever restarts it would
	}
}

// start starts the next process.
func (r *role) start() (cmd *exec.Cmd, stderr string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.retired {
		return nil, "", false
	}
	cmd = r.command()
	r.lives++
	stderr = filepath.Join(r.storm.dir, "stderr", fmt.Sprintf("%s-%d", r.name, r.lives))
	file, err := os.Create(stderr)
	if err != nil {
		r.storm.t.Error(err)
		return nil, "", false
	}
	defer file.Close()
	cmd.Stderr = file
	cmd.Env = append(cleanEnv(), "STORM_LOG="+filepath.Join(r.storm.dir, "log"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithUs(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		r.storm.t.Error(err)
		return nil, "", false
	}
	e := invariant.Event{Kind: invariant.Started, Process: r.name, PID: cmd.Process.Pid}
	if strings.HasPrefix(r.name, "worker") {
		e.Limit = stormWorkerSlot
	}
	r.storm.journal.Note(e)
	r.cmd = cmd
	return cmd, stderr, true
}

// command is what the role's next process runs.
func (r *role) command() *exec.Cmd {
	s := r.storm
	kind, number, _ := strings.Cut(r.name, "-")
	bin := func(name string) string { return filepath.Join(s.dir, "bin", name) }
	redisFlag := "--redis=" + r.network.url()
	switch kind {
	case "worker":
		return exec.Command(bin("worker"), redisFlag, "--concurrency", strconv.Itoa(stormWorkerSlot))
	case "follower":
		name := s.batchName(r.lives % len(producers))
		cmd := exec.Command(bin("producer"), redisFlag, "follow", name, "--quiet")
		seen, err := os.Create(filepath.Join(s.dir, "seen", fmt.Sprintf("%s-%d", name, r.lives)))
		if err != nil {
			s.t.Error(err)
		}
		cmd.Stdout = seen // the test's own end of it is closed with the test's process
		return cmd
	}
	i, _ := strconv.Atoi(number)
	slots := stormWorkerSlot * len(workers)
	ms := max(2, int64(0.5*float64(slots)*float64(s.length.Milliseconds())/float64(s.n)))
	return exec.Command(bin("producer"), redisFlag, "run", "storm", "--batch", s.batchName(i), "--out", s.out(i), "--quiet",
		"--repeat", strconv.FormatInt(s.n/int64(len(producers)), 10), "--payload", fmt.Sprintf(`{"n":{n},"ms":%d}`, ms))
}

// strike begins a fault of the role's process or network.
func (r *role) strike(f fault, e *invariant.Event) (undo func()) {
	switch f.kind {
	case "kill":
		e.PID = r.signal(syscall.SIGKILL)
		return func() {}
	case "stop":
		e.PID = r.signal(syscall.SIGSTOP)
		return func() { r.thaw(e.PID) }
	case "reset":
		r.network.reset()
		return func() {}
	case "cut":
		r.network.cut()
	case "delay":
		r.network.delay(f.much)
	case "swallow":
		r.network.swallow([]string{replies, requests}[f.much])
	case "throttle":
		r.network.throttle(replies, f.much)
	}
	return r.network.mend
}

// signal sends one to the process there is, and tells its pid; 0 if there is none.
func (r *role) signal(sig syscall.Signal) (pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return 0
	}
	pid = r.cmd.Process.Pid
	if sig == syscall.SIGKILL {
		r.sent[pid] = true
	}
	_ = r.cmd.Process.Signal(sig) // one that has just ended does not mind
	return pid
}

// thaw lets the process go on, unless it has died.
func (r *role) thaw(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil && r.cmd.Process.Pid == pid {
		_ = r.cmd.Process.Signal(syscall.SIGCONT)
	}
}

// retire ends the role by a signal to its process, and waits for the end.
func (r *role) retire(sig syscall.Signal) {
	r.mu.Lock()
	r.retired = true
	r.mu.Unlock()
	if r.finished == nil {
		return
	}
	r.signal(sig)
	select {
	case <-r.finished:
	case <-time.After(30 * time.Second):
		r.storm.wrong("%s has not ended 30 s after %v\n%s", r.name, sig, r.said())
		r.signal(syscall.SIGKILL)
		<-r.finished
	}
}

// said is the end of the last process' stderr.
func (r *role) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, _ := os.ReadFile(filepath.Join(r.storm.dir, "stderr", fmt.Sprintf("%s-%d", r.name, r.lives)))
	return tail(string(text), 3000)
}
