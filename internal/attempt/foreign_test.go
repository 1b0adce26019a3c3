package attempt_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/tasks"
)

// A plain asynq task, of any asynq client, has asynq's record: its retries, its
// archive, its result.
func TestPlainAsynqTasks(t *testing.T) {
	for name, c := range map[string]struct {
		do      handler
		opts    []asynq.Option
		state   asynq.TaskState
		retried int
		lastErr string
		runs    int
	}{
		"ok":        {do: yes, state: asynq.TaskStateCompleted, runs: 1},
		"exhausted": {do: func(context.Context, payload) (string, error) { return "", errNo }, state: asynq.TaskStateArchived, retried: 2, lastErr: "no", runs: 3},
		"permanent": {
			do:    func(context.Context, payload) (string, error) { return "", tasks.Permanent(errNo) },
			state: asynq.TaskStateArchived, lastErr: "no: skip retry for the task", runs: 1,
		},
		"panic": {
			do:    func(context.Context, payload) (string, error) { panic("boom") },
			state: asynq.TaskStateArchived, retried: 2, lastErr: "panic: boom", runs: 3,
		},
		"not UTF-8": {
			do:    func(context.Context, payload) (string, error) { return "", errors.New("\xff") },
			state: asynq.TaskStateArchived, retried: 2, lastErr: "\uFFFD", runs: 3,
		},
		"the type's timeout": {
			do: untilCut, state: asynq.TaskStateArchived, retried: 2, lastErr: "attempt took longer than 10s", runs: 3,
		},
		"its client's timeout": {
			do: untilCut, opts: []asynq.Option{asynq.Timeout(2 * time.Second)},
			state: asynq.TaskStateArchived, retried: 2, lastErr: "context deadline exceeded", runs: 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, someOptions, c.do, func(t *testing.T, w *world) {
				w.send("test-job", w.payload(0), nil, append(c.opts, asynq.TaskID("x"), asynq.MaxRetry(2), asynq.Retention(time.Hour))...)
				inspector := asynq.NewInspectorFromRedisClient(w.c)
				w.until(time.Minute, "asynq is through with it", func() bool {
					info, err := inspector.GetTaskInfo("jobs", "x")
					return err == nil && (info.State == asynq.TaskStateArchived || info.State == asynq.TaskStateCompleted)
				})
				info, err := inspector.GetTaskInfo("jobs", "x")
				if err != nil || info.State != c.state || info.Retried != c.retried || info.LastErr != c.lastErr {
					t.Errorf("%+v, %v", info, err)
				}
				if c.state == asynq.TaskStateCompleted && string(info.Result) != `"yes"` {
					t.Errorf("its result is %q", info.Result)
				}
				if n := len(w.ran()); n != c.runs {
					t.Errorf("it ran %d times", n)
				}
				if s := w.Stat(); s.InFlight != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestAThrottledPlainTaskSpendsNoRetry(t *testing.T) {
	var runs atomic.Int64
	do := func(ctx context.Context, _ payload) (string, error) {
		if info, _ := tasks.InfoFrom(ctx); info.ID != "x" || info.Batch != "" || info.Attempt != 1 {
			return "", tasks.Permanent(fmt.Errorf("it is %+v", info))
		}
		if runs.Add(1) <= 5 {
			return "", tasks.Throttled(5 * time.Second)
		}
		return "yes", nil
	}
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		start := time.Now()
		w.send("test-job", w.payload(0), nil, asynq.TaskID("x"), asynq.MaxRetry(1))
		w.until(5*time.Minute, "it is done", func() bool { return runs.Load() == 6 })
		if took := time.Since(start); took < 25*time.Second || took > 32*time.Second {
			t.Errorf("it took %v", took)
		}
		w.wantNothingLeft()
	})
}

// A task that only looks like a batch's is none: header without the ID, or the ID
// without the header.
func TestWhatOnlyLooksLikeABatchsTask(t *testing.T) {
	inBubble(t, someOptions, yes, func(t *testing.T, w *world) {
		w.send("test-job", w.payload(0), map[string]string{batch.Header: "1"}, asynq.TaskID("B:1"))
		w.send("test-job", w.payload(0), nil, asynq.TaskID("b:1"))
		w.send("test-job", w.payload(0), map[string]string{batch.Header: "nonsense"}, asynq.TaskID("b:2"))
		time.Sleep(5 * time.Second)
		if n := len(w.ran()); n != 3 {
			t.Errorf("%d ran", n)
		}
		if all := w.outcomes(); len(all) != 1 || all[0].Seq != 2 {
			t.Errorf("outcomes %v", all)
		}
		w.wantNothingLeft()
	})
}

// asynq does not run the handler of a task whose deadline has passed; its permit
// must be free at once, or a few of them would stop the worker.
func TestATaskWhoseDeadlineHasPassedTakesNoSlot(t *testing.T) {
	inBubble(t, someOptions, yes, func(t *testing.T, w *world) {
		for n := range 30 {
			w.send("test-job", w.payload(0), nil, asynq.TaskID(fmt.Sprint("late", n)), asynq.MaxRetry(0),
				asynq.Deadline(time.Now().Add(-time.Minute)), asynq.Timeout(0))
		}
		w.enqueue("b", 0)
		time.Sleep(2 * time.Second)
		if all := w.outcomes(); len(all) != 1 {
			t.Errorf("another task has to wait: outcomes %v, %+v", all, w.Stat())
		}
		if s := w.Stat(); s.InFlight != 0 || len(w.ran()) != 1 {
			t.Errorf("%+v, %d ran", s, len(w.ran()))
		}
	})
}
