package attempt_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/tasks"
)

// inFlight is how many calls of a lane the worker has.
func (w *world) inFlight(lane string) int {
	for _, st := range w.Stat().Lanes {
		if st.Name == lane {
			return st.InFlight
		}
	}
	return 0
}

// Handlers that all call a second service keep to its limit; those that find no room come
// back later, at no cost of an attempt.
func TestCallsOfASecondServiceKeepToItsLimit(t *testing.T) {
	var now, peak, refusals atomic.Int64
	call := func(ctx context.Context, _ payload) (string, error) {
		permit, err := tasks.Acquire(ctx, "second")
		if err != nil {
			refusals.Add(1)
			return "", err
		}
		defer permit.Done(nil)
		if n := now.Add(1); n > peak.Load() {
			peak.Store(n)
		}
		defer now.Add(-1)
		time.Sleep(1500 * time.Millisecond) // longer than the others wait
		return "called", nil
	}
	inBubble(t, someOptions, call, func(t *testing.T, w *world) {
		w.configure("second", governor.Config{Limit: 1})
		for _, o := range w.run(6) {
			if o.State != batch.OK || o.Attempts != 1 {
				t.Errorf("outcome %+v", o)
			}
		}
		if peak.Load() != 1 || refusals.Load() == 0 {
			t.Errorf("%d calls at once, %d had to come back", peak.Load(), refusals.Load())
		}
		w.wantNothingLeft()
	})
}

// A permit that the handler does not give back goes back when it returns, also by a panic;
// what it left running gets no other. The lane is announced to all workers.
func TestForgottenPermitsComeBack(t *testing.T) {
	var late atomic.Value
	forget := func(ctx context.Context, in payload) (string, error) {
		permit, err := tasks.Acquire(ctx, "second")
		if err != nil {
			return "", err
		}
		if in.N == 0 {
			go func() {
				time.Sleep(5 * time.Second)
				permit.Done(nil)
				_, err := tasks.Acquire(context.WithoutCancel(ctx), "second")
				late.Store(err)
			}()
			return "", nil
		}
		panic("with a permit")
	}
	inBubble(t, batch.Options{Type: "test-job", TimeoutMS: 10_000, KeepMS: 3_600_000}, forget, func(t *testing.T, w *world) {
		w.run(2)
		if n := w.inFlight("second"); n != 0 {
			t.Errorf("%d permits are out", n)
		}
		w.until(10*time.Second, "the lane is announced", func() bool {
			return w.c.SIsMember(w.ctx, "weir:lanes:governed", "second").Val()
		})
		if w.c.SIsMember(w.ctx, "weir:lanes:governed", "jobs").Val() {
			t.Error("the task's own lane is governed too")
		}
		w.until(time.Minute, "the late call is refused", func() bool { return late.Load() != nil })
		if n := w.inFlight("second"); n != 0 {
			t.Errorf("%d permits are out after the late call", n)
		}
		w.wantNothingLeft()
	})
}

// What a second service says is not held against the task's own lane, and the other way
// round: its refusals pause its own lane only.
func TestEachLaneHearsOfItsOwnService(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	handle := func(ctx context.Context, in payload) (string, error) {
		own, err := tasks.Acquire(ctx, "jobs") // takes nothing
		if err != nil {
			return "", err
		}
		own.Done(nil)
		second, err := tasks.Acquire(ctx, "second")
		if err != nil {
			return "", err
		}
		if refuse.CompareAndSwap(true, false) {
			second.Done(tasks.Throttled(20 * time.Second))
			return "", tasks.Throttled(20 * time.Second)
		}
		second.Done(nil)
		return "done", nil
	}
	inBubble(t, someOptions, handle, func(t *testing.T, w *world) {
		w.configure("jobs", governor.Config{Max: 1000})
		w.enqueue("b", 0)
		w.until(10*time.Second, "the second lane is paused", func() bool {
			v, ok, err := governor.Look(w.ctx, w.c, "second")
			return err == nil && ok && v.State == governor.Paused
		})
		if v, _, err := governor.Look(w.ctx, w.c, "jobs"); err != nil || v.State != governor.Open {
			t.Errorf("the task's own lane: %+v, %v", v, err)
		}
		for _, o := range w.finish(1) {
			if o.State != batch.OK || o.Attempts != 1 {
				t.Errorf("outcome %+v", o)
			}
		}
		w.wantNothingLeft()
	})
}

// The own lane hears what the calls of it were told, not what the handler makes of it.
func TestCallsOfTheOwnLaneTellIt(t *testing.T) {
	var once sync.Once
	handle := func(ctx context.Context, in payload) (string, error) {
		permit, err := tasks.Acquire(ctx, "jobs")
		if err != nil {
			return "", err
		}
		answer := error(nil)
		once.Do(func() { answer = tasks.Throttled(20 * time.Second) })
		permit.Done(answer)
		if answer != nil {
			return "", errors.New("it did not work")
		}
		return "done", nil
	}
	inBubble(t, someOptions, handle, func(t *testing.T, w *world) {
		w.configure("jobs", governor.Config{Max: 1000})
		w.enqueue("b", 0)
		w.until(10*time.Second, "the lane is paused", func() bool {
			v, ok, err := governor.Look(w.ctx, w.c, "jobs")
			return err == nil && ok && v.State == governor.Paused
		})
		for _, o := range w.finish(1) {
			if o.State != batch.OK || o.Attempts != 2 {
				t.Errorf("outcome %+v", o)
			}
		}
	})
}
