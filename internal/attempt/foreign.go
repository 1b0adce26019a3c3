package attempt

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/tracing"
	"github.com/weir-tasks/weir/tasks"
)

// foreign runs a plain asynq task of a known type, enqueued by any asynq client.
// It belongs to no batch: asynq's own retries, archive and result are its record.
func (r *Runner) foreign(ctx context.Context, d *delivery) error {
	if err := r.verify(d); err != nil {
		d.permit.Release()
		r.observe(d, string(batch.Failed), classify(err), 0)
		r.opts.Log.Warn("a plain asynq task is not run", d.attrs(), "type", d.typ.Name(), "err", err)
		return fmt.Errorf("%s: %w", sanitize(err.Error()), asynq.SkipRetry)
	}
	if tracing.On() {
		ctx, d.span = tracing.Process(ctx, d.traced(), d.task.Headers())
		defer d.span.End()
	}
	ctx = tasks.WithInfo(ctx, tasks.Info{ID: d.id, Attempt: d.retried + 1})
	timeout := d.typ.Policy().Timeout
	result, took, err := r.run(ctx, d, limit{timeout, &timeoutError{timeout}})
	if errors.Is(err, errInterrupted) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = ctx.Err() // the deadline that its client gave it
	}
	throttled, isThrottled := tasks.AsThrottled(err)
	switch {
	case err == nil:
		r.observe(d, string(batch.OK), "", took)
		if _, err := d.task.ResultWriter().Write(result); err != nil {
			r.opts.Log.Warn("cannot write the result of a plain asynq task", d.attrs(), "err", err)
		}
		return nil
	case errors.Is(err, errInterrupted):
		return r.interrupted(d, err)
	case isThrottled:
		r.observe(d, "throttled", "", took)
		return &later{err: err, after: notBefore(throttled.After)}
	case final(err, 0, 1):
		r.observe(d, string(batch.Failed), classify(err), took)
		return fmt.Errorf("%s: %w", sanitize(err.Error()), asynq.SkipRetry)
	}
	r.observe(d, "retry", classify(err), took)
	return errors.New(sanitize(err.Error()))
}
