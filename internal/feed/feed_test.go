package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

func TestTasksAreEnqueuedInTheOrderOfInputAndTheBatchIsSealed(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		b := newBench(t, rdb)
		n := 3*chunk + 7
		if strings.HasSuffix(t.Name(), "miniredis") {
			n = 60
		}
		b.run(numbered(n), 10_000)
		if got := b.pending(); !slices.Equal(got, ids(0, n)) {
			t.Errorf("%d tasks pending, not the %d in order", len(got), n)
		}
		if i := b.info(); i.Phase != batch.Sealed || i.N != int64(n) || i.Next != int64(n) {
			t.Errorf("batch is %+v", i)
		}
	})
}

func TestAnEmptyInputIsABatchOfNone(t *testing.T) {
	b := mini(t)
	b.run(numbered(0), 10)
	if i := b.info(); i.Phase != batch.Done || i.N != 0 {
		t.Errorf("batch is %+v", i)
	}
}

// The last number that a task may have is given, and no further one.
func TestABatchHasNoMoreTasksThanItMay(t *testing.T) {
	for at, ok := range map[int64]bool{batch.MaxTasks - 1: true, batch.MaxTasks: false} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			b := mini(t)
			if err := b.ledger.Checkpoint(t.Context(), "b", 0, at, ""); err != nil {
				t.Fatal(err)
			}
			f := b.feeder(numbered(0), 10)
			f.next, f.mark, f.found = at, batch.At(at), b.info()
			f.found.Upto = 0 // what was read before is not gone over
			err := f.feed(t.Context(), nil, records(0, 1))
			if ok != (err == nil) {
				t.Errorf("task %d: %v", at, err)
			}
		})
	}
}

func TestABadRecordGetsItsOutcomeAndStopsNoOther(t *testing.T) {
	t.Parallel()
	for _, withPayload := range []bool{false, true} {
		t.Run(fmt.Sprint("with payload ", withPayload), func(t *testing.T) {
			b := mini(t)
			b.name = "c"
			o := batch.Options{Type: "square", Lane: lane, TimeoutMS: 60_000, KeepMS: 60_000, WithPayload: withPayload}
			if _, err := b.ledger.Create(t.Context(), "c", o); err != nil {
				t.Fatal(err)
			}
			src := &lines{records: []string{`{"n":0}`, "!" + strings.Repeat("x", 10_000), `{"n":2}`}, end: io.EOF}
			f := b.feeder(src, 10)
			f.opts.Producer = "host:1"
			if err := f.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.wantPending("c:0", "c:2")
			all := b.outcomes()
			if len(all) != 1 {
				t.Fatalf("outcomes %v", all)
			}
			o1 := all[0]
			if o1.Seq != 1 || o1.State != batch.Failed || o1.Class != batch.Invalid || o1.Error != "in.txt:2: not a number" || o1.Worker != "host:1" {
				t.Errorf("outcome %+v", o1)
			}
			// The raw text, cut: as a JSON string, since it is no JSON.
			var raw string
			_ = json.Unmarshal(o1.Payload, &raw)
			if want := map[bool]int{true: 4096}[withPayload]; len(raw) != want {
				t.Errorf("payload of %d bytes, want %d", len(raw), want)
			}
			if n, err := b.ledger.DeadLetters(t.Context(), "c"); n != 1 || err != nil {
				t.Errorf("%d dead letters, %v", n, err)
			}
		})
	}
}

func TestTheTasksAreAsTheWorkerNeedsThem(t *testing.T) {
	b := mini(t)
	before := time.Now()
	b.run(numbered(1), 10)
	task := b.rdb.HGetAll(t.Context(), queue.TaskPrefix(lane)+"b:0").Val()
	for _, want := range []string{"square", `{"n":0}`, batch.Header} {
		if !strings.Contains(task["msg"], want) {
			t.Errorf("no %q in %q", want, task["msg"])
		}
	}
	// The time of enqueue, in microseconds.
	var us int64
	for at := before.UnixMicro(); at <= time.Now().UnixMicro(); at++ {
		if strings.Contains(task["msg"], fmt.Sprint(at)) {
			us = at
			break
		}
	}
	if us == 0 {
		t.Errorf("no time of enqueue in %q", task["msg"])
	}
	if lanes, err := b.ledger.Lanes(t.Context(), "b"); !slices.Equal(lanes, []string{lane}) {
		t.Errorf("lanes %v, %v", lanes, err)
	}
}

func TestGatesHearOfWork(t *testing.T) {
	hear := func(t *testing.T, b *bench) {
		sub := b.rdb.Subscribe(t.Context(), queue.WakeChannel)
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.run(numbered(1), 10)
		select {
		case m := <-sub.Channel():
			if m.Payload != lane || len(b.pending()) != 1 {
				t.Errorf("heard of %q with %v waiting", m.Payload, b.pending())
			}
		case <-time.After(10 * time.Second):
			t.Error("heard nothing")
		}
	}
	both(t, hear)
	t.Run("cluster", func(t *testing.T) { hear(t, newBench(t, conntest.Cluster(t, 3).Client())) })
}

// A task that comes alone waits for two answers of Redis: whether the batch goes on, and
// that it is enqueued, of which gates hear at once.
func TestATaskThatComesAloneIsEnqueuedInTwoCalls(t *testing.T) {
	b := mini(t)
	var mu sync.Mutex
	var calls []string
	note := func(cmds ...redis.Cmder) {
		var names []string
		for _, cmd := range cmds {
			names = append(names, cmd.Name())
		}
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, strings.Join(names, "+"))
	}
	c := redis.NewClient(b.rdb.(*redis.Client).Options())
	defer c.Close()
	c.AddHook(hook{
		one: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
			note(cmd)
			return next(ctx, cmd)
		},
		many: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			note(cmds...)
			return next(ctx, cmds)
		},
	})
	input, done := make(pipe), make(chan error, 1)
	go func() {
		done <- New(c, batch.NewLedger(c), input, b.feeder(nil, 10).opts).Run(t.Context())
	}()
	for i := range 5 {
		mu.Lock()
		calls = nil
		mu.Unlock()
		input <- fmt.Sprintf(`{"n":%d}`, i)
		conntest.Eventually(t, 10*time.Second, "the checkpoint has moved", func(context.Context) bool { return b.info().Next == int64(i+1) })
		mu.Lock()
		if want := []string{"hgetall", "evalsha", "evalsha"}; i > 0 && !slices.Equal(calls, want) {
			t.Errorf("for task %d Redis was asked %v, not %v", i, calls, want)
		}
		mu.Unlock()
	}
	close(input)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheWindowIsNeverExceeded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ window, n int64 }{{1, 15}, {7, 60}} {
		t.Run(fmt.Sprint(c.window), func(t *testing.T) {
			both(t, func(t *testing.T, b *bench) { b.feedThrough(c.window, c.n) })
		})
	}
	t.Run("more than a chunk", func(t *testing.T) { real(t).feedThrough(600, 1700) })
}

// feedThrough feeds n tasks through a window and runs them, in order. A task leaves
// its list before it has its outcome, so that the list is never longer than what is
// in Redis without one.
func (b *bench) feedThrough(window, n int64) {
	f := b.feeder(numbered(int(n)), window)
	most := int64(0)
	sampled := make(chan struct{})
	ctx, stop := context.WithCancel(b.t.Context())
	defer stop()
	go func() {
		defer close(sampled)
		for ctx.Err() == nil {
			most = max(most, b.rdb.LLen(ctx, queue.Pending(lane)).Val())
			time.Sleep(time.Millisecond / 2)
		}
	}()
	done := start(b.t, f)
	for seq := int64(0); seq < n; {
		var waiting []string
		b.await("a task is let in", func() bool { waiting = b.pending(); return len(waiting) > 0 })
		for _, id := range waiting {
			if id != batch.TaskID("b", seq) {
				b.t.Fatalf("task %s is next, want %d", id, seq)
			}
			b.gone(seq)
			b.finish(seq)
			seq++
		}
		f.Settled()
	}
	if err := wait(b.t, done); err != nil {
		b.t.Fatal(err)
	}
	stop()
	<-sampled
	if most > window {
		b.t.Errorf("%d tasks in a window of %d", most, window)
	}
	if i := b.info(); i.Phase != batch.Done || i.OK != n {
		b.t.Errorf("batch %+v", i)
	}
}

// Nobody tells the feeder: it looks by itself.
func TestAWindowThatOpensUnnoticedIsFound(t *testing.T) {
	b := mini(t)
	done := start(t, b.feeder(numbered(2), 1))
	b.await("the first is in", func() bool { return b.info().Next == 1 })
	b.done(0)
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
	b.wantPending("b:1")
}

func TestAtTheInputsEndAFullWindowIsNoObstacle(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		if err := wait(t, start(t, b.feeder(numbered(5), 5))); err != nil {
			t.Fatal(err)
		}
		if i := b.info(); i.Phase != batch.Sealed || i.N != 5 {
			t.Errorf("batch %+v", i)
		}
	})
}

func TestTheFeederStaysWithinWhatItsReaderHasReached(t *testing.T) {
	b := mini(t)
	f := b.feeder(numbered(100), 1000)
	var reached atomic.Int64
	f.opts.Ahead = func() int64 { return reached.Load() + 10 }
	done := start(t, f)
	for reached.Load() < 90 {
		b.await("what is allowed is in", func() bool { return b.info().Next == reached.Load()+10 })
		b.done(int64(b.info().OK)) // outcomes that the reader has not reached do not count
		time.Sleep(2 * poll)       // and what must not come gets time to come
		if next := b.info().Next; next != reached.Load()+10 {
			t.Fatalf("checkpoint at %d, the reader at %d", next, reached.Load())
		}
		reached.Add(45)
	}
	if err := wait(t, done); err != nil || b.info().N != 100 {
		t.Errorf("%v, %+v", err, b.info())
	}
}

func TestASlowPipesRecordsAreEnqueuedAsTheyCome(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		src := make(pipe)
		done := start(t, b.feeder(src, 1000))
		for i := range 3 {
			src <- "{}"
			b.await("the record is enqueued", func() bool { return b.info().Next == int64(i+1) })
			b.wantPending(ids(0, i+1)...)
		}
		close(src)
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
	})
}

func TestTheSourcesErrorKeepsWhatWasRead(t *testing.T) {
	b := mini(t)
	src := numbered(5)
	src.end = errors.New("in.gz:6: the gzip data is truncated")
	f := b.feeder(src, 100)
	err := f.Run(t.Context())
	if !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "in.gz:6") {
		t.Errorf("error %v", err)
	}
	if i := b.info(); i.Next != 5 || i.Phase != batch.Open || f.Read() != 5 {
		t.Errorf("batch %+v, read %d", i, f.Read())
	}
	b.wantPending(ids(0, 5)...)
}

func TestTooManyFailuresPause(t *testing.T) {
	b := real(t)
	src := func() *lines {
		l := &lines{end: io.EOF}
		for range 3 * chunk {
			l.records = append(l.records, "!")
		}
		return l
	}
	f := b.feeder(src(), 100_000)
	f.opts.MaxFailures = 5
	if err := f.Run(t.Context()); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("error %v", err)
	}
	if i := b.info(); i.Phase != batch.Open || i.Failed < 5 || i.Failed != i.Next {
		t.Errorf("batch %+v", i)
	}
	f = b.feeder(src(), 100_000)
	f.opts.MaxFailures = 100_000
	if err := f.Run(t.Context()); err != nil {
		t.Errorf("with a higher limit: %v", err)
	}
	if i := b.info(); i.Phase != batch.Done || i.Failed != 3*chunk {
		t.Errorf("batch %+v", i)
	}
	if got := len(b.outcomes()); got != 3*chunk {
		t.Errorf("%d outcomes", got)
	}
}

func TestACancelledBatchTakesNoMore(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		done := start(t, b.feeder(numbered(50), 5))
		b.await("the window is full", func() bool { return b.info().Next == 5 })
		if _, err := b.ledger.GiveUp(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		if err := wait(t, done); !errors.Is(err, ErrCancelled) {
			t.Errorf("ended with %v", err)
		}
		b.wantPending(ids(0, 5)...)
		if err := b.feeder(numbered(50), 5).Run(t.Context()); !errors.Is(err, ErrCancelled) {
			t.Errorf("again: %v", err)
		}
	})
}

// Between the look at the batch and the move of the checkpoint.
func TestABatchCancelledBehindAChunksBackEndsTheFeeder(t *testing.T) {
	b := mini(t)
	b.rdb.AddHook(hook{one: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		if isCheckpoint(cmd) {
			_, _ = batch.NewLedger(b.rdb).GiveUp(ctx, "b")
		}
		return next(ctx, cmd)
	}})
	if err := b.feeder(numbered(5), 10).Run(t.Context()); !errors.Is(err, ErrCancelled) {
		t.Errorf("ended with %v", err)
	}
	if i := b.info(); i.N != 0 {
		t.Errorf("batch %+v", i)
	}
}

func TestACheckpointThatWasSetBackIsReported(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		done := start(t, b.feeder(numbered(50), 10))
		b.await("the window is full", func() bool { return b.info().Next == 10 })
		b.rdb.HSet(t.Context(), "weir:{b}:batch", "next", 4)
		b.done(0, 1, 2)
		var rewound *batch.RewoundError
		if err := wait(t, done); !errors.As(err, &rewound) || rewound.Next != 4 {
			t.Errorf("ended with %v", err)
		}
	})
}

// What Redis forgot may be all that would have opened the window.
func TestACheckpointThatWasSetBackIsReportedThoughTheWindowIsFull(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		done := start(t, b.feeder(numbered(50), 10))
		b.await("the window is full", func() bool { return b.info().Next == 10 })
		b.rdb.HSet(t.Context(), "weir:{b}:batch", "next", 4)
		var rewound *batch.RewoundError
		if err := wait(t, done); !errors.As(err, &rewound) || rewound.Next != 4 {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestABatchThatVanishesEndsTheFeeder(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		done := start(t, b.feeder(numbered(50), 10))
		b.await("the window is full", func() bool { return b.info().Next == 10 })
		b.rdb.FlushAll(t.Context())
		if err := wait(t, done); !errors.Is(err, batch.ErrNotFound) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestForgottenScriptsAreLoadedAgain(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		done := start(t, b.feeder(numbered(2), 1))
		b.await("the first task is in", func() bool { return b.info().Next == 1 })
		b.rdb.ScriptFlush(t.Context())
		b.done(0)
		if err := wait(t, done); err != nil || b.info().N != 2 {
			t.Errorf("%v, %+v", err, b.info())
		}
		b.wantPending("b:1")
	})
}

func TestAServerKilledWhileFeedingIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	b := newBench(t, server.Client())
	f := b.feeder(numbered(1200), 600)
	var trouble, over atomic.Int64
	f.opts.Trouble = func(err error, _ time.Duration) {
		if err != nil {
			trouble.Add(1)
		} else {
			over.Add(1)
		}
	}
	done := start(t, f)
	b.await("the window is full", func() bool { return b.info().Next == 600 })
	server.Kill()
	b.await("the feeder notices", func() bool { return trouble.Load() > 0 })
	server.Restart()
	for seq := range int64(600) {
		b.await("the outcome is recorded", func() bool {
			_, err := b.ledger.Record(t.Context(), "b", &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1}, 0, nil)
			return err == nil
		})
	}
	if err := wait(t, done); err != nil {
		t.Fatal(err)
	}
	if i := b.info(); i.N != 1200 || over.Load() == 0 {
		t.Errorf("batch %+v; told %d times that it is over", i, over.Load())
	}
	b.wantPending(ids(0, 1200)...)
}

func TestTheFeederEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for what, f := range map[string]func(b *bench) *Feeder{
		"waiting for room": func(b *bench) *Feeder { return b.feeder(numbered(50), 1) },
		"waiting for input": func(b *bench) *Feeder {
			src := make(pipe)
			b.t.Cleanup(func() { close(src) }) // or its reader would stay
			return b.feeder(src, 1)
		},
		"waiting for Redis": func(b *bench) *Feeder {
			b.rdb.AddHook(hook{one: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
				if enqueues(cmd) {
					cmd.SetErr(errLost)
					return errLost
				}
				return next(ctx, cmd)
			}})
			return b.feeder(numbered(5), 1)
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := mini(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() { done <- f(b).Run(ctx) }()
			b.await("it has begun", func() bool { return b.rdb.Exists(t.Context(), "weir:{b}:lanes").Val() == 1 })
			cancel(errDied)
			if err := wait(t, done); !errors.Is(err, errDied) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
