package work

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/weir-tasks/weir/internal/attempt"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/conn/simnet"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/tasks"
)

func TestAWorkerRunsABatch(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		const n = 100
		f := newFixture(t, c, func(ctx context.Context, in payload) (int64, error) {
			info, _ := tasks.InfoFrom(ctx)
			switch {
			case in.N%10 == 0:
				return 0, tasks.Permanent(errors.New("divisible by ten"))
			case in.N%50 == 1 && info.Attempt == 1:
				return 0, errors.New("at first it fails")
			}
			return in.N * 2, nil
		})
		var observed, aged, started atomic.Int64
		fast, err := c.AutoPipeline() // as package weir does it
		if err != nil {
			t.Fatal(err)
		}
		defer fast.Close()
		w, err := New(c, fast, batch.NewLedger(fast), Options{
			Concurrency: 8,
			Observe: func(a attempt.Attempt) {
				observed.Add(1)
				if a.Age >= a.Took && a.Age > 0 {
					aged.Add(1)
				}
			},
			Started: func(string, time.Duration) { started.Add(1) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		f.batch("b", job.Type(), n, "one", "two", "three")
		seen := make(map[int64]bool)
		for _, o := range f.done("b") {
			if seen[o.Seq] {
				t.Errorf("seq %d has two outcomes", o.Seq)
			}
			seen[o.Seq] = true
			if want := map[bool]batch.State{true: batch.Failed, false: batch.OK}[o.Seq%10 == 0]; o.State != want || o.Worker != Name() {
				t.Errorf("seq %d: %+v", o.Seq, o)
			}
			if o.Seq%50 == 1 != (o.Attempts == 2) {
				t.Errorf("seq %d took %d attempts", o.Seq, o.Attempts)
			}
		}
		if len(seen) != n {
			t.Errorf("%d outcomes", len(seen))
		}
		conntest.Eventually(t, 10*time.Second, "every attempt is observed", func(context.Context) bool { return observed.Load() == n+n/50 })
		if s := w.Stat(); aged.Load() != n || started.Load() != n || s.Gate.Taken != n+n/50 || s.Gate.Held || s.Slots != 8 {
			t.Errorf("%d have an age, %d were started, %+v", aged.Load(), started.Load(), s)
		}
		if i, err := f.ledger.Info(f.ctx, "b"); err != nil || i.OK != 90 || i.Failed != 10 || i.Retries != 2 {
			t.Errorf("%+v, %v", i, err)
		}
		conntest.Eventually(t, 10*time.Second, "asynq is empty", func(ctx context.Context) bool {
			return len(c.Keys(ctx, "asynq:*:t:*").Val()) == 0
		})
		for _, lane := range []string{"one", "two", "three"} {
			if info, err := asynq.NewInspectorFromRedisClient(c).GetQueueInfo(lane); err != nil || info.Size+info.Archived != 0 {
				t.Errorf("lane %s: %+v, %v", lane, info, err)
			}
		}
	})
}

// Everything a worker has begun is gone when Stop returns.
func TestStopLeavesNoGoroutine(t *testing.T) {
	c := conntest.Server(t).Client() // not parallel: what others do would be seen
	f := newFixture(t, c, func(_ context.Context, in payload) (int64, error) { return in.N, nil })
	f.batch("before", job.Type(), 1, "a")
	before := goleak.IgnoreCurrent()
	w := f.worker(Options{Concurrency: 4})
	f.done("before")
	f.batch("b", job.Type(), 50, "a", "b")
	f.done("b")
	if err := w.Stop(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}

func TestStartAndStopInAnyOrderAndCount(t *testing.T) {
	t.Parallel()
	c := conntest.Mini(t)
	w, err := New(c, c, batch.NewLedger(c), Options{Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Stop(); err != nil { // before Start it is nothing
		t.Error(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err == nil {
		t.Error("it started twice")
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := w.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := w.Start(); err == nil {
		t.Error("it started after Stop")
	}
}

func TestNewRefusesNoConcurrency(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, -1} {
		if _, err := New(nil, nil, nil, Options{Concurrency: n}); err == nil || !strings.Contains(err.Error(), "at least 1") {
			t.Errorf("concurrency %d: %v", n, err)
		}
	}
}

// A handler that does not heed its context does not keep Stop; its task is given
// back at once, and another worker runs it.
func TestStopDoesNotWaitForAStuckHandler(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		release := make(chan struct{})
		var once atomic.Bool
		started := make(chan struct{})
		f := newFixture(t, c, func(_ context.Context, in payload) (int64, error) {
			if once.CompareAndSwap(false, true) {
				close(started)
				<-release
			}
			return in.N, nil
		})
		defer close(release)
		w := f.worker(Options{Concurrency: 2, ShutdownTimeout: 50 * time.Millisecond})
		f.batch("b", job.Type(), 1, "a")
		<-started
		start := time.Now()
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
		// 50 ms, and half a second's grace for the handler; the rest is the machine's.
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("Stop took %v", took)
		}
		if s := w.Stat(); s.Stuck != 1 || s.InFlight != 1 {
			t.Errorf("%+v", s)
		}
		leases, err := queue.Leases(f.ctx, c, "a")
		if err != nil || len(leases) != 0 || c.LLen(f.ctx, queue.Pending("a")).Val() != 1 {
			t.Errorf("active are %v, %v; the task should be pending", leases, err)
		}
		f.worker(Options{Concurrency: 2})
		if all := f.done("b"); len(all) != 1 || all[0].State != batch.OK || all[0].Attempts != 1 {
			t.Errorf("got %+v", all[0])
		}
	})
}

// What ends within ShutdownTimeout has its outcome when Stop returns.
func TestStopLetsRunningTasksFinish(t *testing.T) {
	do := func(_ context.Context, in payload) (int64, error) { time.Sleep(5 * time.Second); return in.N, nil }
	inBubble(t, do, func(t *testing.T, b *simnet.Bubble, f *fixture) {
		w := f.worker(Options{Concurrency: 3, ShutdownTimeout: 10 * time.Second})
		f.batch("b", job.Type(), 10, "a")
		time.Sleep(time.Second)
		start := time.Now()
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("Stop took %v", took)
		}
		if i, err := f.ledger.Info(f.ctx, "b"); err != nil || i.OK != 3 {
			t.Errorf("%+v, %v", i, err)
		}
		if s := w.Stat(); s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
		if n := f.c.LLen(f.ctx, queue.Pending("a")).Val(); n != 7 {
			t.Errorf("%d are pending, want 7", n)
		}
	})
}

// Stopping workers while a batch runs costs neither a task nor an attempt.
func TestStoppingWorkersLosesNothing(t *testing.T) {
	do := func(ctx context.Context, in payload) (int64, error) {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Duration(in.N%7) * 100 * time.Millisecond):
			return in.N, nil
		}
	}
	inBubble(t, do, func(t *testing.T, b *simnet.Bubble, f *fixture) {
		const n = 200
		f.batch("b", job.Type(), n, "a", "b")
		for life := range 6 {
			w := f.worker(Options{Concurrency: 5, ShutdownTimeout: time.Duration(life%3) * 50 * time.Millisecond})
			time.Sleep(time.Duration(1000+life*37) * time.Millisecond)
			if err := w.Stop(); err != nil {
				t.Error(err)
			}
			for _, lane := range []string{"a", "b"} {
				if leases, err := queue.Leases(f.ctx, f.c, lane); err != nil || len(leases) != 0 {
					t.Errorf("after Stop %v are active in lane %s, %v", leases, lane, err)
				}
			}
		}
		f.worker(Options{Concurrency: 20})
		all := f.done("b")
		var seqs []int64
		for _, o := range all {
			seqs = append(seqs, o.Seq)
			if o.State != batch.OK || o.Attempts != 1 {
				t.Errorf("seq %d: %+v", o.Seq, o)
			}
		}
		slices.Sort(seqs)
		if len(slices.Compact(seqs)) != n || len(all) != n {
			t.Errorf("%d outcomes of %d tasks", len(all), len(seqs))
		}
	})
}

// G8: Redis is frozen, and asynq waits for it without end.
func TestStopIsBoundedWhileRedisIsFrozen(t *testing.T) {
	do := func(_ context.Context, in payload) (int64, error) { time.Sleep(2 * time.Second); return in.N, nil }
	inBubble(t, do, func(t *testing.T, b *simnet.Bubble, f *fixture) {
		var frozen ice
		f.c.AddHook(&frozen)
		w := f.worker(Options{Concurrency: 3, ShutdownTimeout: time.Second})
		f.batch("b", job.Type(), 20, "a")
		time.Sleep(time.Second)
		frozen.set(true)
		time.Sleep(5 * time.Second)
		start := time.Now()
		if err := w.Stop(); err == nil {
			t.Error("it says that all is well")
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("Stop took %v", took)
		}
		frozen.set(false)
		time.Sleep(time.Minute) // the process would have ended; here its goroutines do
	})
}

// ice is a hook that freezes Redis: calls wait for the thaw, whatever their context.
type ice struct {
	mu   sync.Mutex
	thaw chan struct{}
}

func (i *ice) set(frozen bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if frozen {
		i.thaw = make(chan struct{})
	} else {
		close(i.thaw)
		i.thaw = nil
	}
}

func (i *ice) wait() {
	i.mu.Lock()
	thaw := i.thaw
	i.mu.Unlock()
	if thaw != nil {
		<-thaw
	}
}

func (i *ice) DialHook(next redis.DialHook) redis.DialHook { return next }
func (i *ice) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { i.wait(); return next(ctx, cmd) }
}
func (i *ice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { i.wait(); return next(ctx, cmds) }
}

// A worker dies, as if by SIGKILL: its tasks run again elsewhere, and each has one
// outcome, for which no attempt was spent.
func TestADeadWorkersTasksRunElsewhere(t *testing.T) {
	var dead atomic.Bool
	do := func(_ context.Context, in payload) (int64, error) {
		time.Sleep(3 * time.Second)
		return in.N, nil
	}
	inBubble(t, do, func(t *testing.T, b *simnet.Bubble, f *fixture) {
		defer b.Expire(time.Second)() // the victim's place as rescuer, if it has it
		// All that the first worker sends from now on is lost.
		victim := b.Client(t)
		victim.AddHook(cutOff{&dead})
		w, err := New(victim, victim, batch.NewLedger(victim), Options{Concurrency: 5})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		f.batch("b", job.Type(), 5, "a")
		time.Sleep(time.Second)
		dead.Store(true)
		f.worker(Options{Concurrency: 5})
		start := time.Now()
		all := f.done("b")
		if took := time.Since(start); took > 20*time.Second { // G3
			t.Errorf("it took %v", took)
		}
		for _, o := range all {
			if o.State != batch.OK || o.Attempts != 1 {
				t.Errorf("seq %d: %+v", o.Seq, o)
			}
		}
		if len(all) != 5 {
			t.Errorf("%d outcomes", len(all))
		}
		_ = w.Stop()
		time.Sleep(time.Minute)
	})
}

// cutOff is a hook that lets nothing out any more.
type cutOff struct{ dead *atomic.Bool }

var errCutOff = errors.New("no route to host")

func (h cutOff) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h cutOff) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.dead.Load() {
			cmd.SetErr(errCutOff)
			return errCutOff
		}
		return next(ctx, cmd)
	}
}
func (h cutOff) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if h.dead.Load() {
			for _, cmd := range cmds {
				cmd.SetErr(errCutOff)
			}
			return errCutOff
		}
		return next(ctx, cmds)
	}
}

func TestATypesConcurrencyIsItsLanesLimit(t *testing.T) {
	var now, most atomic.Int64
	do := func(_ context.Context, in payload) (int64, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		time.Sleep(100 * time.Millisecond)
		return in.N, nil
	}
	inBubble(t, do, func(t *testing.T, b *simnet.Bubble, f *fixture) {
		w := f.worker(Options{Concurrency: 10})
		f.batch("b", narrow.Type(), 30, narrow.Type().Policy().Lane)
		f.done("b")
		if most.Load() != 2 {
			t.Errorf("%d ran at once, want 2", most.Load())
		}
		if !slices.ContainsFunc(w.Stat().Lanes, func(s lane.Stat) bool { return s.Name == "work-narrow" && s.Limit == 2 }) {
			t.Errorf("%+v", w.Stat())
		}
	})
}

func TestLanesKeepsAWorkerToItsLanes(t *testing.T) {
	do := func(_ context.Context, in payload) (int64, error) { return in.N, nil }
	inBubble(t, do, func(t *testing.T, b *simnet.Bubble, f *fixture) {
		f.worker(Options{Concurrency: 3, Lanes: []string{"mine"}})
		f.batch("b", job.Type(), 10, "mine", "yours")
		time.Sleep(10 * time.Second)
		if i, err := f.ledger.Info(f.ctx, "b"); err != nil || i.OK != 5 {
			t.Errorf("%+v, %v", i, err)
		}
		f.worker(Options{Concurrency: 3, Lanes: []string{"yours"}})
		f.done("b")
	})
}

func TestAsynqsLogIsQuiet(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := asynqLog{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	l.Debug("d")
	l.Info("i")
	l.Warn("w")
	if out.Len() != 0 {
		t.Errorf("it said %s", &out)
	}
	l.Error("e\n", 1)
	l.Fatal("f")
	for _, want := range []string{`level=WARN msg="asynq: e\n1"`, `level=ERROR msg="asynq: f"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it said %s, want %s", &out, want)
		}
	}
}
