package feed

import (
	"context"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/sign"
	"github.com/weir-tasks/weir/internal/source"
	"github.com/weir-tasks/weir/internal/tracing"
)

const (
	// endless is the retry budget asynq is told. weir counts attempts itself, and a
	// task whose budget asynq thinks spent goes into asynq's archive without outcome.
	endless = 1_000_000

	// afterTimeout is how much later than weir's own timeout asynq's comes.
	afterTimeout = 60 * time.Second
)

// task is a record with its number.
type task struct {
	seq   int64
	lane  string // "" if it is invalid
	queue string // of the lane; "" until it is about to be enqueued
	source.Record
}

// enqueue sends a chunk's tasks, in order, and the outcomes of records that are
// none.
func (f *Feeder) enqueue(ctx context.Context, tasks []task) error {
	for i := range tasks {
		if tasks[i].Err != nil {
			if err := f.reject(ctx, &tasks[i]); err != nil {
				return err
			}
		}
	}
	if err := f.spread(ctx, tasks); err != nil {
		return err
	}
	queues := queuesOf(tasks)
	if err := f.introduce(ctx, queues); err != nil {
		return err
	}
	var spans []*tracing.Span
	err := f.insist(ctx, func() error {
		f.collect.discard()
		defer func() { end(spans); spans = nil }()
		for i := range tasks {
			if tasks[i].Err != nil {
				continue
			}
			span, err := f.collectTask(ctx, &tasks[i])
			if span != nil {
				spans = append(spans, span)
			}
			if err != nil {
				return err
			}
		}
		return f.collect.send(ctx)
	})
	if err != nil {
		return err
	}
	// Where that took long, a lane that seemed idle may have been removed meanwhile.
	return f.introduce(ctx, queues)
}

// end ends the spans of a chunk, each of which was sent with the others.
func end(spans []*tracing.Span) {
	for _, s := range spans {
		s.End()
	}
}

// collectTask adds one task to what is sent next. Its span ends when it is sent.
func (f *Feeder) collectTask(ctx context.Context, t *task) (*tracing.Span, error) {
	runs, due := f.runs()
	id, headers := batch.TaskID(f.opts.Name, t.seq), f.headers(t.seq, t.Payload, runs)
	var span *tracing.Span
	if tracing.On() {
		span = tracing.Enqueue(ctx, tracing.Task{Batch: f.opts.Name, Seq: t.seq, ID: id, Lane: t.lane, Type: f.opts.TaskType}, headers)
	}
	made := asynq.NewTaskWithHeaders(f.opts.TaskType, t.Payload, headers)
	options := []asynq.Option{asynq.TaskID(id), asynq.Queue(t.queue),
		asynq.MaxRetry(endless), asynq.Timeout((f.opts.Timeout + afterTimeout).Round(time.Second))}
	if runs == due {
		options = append(options, asynq.ProcessAt(due.Add(time.Second-time.Nanosecond))) // which asynq rounds down
	}
	_, err := f.client.EnqueueContext(ctx, made, options...)
	return span, err
}

// runs is when a task that is enqueued now may run, and when the batch's tasks become due.
func (f *Feeder) runs() (at, due time.Time) {
	at, due = time.Now(), f.found.Due()
	if due.After(at) {
		at = due
	}
	return at, due
}

// headers are those of the message of a task that runs at a time at the earliest.
func (f *Feeder) headers(seq int64, payload []byte, at time.Time) map[string]string {
	headers := map[string]string{batch.Header: strconv.FormatInt(at.UnixMicro(), 10)}
	if f.opts.Sign != nil {
		headers[batch.Signature] = f.opts.Sign(sign.Task{ID: batch.TaskID(f.opts.Name, seq), Type: f.opts.TaskType, Payload: payload})
	}
	return headers
}

// reject records the outcome of a record that does not fit the task type.
func (f *Feeder) reject(ctx context.Context, t *task) error {
	raw := t.Raw[:min(len(t.Raw), 4096)]
	o := &batch.Outcome{Seq: t.seq, State: batch.Failed, Class: batch.Invalid, Error: t.Err.Error(), Worker: f.opts.Producer}
	if f.found.Options.WithPayload {
		o.Payload = raw
	}
	return f.insist(ctx, func() error {
		_, err := f.ledger.Record(ctx, f.opts.Name, o, -time.Microsecond, raw)
		return err
	})
}
