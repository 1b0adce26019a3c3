package attempt_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/tasks"
)

func yes(context.Context, payload) (string, error) { return "yes", nil }

// untilCut waits for its context's end, as a handler should.
func untilCut(ctx context.Context, _ payload) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// deliver enqueues a task, whatever the ledger has of it, and waits until asynq has
// closed it.
func (w *world) deliver(seqs ...int64) {
	w.t.Helper()
	w.enqueue("b", seqs...)
	w.until(time.Minute, "the task is closed", func() bool {
		info, err := asynq.NewInspectorFromRedisClient(w.c).GetQueueInfo("jobs")
		return err == nil && info.Size == 0
	})
}

func TestATaskWithAnOutcomeIsClosed(t *testing.T) {
	inBubble(t, someOptions, yes, func(t *testing.T, w *world) {
		for range 3 {
			w.deliver(0)
		}
		if n := len(w.ran()); n != 1 {
			t.Errorf("it ran %d times", n)
		}
		if n := len(w.outcomes()); n != 1 {
			t.Errorf("%d outcomes", n)
		}
		w.wantNothingLeft()
		if got := w.verdicts(); got != "ok, closed, closed" {
			t.Errorf("observed %q", got)
		}
	})
}

// Two workers run one task, since the first was thought dead. The second one's
// outcome is none; both are closed.
func TestOfTwoRunsTheFirstOutcomeCounts(t *testing.T) {
	var runs atomic.Int64
	do := func(context.Context, payload) (string, error) {
		if runs.Add(1) == 1 {
			time.Sleep(6 * time.Second)
			return "", tasks.Permanent(errors.New("the first run's"))
		}
		return "yes", nil
	}
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		w.enqueue("b", 0)
		time.Sleep(time.Second)
		leases, err := queue.Leases(w.ctx, w.c, "jobs")
		if err != nil || len(leases) != 1 {
			t.Fatal(leases, err)
		}
		if back, err := queue.GiveBack(w.ctx, w.c, "jobs", "b:0", leases["b:0"]); !back || err != nil {
			t.Fatal(back, err)
		}
		_ = queue.Wake(w.ctx, w.c, queue.Normal, "jobs")
		time.Sleep(10 * time.Second)
		if all := w.outcomes(); len(all) != 1 || all[0].State != batch.OK || runs.Load() != 2 {
			t.Errorf("%d runs, %d outcomes", runs.Load(), len(all))
		}
		w.wantNothingLeft()
	})
}

func TestATaskOfACancelledBatchIsNotRun(t *testing.T) {
	inBubble(t, someOptions, yes, func(t *testing.T, w *world) {
		w.checkpoint(2)
		if _, err := w.ledger.GiveUp(w.ctx, "b"); err != nil {
			t.Fatal(err)
		}
		w.deliver(0, 1, 2) // 2 is beyond its end
		if n := len(w.ran()); n != 0 {
			t.Errorf("%d ran", n)
		}
		i, err := w.ledger.Info(w.ctx, "b")
		if err != nil || i.Cancelled != 2 || !i.Complete() {
			t.Errorf("%+v, %v", i, err)
		}
		w.wantNothingLeft()
	})
}

func (w *world) checkpoint(n int64) {
	w.t.Helper()
	if err := w.ledger.Checkpoint(w.ctx, "b", 0, n, ""); err != nil {
		w.t.Fatal(err)
	}
}

func TestCancellingCutsAttemptsOff(t *testing.T) {
	inBubble(t, someOptions, untilCut, func(t *testing.T, w *world) {
		w.checkpoint(2)
		w.enqueue("b", 0, 1)
		time.Sleep(time.Second)
		start := time.Now()
		w.end(batch.EndCancelled)
		w.until(5*time.Second, "both have their outcome", func() bool { return len(w.outcomes()) == 2 })
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		for _, o := range w.outcomes() {
			if o.State != batch.Cancelled || o.Error != "" || o.Attempts != 1 || o.MS < 900 {
				t.Errorf("got %+v", o)
			}
		}
		w.wantNothingLeft()
		if got := w.verdicts(); got != "cancelled, cancelled" {
			t.Errorf("observed %q", got)
		}
	})
}

// end cancels or stops the batch, and announces it.
func (w *world) end(e batch.Ending) {
	w.t.Helper()
	var err error
	if e == batch.EndCancelled {
		_, err = w.ledger.GiveUp(w.ctx, "b")
	} else {
		err = w.ledger.SetStopped(w.ctx, "b", "me", true)
	}
	if err == nil {
		err = w.ledger.Announce(w.ctx, "b", e)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Its handler does not notice: the outcome does not wait for it.
func TestCancellingAStuckAttempt(t *testing.T) {
	do := func(context.Context, payload) (string, error) { time.Sleep(20 * time.Second); return "late", nil }
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		w.checkpoint(1)
		w.enqueue("b", 0)
		time.Sleep(time.Second)
		w.end(batch.EndCancelled)
		time.Sleep(2 * time.Second)
		if all := w.outcomes(); len(all) != 1 || all[0].State != batch.Cancelled || w.Stat().Stuck != 1 {
			t.Errorf("outcomes %v, %+v", all, w.Stat())
		}
		time.Sleep(20 * time.Second)
		if all := w.outcomes(); len(all) != 1 {
			t.Errorf("%d outcomes", len(all))
		}
		w.wantNothingLeft()
	})
}

// A stopped batch's tasks go without an outcome, running or waiting; resumed, they
// come again, and no attempt was spent.
func TestStoppingDropsTasksWithoutOutcome(t *testing.T) {
	var obey atomic.Bool
	obey.Store(true)
	do := func(ctx context.Context, in payload) (string, error) {
		if obey.Load() {
			return untilCut(ctx, in)
		}
		return "yes", nil
	}
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		w.enqueue("b", 0, 1)
		time.Sleep(time.Second)
		w.end(batch.EndStopped)
		w.deliver(2)
		w.until(5*time.Second, "nothing of it is left in asynq", func() bool {
			leases, err := queue.Leases(w.ctx, w.c, "jobs")
			return err == nil && len(leases) == 0
		})
		if all := w.outcomes(); len(all) != 0 {
			t.Errorf("outcomes %v", all)
		}
		w.wantNothingLeft()
		if err := w.ledger.SetStopped(w.ctx, "b", "me", false); err != nil {
			t.Fatal(err)
		}
		obey.Store(false)
		for _, o := range w.run(3) {
			if o.State != batch.OK || o.Attempts != 1 {
				t.Errorf("got %+v", o)
			}
		}
	})
}

// The announcement comes late, when the batch has been gone on with, or it comes
// from a stranger: the ledger knows that the batch is neither cancelled nor stopped.
func TestAnAnnouncementThatIsNotSoLosesNothing(t *testing.T) {
	for _, e := range []batch.Ending{batch.EndCancelled, batch.EndStopped, "melted"} {
		t.Run(string(e), func(t *testing.T) {
			var runs atomic.Int64
			do := func(ctx context.Context, in payload) (string, error) {
				if runs.Add(1) == 1 {
					return untilCut(ctx, in)
				}
				return "yes", nil
			}
			inBubble(t, someOptions, do, func(t *testing.T, w *world) {
				w.enqueue("b", 0)
				time.Sleep(time.Second)
				if err := w.ledger.Announce(w.ctx, "b", e); err != nil {
					t.Fatal(err)
				}
				w.until(5*time.Second, "it has run again", func() bool { return len(w.outcomes()) == 1 })
				if o := w.outcomes()[0]; o.State != batch.OK || o.Attempts != 1 || runs.Load() != 2 {
					t.Errorf("%d runs, %+v", runs.Load(), o)
				}
				w.wantNothingLeft()
			})
		})
	}
}

func TestOtherBatchesAreNotCutOff(t *testing.T) {
	do := func(ctx context.Context, _ payload) (string, error) {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(5 * time.Second):
			return "yes", nil
		}
	}
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		w.create("bb", someOptions)
		w.enqueue("b", 0)
		time.Sleep(time.Second)
		if _, err := w.ledger.GiveUp(w.ctx, "bb"); err != nil {
			t.Fatal(err)
		}
		if err := w.ledger.Announce(w.ctx, "bb", batch.EndCancelled); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if all := w.outcomes(); len(all) != 1 || all[0].State != batch.OK || len(w.ran()) != 1 {
			t.Errorf("outcomes %v after %d runs", all, len(w.ran()))
		}
	})
}

func TestATaskOfNoBatchIsDropped(t *testing.T) {
	inBubble(t, someOptions, yes, func(t *testing.T, w *world) {
		w.enqueue("gone", 0)
		time.Sleep(5 * time.Second)
		if n := len(w.ran()); n != 0 || w.verdicts() != "closed" {
			t.Errorf("%d runs; observed %q", n, w.verdicts())
		}
		w.wantNothingLeft()
	})
}

// The batch goes while its task runs: there is nowhere to write the outcome to.
func TestABatchThatGoesMeanwhile(t *testing.T) {
	do := func(context.Context, payload) (string, error) { time.Sleep(2 * time.Second); return "yes", nil }
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		w.enqueue("b", 0)
		w.until(10*time.Second, "it runs", func() bool { return len(w.ran()) == 1 })
		if err := w.ledger.Discard(w.ctx, "b"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if n := len(w.ran()); n != 1 {
			t.Errorf("%d runs", n)
		}
		w.wantNothingLeft()
	})
}

// A worker of another program version: the task waits for one that knows its type,
// and loses no attempt by waiting.
func TestAnUnknownTypeIsNotBurnt(t *testing.T) {
	inBubble(t, someOptions, yes, func(t *testing.T, w *world) {
		w.send("of-the-future", w.payload(0), map[string]string{batch.Header: "1"},
			asynq.TaskID(batch.TaskID("b", 0)), asynq.MaxRetry(1_000_000))
		time.Sleep(30 * time.Second)
		inspector := asynq.NewInspectorFromRedisClient(w.c)
		info, err := inspector.GetTaskInfo("jobs", "b:0")
		if err != nil || info.Retried != 0 || info.State == asynq.TaskStateArchived {
			t.Errorf("%+v, %v", info, err)
		}
		if info, _ := inspector.GetQueueInfo("jobs"); info.Processed > 10 {
			t.Errorf("asynq counts %d runs", info.Processed)
		}
		w.until(time.Second, "it holds no permit", func() bool { return w.Stat().InFlight == 0 })
		if n := w.CommandCount(); n > 1_500 {
			t.Errorf("%d commands in 30 s", n)
		}
	})
}

// Redis goes away while a task runs. What it did is not done again: its outcome is
// held, however long that takes, also when asynq has given the task up after 30 s.
func TestAnOutcomeIsHeldWhileRedisIsAway(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 20 * time.Second, time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			do := func(context.Context, payload) (string, error) { time.Sleep(3 * time.Second); return "yes", nil }
			inBubble(t, someOptions, do, func(t *testing.T, w *world) {
				w.enqueue("b", 0, 1)
				time.Sleep(time.Second)
				w.SetDown(true)
				time.Sleep(away + 3*time.Second)
				w.SetDown(false)
				start := time.Now()
				w.until(time.Minute, "both outcomes are there", func() bool {
					i, err := w.ledger.Info(w.ctx, "b")
					return err == nil && i.OK == 2
				})
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("they were there after %v", took)
				}
				time.Sleep(20 * time.Second) // until rescue has closed what asynq could not
				if n := len(w.ran()); n != 2 {
					t.Errorf("2 tasks ran %d times", n)
				}
				w.wantNothingLeft()
			})
		})
	}
}

// Redis goes away before the attempt: it begins when Redis is back. No attempt is
// spent meanwhile.
func TestAnAttemptWaitsForTheLedger(t *testing.T) {
	for _, away := range []time.Duration{10 * time.Second, time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			inBubble(t, someOptions, yes, func(t *testing.T, w *world) {
				var on atomic.Bool
				on.Store(true)
				w.c.AddHook(noLedger{&on})
				w.enqueue("b", 0)
				time.Sleep(away)
				if n := len(w.ran()); n != 0 {
					t.Errorf("%d ran without the ledger's leave", n)
				}
				on.Store(false)
				w.until(2*time.Minute, "its outcome is there", func() bool { return len(w.outcomes()) == 1 })
				if o := w.outcomes()[0]; o.State != batch.OK || len(w.ran()) != 1 || o.Attempts != 1 {
					t.Errorf("%d runs, %+v", len(w.ran()), o)
				}
				w.wantNothingLeft()
			})
		})
	}
}

// noLedger is a hook by which the slot of the ledger's keys does not answer, while
// that of the lane does.
type noLedger struct{ on *atomic.Bool }

func (h noLedger) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h noLedger) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.on.Load() && strings.Contains(fmt.Sprint(cmd.Args()...), "weir:{b}:batch") {
			cmd.SetErr(errors.New("i/o timeout"))
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

func (h noLedger) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// The reply to Record is lost: written again, it counts once.
func TestALostReplyOfRecordCountsOnce(t *testing.T) {
	inBubble(t, someOptions, yes, func(t *testing.T, w *world) {
		w.c.AddHook(&lostReplies{left: 3})
		if all := w.run(1); len(all) != 1 || len(w.ran()) != 1 {
			t.Errorf("%d outcomes of %d runs", len(all), len(w.ran()))
		}
		if i, err := w.ledger.Info(w.ctx, "b"); err != nil || i.OK != 1 {
			t.Errorf("%+v, %v", i, err)
		}
		w.wantNothingLeft()
	})
}

// lostReplies is a hook that swallows the first replies to scripts of the ledger.
type lostReplies struct{ left int }

func (h *lostReplies) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *lostReplies) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && h.left > 0 && cmd.Name() == "evalsha" && strings.Contains(fmt.Sprint(cmd.Args()...), "weir:{b}:dead") {
			h.left--
			cmd.SetErr(errors.New("connection reset by peer"))
			return cmd.Err()
		}
		return err
	}
}

func (h *lostReplies) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Stop while outcomes are held: it does not wait for a Redis that is away.
func TestStopLetsHeldOutcomesGo(t *testing.T) {
	do := func(context.Context, payload) (string, error) { time.Sleep(3 * time.Second); return "yes", nil }
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		w.enqueue("b", 0)
		time.Sleep(time.Second)
		w.SetDown(true)
		time.Sleep(50 * time.Second)
		start := time.Now()
		_ = w.Stop()
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("Stop took %v", took)
		}
		w.SetDown(false)
		time.Sleep(10 * time.Second)
		if all := w.outcomes(); len(all) != 0 {
			t.Errorf("after Stop it has recorded %v", all)
		}
	})
}
