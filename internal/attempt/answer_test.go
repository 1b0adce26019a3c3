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
			got := answer(ctx, c.err, time.Now().Add(-time.Minute), &tasks.Quota{Remaining: 7, Reset: time.Hour})
			if got.Outcome != c.want || got.RetryAfter != c.after {
				t.Errorf("%v after %v, want %v after %v", got.Outcome, got.RetryAfter, c.want, c.after)
			}
			if got.Latency < time.Minute || got.Remaining != 7 || got.Reset != time.Hour {
				t.Errorf("it tells %+v", got)
			}
		})
	}
}
