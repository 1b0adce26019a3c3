package attempt

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/tasks"
)

// What an attempt's end tells its lane.
func TestAnswer(t *testing.T) {
	refused := errors.New("503")
	for name, c := range map[string]struct {
		err   error
		cause error // why its context ended; nil: it did not
		want  governor.Outcome
		after time.Duration
	}{
		"ok":                      {nil, nil, governor.OK, 0},
		"ok, though stopped":      {nil, context.Canceled, governor.OK, 0},
		"an error":                {refused, nil, governor.AppError, 0},
		"permanent":               {tasks.Permanent(refused), nil, governor.AppError, 0},
		"overloaded":              {fmt.Errorf("call: %w", tasks.Overloaded(refused)), nil, governor.Overload, 0},
		"throttled":               {tasks.Throttled(3 * time.Second), nil, governor.Throttled, 3 * time.Second},
		"given up":                {fmt.Errorf("call: %w", context.Canceled), nil, governor.Cancelled, 0},
		"nobody in time":          {tasks.Overloaded(context.DeadlineExceeded), nil, governor.Timeout, 0},
		"too long":                {refused, &timeoutError{time.Second}, governor.Timeout, 0},
		"throttled, but too long": {tasks.Throttled(time.Second), &timeoutError{time.Second}, governor.Timeout, 0},
		"stopped":                 {refused, context.Canceled, governor.Cancelled, 0},
		"overloaded, but stopped": {tasks.Overloaded(refused), context.Canceled, governor.Cancelled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.cause != nil {
				cancel(c.cause)
			}
			got := answer(ctx, c.err, time.Now().Add(-time.Minute), &tasks.Quota{Remaining: 7, Reset: time.Hour}, newServices(ctx, nil, "own"))
			if got.Outcome != c.want || got.RetryAfter != c.after {
				t.Errorf("%v after %v, want %v after %v", got.Outcome, got.RetryAfter, c.want, c.after)
			}
			if got.Latency < time.Minute || got.Remaining != 7 || got.Reset != time.Hour {
				t.Errorf("it tells %+v", got)
			}
		})
	}
}

// What calls of the own lane were told counts, all together; what is spent on others' lanes
// is no latency of it.
func TestAnswerOfCalls(t *testing.T) {
	s := newServices(t.Context(), nil, "own")
	for _, a := range []tasks.Answer{
		{Latency: time.Second},
		{Latency: 2 * time.Second, Err: tasks.Throttled(9 * time.Second), Quota: &tasks.Quota{Remaining: 3, Reset: time.Minute}},
		{Latency: time.Second, Err: tasks.Overloaded(errors.New("503"))},
	} {
		tell, err := s.acquire(t.Context(), "own")
		if err != nil {
			t.Fatal(err)
		}
		tell(a)
	}
	got := answer(t.Context(), errors.New("whatever"), time.Now().Add(-time.Minute), nil, s)
	want := governor.Result{Outcome: governor.Throttled, RetryAfter: 9 * time.Second, Latency: 4 * time.Second, Remaining: 3, Reset: time.Minute}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}

	s = newServices(t.Context(), nil, "own")
	s.leave()
	s.since = time.Now().Add(-50 * time.Second)
	s.comeBack()
	got = answer(t.Context(), nil, time.Now().Add(-time.Minute), nil, s)
	if got.Outcome != governor.OK || got.Latency > 11*time.Second || got.Latency < 9*time.Second {
		t.Errorf("got %+v beside 50 s elsewhere", got)
	}
}
