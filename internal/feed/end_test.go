package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

// obedient is a task that goes on until it is told to end.
var obedient = tasks.Define("feed-obedient", tasks.Policy{},
	func(ctx context.Context, _ struct{}) (struct{}, error) { <-ctx.Done(); return struct{}{}, ctx.Err() })

// feedEverywhere feeds n obedient tasks, and puts the last two of them into the
// lane's other places.
func (b *bench) feedEverywhere(n int) {
	b.t.Helper()
	src := numbered(n)
	for i := range src.records {
		src.records[i] = "{}"
	}
	f := b.feeder(src, 1000)
	f.opts.TaskType = obedient.Type().Name()
	if err := f.Run(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	later := redis.Z{Score: float64(time.Now().Add(time.Hour).Unix())}
	for i, place := range []struct{ key, state string }{{queue.Scheduled(lane), "scheduled"}, {queue.Retry(lane), "retry"}} {
		later.Member = batch.TaskID("b", int64(n-1-i))
		b.rdb.LRem(b.t.Context(), queue.Pending(lane), 0, later.Member)
		b.rdb.HSet(b.t.Context(), queue.TaskPrefix(lane)+later.Member.(string), "state", place.state)
		if err := b.rdb.ZAdd(b.t.Context(), place.key, later).Err(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// work starts a worker.
func (b *bench) work(concurrency int) {
	b.t.Helper()
	w, err := work.New(b.rdb, b.rdb, b.ledger, work.Options{Concurrency: concurrency, ShutdownTimeout: time.Second})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = w.Stop() })
}

// inRedis is how many of the batch's tasks are in its lane.
func (b *bench) inRedis() int {
	b.t.Helper()
	in, err := queue.Places(b.t.Context(), b.rdb, []string{lane}, b.name)
	if err != nil {
		b.t.Fatal(err)
	}
	return len(in)
}

func (b *bench) active() int64 { return b.rdb.LLen(b.t.Context(), queue.Active(lane)).Val() }

// wantNothingLeft wants none of asynq's keys but those of a lane without tasks.
func (b *bench) wantNothingLeft() {
	b.t.Helper()
	if n := b.inRedis(); n != 0 {
		b.t.Errorf("%d tasks are left in Redis", n)
	}
	if keys := b.rdb.Keys(b.t.Context(), queue.TaskPrefix(lane)+"*").Val(); len(keys) > 0 {
		b.t.Errorf("left in Redis: %v", keys)
	}
}

func TestCancelGivesEveryTaskItsOutcomeWhereverItIs(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.feedEverywhere(20)
		b.done(0, 5)
		b.work(3)
		b.await("three tasks run", func() bool { return b.active() == 3 })
		for range 2 { // the second finds nothing to do
			if err := Cancel(t.Context(), b.rdb, b.ledger, "b"); err != nil {
				t.Fatal(err)
			}
			if i := b.info(); i.Phase != batch.GivenUp || i.OK != 2 || i.Cancelled != 18 || !i.Complete() {
				t.Fatalf("batch %+v", i)
			}
			b.wantNothingLeft()
		}
		seen := make(map[int64]bool)
		for _, o := range b.outcomes() {
			if seen[o.Seq] {
				t.Errorf("seq %d has two outcomes", o.Seq)
			}
			seen[o.Seq] = true
		}
		if len(seen) != 20 {
			t.Errorf("%d outcomes", len(seen))
		}
		if err := b.feeder(numbered(20), 1000).Run(t.Context()); !errors.Is(err, ErrCancelled) {
			t.Errorf("feeding a cancelled batch: %v", err)
		}
	})
}

// A worker that does not hear: Cancel gives the others their outcome, and up with
// its context; whoever cancels later finishes it.
func TestCancelDoesNotWaitForLongerThanItMay(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.run(numbered(5), 10)
		b.take()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() { done <- Cancel(ctx, b.rdb, b.ledger, "b") }()
		b.await("the others have their outcome", func() bool { return b.info().Cancelled == 4 })
		cancel(errDied)
		if err := wait(t, done); !errors.Is(err, errDied) {
			t.Errorf("cancelled with %v", err)
		}
		go func() { done <- Cancel(t.Context(), b.rdb, b.ledger, "b") }()
		b.finish(0) // it has run to its end meanwhile
		b.ack(0)
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
		if i := b.info(); i.OK != 1 || i.Cancelled != 4 || !i.Complete() {
			t.Errorf("batch %+v", i)
		}
	})
}

// A canceller that died between giving the batch up and its outcomes.
func TestCancelFinishesWhatAnotherBegan(t *testing.T) {
	b := mini(t)
	b.run(numbered(5), 10)
	if _, err := b.ledger.GiveUp(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	b.gone(3) // nor does it matter where a task is
	if err := Cancel(t.Context(), b.rdb, b.ledger, "b"); err != nil {
		t.Fatal(err)
	}
	if i := b.info(); i.Cancelled != 5 {
		t.Errorf("batch %+v", i)
	}
	b.wantNothingLeft()
}

func TestADoneBatchStaysDone(t *testing.T) {
	b := mini(t)
	b.run(numbered(1), 10)
	b.done(0)
	if err := Cancel(t.Context(), b.rdb, b.ledger, "b"); err != nil || b.info().Phase != batch.Done {
		t.Errorf("%v, %+v", err, b.info())
	}
}

func TestThereIsNothingToEndWithoutABatch(t *testing.T) {
	b := mini(t)
	if err := Cancel(t.Context(), b.rdb, b.ledger, "none"); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("cancelled with %v", err)
	}
	if _, err := Stop(t.Context(), b.rdb, b.ledger, "none", "me"); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("stopped with %v", err)
	}
	if keys := b.rdb.Keys(t.Context(), "*none*").Val(); len(keys) > 0 {
		t.Errorf("left %v", keys)
	}
}

// Stop, Resume and feeding again: each task has one outcome, whatever was running.
func TestAStoppedBatchIsOutOfRedisAndGoesOn(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.feedEverywhere(12)
		b.done(1)
		b.work(2)
		b.await("two tasks run", func() bool { return b.active() == 2 })
		left, err := Stop(t.Context(), b.rdb, b.ledger, "b", "me")
		if err != nil || left != 0 {
			t.Fatalf("left %d, %v", left, err)
		}
		b.wantNothingLeft()
		if i := b.info(); !i.Stopped || i.Outcomes() != 1 {
			t.Errorf("batch %+v", i)
		}
		if a, _, err := b.ledger.Begin(t.Context(), "b", 7); err != nil || a != batch.Forget {
			t.Errorf("a straggler is answered %v, %v", a, err)
		}
		if err := Resume(t.Context(), b.rdb, b.ledger, "b", "me"); err != nil || b.info().Stopped {
			t.Fatalf("%v, %+v", err, b.info())
		}
		src := numbered(12)
		for i := range src.records {
			src.records[i] = "{}"
		}
		f := b.feeder(src, 100)
		f.opts.TaskType = obedient.Type().Name()
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.await("two run again", func() bool { return b.active() == 2 })
		if got := b.inRedis(); got != 11 {
			t.Errorf("%d tasks in Redis again, want the 11 without outcome", got)
		}
		if err := Cancel(t.Context(), b.rdb, b.ledger, "b"); err != nil {
			t.Fatal(err)
		}
		if i := b.info(); i.Phase != batch.GivenUp || i.OK != 1 || i.Cancelled != 11 {
			t.Errorf("batch %+v", i)
		}
	})
}

// A worker that does not hear: how many it still runs is told, and until they have
// ended the batch is not gone on with.
func TestStopTellsWhatIsStillRunningAndResumeWaitsForIt(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.run(numbered(6), 10)
		b.take()
		b.take()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			left, err := Stop(ctx, b.rdb, b.ledger, "b", "me")
			if left != 2 {
				err = fmt.Errorf("left %d, %w", left, err)
			}
			done <- err
		}()
		announced := b.hear()
		b.await("nothing waits", func() bool { return len(b.pending()) == 0 })
		<-announced
		cancel(errDied)
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
		ctx, cancel = context.WithCancelCause(t.Context())
		go func() { done <- Resume(ctx, b.rdb, b.ledger, "b", "me") }()
		<-announced // it tells the workers again
		cancel(errDied)
		if err := wait(t, done); !errors.Is(err, errDied) || !b.info().Stopped {
			t.Errorf("resumed with %v: %+v", err, b.info())
		}
		go func() { done <- Resume(t.Context(), b.rdb, b.ledger, "b", "me") }()
		b.ack(0)
		b.finish(1) // the worker came to an end with this one
		b.ack(1)
		if err := wait(t, done); err != nil || b.info().Stopped {
			t.Errorf("%v, %+v", err, b.info())
		}
		b.run(numbered(6), 10)
		b.wantPending("b:0", "b:2", "b:3", "b:4", "b:5")
	})
}

// withholding withholds the calls of scripts that have to do with a fence, as a network may.
type withholding struct{ held []redis.Cmder }

func (l *withholding) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *withholding) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *withholding) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		switch fenced := strings.Contains(fmt.Sprint(cmd.Args()...), ":fence:"); {
		case fenced && cmd.Name() == "evalsha":
			cmd.SetErr(redis.ErrNoScript) // then its text is sent
		case fenced && cmd.Name() == "eval":
			l.held = append(l.held, cmd)
			cmd.SetErr(errDied)
		default:
			return next(ctx, cmd)
		}
		return cmd.Err()
	}
}

// A producer that is interrupted may die while what it sent last is still on its way. When
// that comes, another has enqueued the same tasks again.
func TestWhatIsWithdrawnLateIsOfTheFormerLifeOnly(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.run(numbered(6), 10)
		way := &withholding{}
		slow := redis.NewClient(b.rdb.(*redis.Client).Options())
		defer slow.Close()
		slow.AddHook(way)
		if _, err := Stop(t.Context(), slow, b.ledger, "b", "me"); !errors.Is(err, errDied) || len(way.held) == 0 {
			t.Fatalf("stopped with %v, and %d calls", err, len(way.held))
		}
		if err := Resume(t.Context(), b.rdb, b.ledger, "b", "another"); err != nil {
			t.Fatal(err)
		}
		b.run(numbered(6), 10)
		for _, cmd := range way.held {
			if n, err := b.rdb.Do(t.Context(), cmd.Args()...).Int(); err != nil || n != 0 {
				t.Errorf("%d were taken out, %v", n, err)
			}
		}
		b.wantPending("b:0", "b:1", "b:2", "b:3", "b:4", "b:5")
	})
}

// frozen stops a client at its first call that takes tasks out of a queue, until it may go on.
type frozen struct {
	at, on chan struct{}
	once   sync.Once
}

func (f *frozen) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *frozen) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if strings.Contains(fmt.Sprint(cmds), ":fence:") { // they were looked for
			f.once.Do(func() { close(f.at); <-f.on })
		}
		return err
	}
}

func (f *frozen) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// A producer may be frozen while it stops its batch, and go on when another has had the batch
// for long: nothing of that one's is taken out.
func TestAProducerThatWasFrozenTakesNothingOfItsSuccessors(t *testing.T) {
	for what, end := range map[string]func(ctx context.Context, rdb redis.UniversalClient, b *bench) error{
		"stop": func(ctx context.Context, rdb redis.UniversalClient, b *bench) error {
			_, err := Stop(ctx, rdb, b.ledger, "b", "me")
			return err
		},
		"resume": func(ctx context.Context, rdb redis.UniversalClient, b *bench) error {
			return Resume(ctx, rdb, b.ledger, "b", "me")
		},
	} {
		t.Run(what, func(t *testing.T) {
			both(t, func(t *testing.T, b *bench) {
				b.run(numbered(6), 10)
				process := &frozen{at: make(chan struct{}), on: make(chan struct{})}
				slow := redis.NewClient(b.rdb.(*redis.Client).Options())
				defer slow.Close()
				slow.AddHook(process)
				done := make(chan error, 1)
				go func() { done <- end(t.Context(), slow, b) }()
				<-process.at
				if holder, err := b.ledger.Lease(t.Context(), "b", "another", "", time.Minute); err != nil || holder != "" {
					t.Fatal(holder, err)
				}
				if err := Resume(t.Context(), b.rdb, b.ledger, "b", "another"); err != nil {
					t.Fatal(err)
				}
				b.run(numbered(6), 10)
				if err := b.ledger.Release(t.Context(), "b", "another"); err != nil {
					t.Fatal(err)
				}
				close(process.on)
				if err := wait(t, done); !errors.Is(err, batch.ErrNotItsProducer) {
					t.Errorf("it ended with %v", err)
				}
				b.wantPending("b:0", "b:1", "b:2", "b:3", "b:4", "b:5")
				if b.info().Stopped {
					t.Error("the batch is stopped")
				}
			})
		})
	}
}

// hear hears of each announcement that the batch is stopped.
func (b *bench) hear() <-chan struct{} {
	b.t.Helper()
	heard := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		b.ledger.Listen(ctx, func(name string, end batch.Ending) {
			if name == b.name && end == batch.EndStopped {
				heard <- struct{}{}
			}
		})
	}()
	b.t.Cleanup(func() { cancel(); <-gone })
	return heard
}

// Others' tasks of the same lane stay.
func TestOneBatchsEndIsNotAnothers(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(b *bench) error{
		"cancel": func(b *bench) error { return Cancel(b.t.Context(), b.rdb, b.ledger, "b") },
		"stop":   func(b *bench) error { _, err := Stop(b.t.Context(), b.rdb, b.ledger, "b", "me"); return err },
	} {
		t.Run(what, func(t *testing.T) {
			both(t, func(t *testing.T, b *bench) {
				b.run(numbered(3), 10)
				other := &bench{t, b.rdb, b.ledger, "b-2"}
				if _, err := b.ledger.Create(t.Context(), "b-2", batch.Options{Type: "square", Lane: lane, TimeoutMS: 60_000, KeepMS: 60_000}); err != nil {
					t.Fatal(err)
				}
				other.run(numbered(2), 10)
				if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(asynq.NewTask("t", nil), asynq.Queue(lane), asynq.TaskID("b")); err != nil {
					t.Fatal(err)
				}
				if err := end(b); err != nil {
					t.Fatal(err)
				}
				got := b.pending()
				if want := []string{"b-2:0", "b-2:1", "b"}; !slices.Equal(got, want) {
					t.Errorf("pending %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
				}
				if i := other.info(); i.Stopped || i.Outcomes() != 0 || i.Phase != batch.Sealed {
					t.Errorf("the other batch is %+v", i)
				}
			})
		})
	}
}

// Pausing sets aside what waits, and resuming brings it back in the order of input.
func TestAPausedBatchWaits(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.run(numbered(600), 600)
		b.take()
		for range 2 { // the second time is as good as none
			if err := Pause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
				t.Fatal(err)
			}
		}
		b.wantPending()
		in, err := queue.Places(t.Context(), b.rdb, []string{lane}, "b")
		if err != nil || len(in) != 600 || in[0] != queue.InActive || in[1] != queue.InScheduled {
			t.Errorf("%d tasks, %v", len(in), err)
		}
		for range 2 {
			if err := Unpause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
				t.Fatal(err)
			}
		}
		b.wantPending(ids(1, 600)...)
	})
}

// Who pauses may be frozen meanwhile, and goes on when somebody has resumed the batch.
func TestAPauseThatComesAfterTheResumeIsTakenBack(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.run(numbered(10), 10)
		frozen := redis.NewClient(b.rdb.(*redis.Client).Options())
		defer frozen.Close()
		resumed := false
		frozen.AddHook(hook{one: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
			if parks := strings.Contains(fmt.Sprint(cmd.Args()...), "park"); parks && !resumed {
				resumed = true
				if err := Unpause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
					t.Error(err)
				}
			}
			return next(ctx, cmd)
		}})
		if err := Pause(t.Context(), frozen, batch.NewLedger(frozen), "b"); err != nil || !resumed {
			t.Fatal(resumed, err)
		}
		b.wantPending(ids(0, 10)...)
		if b.info().Paused {
			t.Error("it is paused")
		}
	})
}

// A feeder enqueues nothing while its batch is paused.
func TestAFeederOfAPausedBatchWaits(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		done := start(t, b.feeder(numbered(50), 10))
		b.await("the window is full", func() bool { return b.info().Next == 10 })
		if err := Pause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
			t.Fatal(err)
		}
		for seq := range int64(10) {
			o := &batch.Outcome{Seq: seq, State: batch.OK}
			if _, err := b.ledger.Record(t.Context(), "b", o, -time.Microsecond, nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4 * settle) // long enough for a feeder that does not wait
		if i := b.info(); i.Next != 10 {
			t.Errorf("paused, it went on to %d", i.Next)
		}
		if err := Unpause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
			t.Fatal(err)
		}
		b.await("it goes on", func() bool { return b.info().Next == 20 })
		_ = Cancel(t.Context(), b.rdb, b.ledger, "b")
		if err := wait(t, done); !errors.Is(err, ErrCancelled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// What waits when the deadline passes keeps its payload in the dead letters.
func TestExpireFailsWhatIsLeft(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.run(numbered(10), 10)
		b.done(3)
		b.gone(4)
		b.take()
		done := make(chan error, 1)
		go func() { done <- Expire(t.Context(), b.rdb, b.ledger, "b", nil) }()
		b.await("all but the running one have failed", func() bool { return b.info().Failed == 8 })
		b.finish(0)
		b.ack(0)
		if err := wait(t, done); err != nil {
			t.Fatal(err)
		}
		failed, err := b.ledger.Failures(t.Context(), "b", []int64{1, 2, 4, 9})
		if err != nil || len(failed) != 4 {
			t.Fatalf("%+v, %v", failed, err)
		}
		for _, o := range failed {
			if o.Class != batch.Expired || (o.Seq != 4) != (string(o.Payload) == fmt.Sprintf(`{"n":%d}`, o.Seq)) {
				t.Errorf("%+v with payload %s", o, o.Payload)
			}
		}
		if i := b.info(); !i.Complete() || !i.Expired {
			t.Errorf("%+v", i)
		}
	})
}
