package feed

import (
	"context"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/source"
)

const (
	// endless is the retry budget asynq is told. weir counts attempts itself, and a
	// task whose budget asynq thinks spent goes into asynq's archive without outcome.
	endless = 1_000_000

	// afterTimeout is how much later than weir's own timeout asynq's comes.
	afterTimeout = 60 * time.Second
)

// enqueue sends a chunk's tasks, in order, and the outcomes of records that are
// none. Those that have an outcome already are skipped.
func (f *Feeder) enqueue(ctx context.Context, from int64, records []source.Record, have []bool) error {
	for i := range records {
		if records[i].Err != nil && (have == nil || !have[i]) {
			if err := f.reject(ctx, from+int64(i), &records[i]); err != nil {
				return err
			}
		}
	}
	return f.insist(ctx, func() error {
		f.collect.discard()
		for i := range records {
			if records[i].Err != nil || have != nil && have[i] {
				continue
			}
			if err := f.collectTask(ctx, from+int64(i), records[i].Payload); err != nil {
				return err
			}
		}
		return f.collect.send(ctx)
	})
}

// collectTask adds one task to what is sent next.
func (f *Feeder) collectTask(ctx context.Context, seq int64, payload []byte) error {
	now := strconv.FormatInt(time.Now().UnixMicro(), 10)
	task := asynq.NewTaskWithHeaders(f.opts.TaskType, payload, map[string]string{batch.Header: now})
	_, err := f.client.EnqueueContext(ctx, task, asynq.TaskID(batch.TaskID(f.opts.Name, seq)), asynq.Queue(f.opts.Lane),
		asynq.MaxRetry(endless), asynq.Timeout((f.opts.Timeout + afterTimeout).Round(time.Second)))
	return err
}

// reject records the outcome of a record that does not fit the task type.
func (f *Feeder) reject(ctx context.Context, seq int64, r *source.Record) error {
	o := &batch.Outcome{Seq: seq, State: batch.Failed, Class: batch.Invalid, Error: r.Err.Error(), Worker: f.opts.Producer}
	return f.insist(ctx, func() error {
		_, err := f.ledger.Record(ctx, f.opts.Name, o, -time.Microsecond, r.Raw[:min(len(r.Raw), 4096)])
		return err
	})
}
