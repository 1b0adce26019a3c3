package attempt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/egress"
	"github.com/weir-tasks/weir/internal/gate"
	"github.com/weir-tasks/weir/internal/logs"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/retry"
	"github.com/weir-tasks/weir/internal/secret"
	"github.com/weir-tasks/weir/internal/sign"
	"github.com/weir-tasks/weir/internal/tracing"
	"github.com/weir-tasks/weir/tasks"
)

// unknownTypeDelay is how long a task of a type that this worker does not know
// waits in its lane for a worker that does.
const unknownTypeDelay = 5 * time.Second

// Options configure a Runner.
type Options struct {
	// Worker names this worker in outcomes.
	Worker string
	Ledger *batch.Ledger
	Gate   *gate.Gate
	Log    *slog.Logger
	// Trouble, if set, hears when the ledger does not answer, and of the wait; and,
	// with a nil error, when it answers again.
	Trouble func(err error, next time.Duration)
	// Egress says what http and ping tasks may connect to; nil is anything.
	Egress *egress.Guard
	// Secrets are what references in payloads may stand for; nil is nothing.
	Secrets *secret.Store
	// MaxResult caps results, in bytes; 0 leaves each type its own.
	MaxResult int
	// MaxRedirects caps those of one http request; 0 leaves it to the task type.
	MaxRedirects int
	// Verify, if set, is nil for the signature of a task that may run.
	Verify func(t sign.Task, signature string) error
	// Observe, if set, is told of every attempt's end.
	Observe func(Attempt)
	// Started, if set, is told when the first attempt of a batch's task begins: of its
	// type, and how long ago it was enqueued, by the clocks of both hosts.
	Started func(taskType string, wait time.Duration)
}

// Attempt is what Observe is told.
type Attempt struct {
	Type, Lane string
	Verdict    string // an outcome's state, "retry", "throttled", "closed" or "interrupted"
	Class      batch.Class
	Took       time.Duration
	// Age is how long ago the task was enqueued, where this is the outcome of a batch's
	// task; else 0.
	Age time.Duration
}

// Runner runs attempts. It is an asynq.Handler, safe for concurrent use.
type Runner struct {
	opts    Options
	stuck   stuck
	running running
	alone   alone
	warned  sync.Map // task types that are not known here -> time of the last warning

	calls    calls
	quit     chan struct{} // closed when held outcomes are to be let go
	quitOnce sync.Once
}

// New returns a Runner.
func New(o Options) *Runner {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Attempt) {}
	}
	if o.Started == nil {
		o.Started = func(string, time.Duration) {}
	}
	return &Runner{
		opts:    o,
		running: running{batches: make(map[string]map[*cancelFunc]struct{})},
		alone:   alone{turn: make(chan struct{}, 1)},
		quit:    make(chan struct{}),
	}
}

// Stop waits until all attempts have come to their end, which asynq does not: it
// leaves those it has given up. Outcomes that are still held when ctx ends are lost,
// their tasks run again. Call it when asynq.Server has shut down, any number of times.
func (r *Runner) Stop(ctx context.Context) {
	none := r.calls.none()
	select {
	case <-none:
	case <-ctx.Done():
	}
	r.quitOnce.Do(func() { close(r.quit) })
	select {
	case <-none:
	case <-time.After(2 * GraceToReturn): // a call of the ledger that does not come back
	}
}

// delivery is one asynq task as it arrived.
type delivery struct {
	id, lane string
	retried  int
	batch    string // empty for a foreign asynq task
	seq      int64
	enqueued time.Time // zero if unknown
	task     *asynq.Task
	typ      *tasks.Type
	permit   *gate.Permit
	ahead    ahead
	span     *tracing.Span // nil where none is made
}

// attrs name the attempt in a log.
func (d *delivery) attrs() slog.Attr { return logs.Of(d.id, d.lane, d.retried+1, d.span.TraceID()) }

// traced is what the delivery's spans are about.
func (d *delivery) traced() tracing.Task {
	return tracing.Task{Batch: d.batch, Seq: d.seq, ID: d.id, Lane: d.lane, Type: d.task.Type(), Attempt: d.retried + 1}
}

// age is how long ago the task was enqueued, or 0 if that is not known.
func (d *delivery) age() time.Duration {
	if d.enqueued.IsZero() {
		return 0
	}
	return max(time.Since(d.enqueued), time.Microsecond) // the producer's clock may be ahead
}

// ProcessTask runs one attempt; nil closes the task in asynq.
func (r *Runner) ProcessTask(ctx context.Context, t *asynq.Task) error {
	r.calls.enter()
	defer r.calls.leave()
	d := &delivery{task: t}
	d.id, _ = asynq.GetTaskID(ctx)
	name, _ := asynq.GetQueueName(ctx)
	d.lane = queue.Lane(name)
	d.retried, _ = asynq.GetRetryCount(ctx)
	d.permit = r.opts.Gate.Claim(name, d.id)
	d.ahead, _ = d.permit.Ahead().(ahead)
	typ, known := tasks.Lookup(t.Type())
	if !known {
		d.permit.Release()
		r.WarnUnknown(t.Type(), d.lane)
		return &later{err: fmt.Errorf("this worker does not know task type %q", t.Type()), after: unknownTypeDelay}
	}
	d.typ = typ
	if us, ok := t.Headers()[batch.Header]; ok {
		d.batch, d.seq, _ = batch.ParseTaskID(d.id)
		d.enqueued = parseMicros(us)
	}
	if d.batch == "" {
		return r.foreign(ctx, d)
	}
	return r.ofBatch(ctx, d)
}

// ofBatch runs an attempt of a batch's task: ask the ledger, run, record, close.
func (r *Runner) ofBatch(ctx context.Context, d *delivery) error {
	admission, terms, err := r.mayRun(ctx, d)
	if err == nil && admission == batch.RunAlone {
		var leave func()
		admission, terms, leave, err = r.askAlone(ctx, d)
		if errors.Is(err, errNotAlone) {
			d.permit.Release()
			return &later{err: err, after: notBefore(notAloneDelay)}
		}
		if err == nil {
			defer leave()
			defer r.rest(ctx, d)
		}
	}
	if err != nil {
		d.permit.Release()
		return r.interrupted(d, err)
	}
	if admission != batch.Run {
		d.permit.Release()
		return r.notRun(ctx, d, admission)
	}
	if tracing.On() {
		ctx, d.span = tracing.Process(ctx, d.traced(), d.task.Headers())
		defer d.span.End()
	}
	wait := time.Since(d.enqueued)
	if d.retried > 0 || d.enqueued.IsZero() {
		wait = -time.Microsecond
	} else {
		r.opts.Started(d.typ.Name(), max(wait, 0))
	}
	ctx = tasks.WithInfo(ctx, tasks.Info{ID: d.id, Batch: d.batch, Seq: d.seq, Attempt: d.retried + 1})
	o := &batch.Outcome{Seq: d.seq, Attempts: d.retried, Worker: r.opts.Worker}
	var result []byte
	var took time.Duration
	if err = r.verify(d); err != nil {
		d.permit.Release()
	} else {
		result, took, err = r.run(ctx, d, limitOf(terms))
		o.Attempts, o.MS = d.retried+1, float64(took.Microseconds())/1000
	}
	throttled, isThrottled := tasks.AsThrottled(err)
	switch {
	case err == nil:
		o.State, o.Result = batch.OK, result
	case errors.Is(err, errBatchCancelled), errors.Is(err, errBatchStopped):
		// Announced; but an announcement may come late, or from a stranger.
		switch admission, _, askErr := r.ask(ctx, d); {
		case askErr != nil:
			return r.interrupted(d, askErr)
		case admission == batch.Run, admission == batch.RunAlone:
			return r.interrupted(d, err)
		case admission == batch.HasExpired:
			o.State, o.Class, o.Error = batch.Failed, batch.Expired, errExpired.Error()
		case admission != batch.IsCancelled:
			return r.notRun(ctx, d, admission)
		default:
			o.State = batch.Cancelled
		}
	case errors.Is(err, errInterrupted):
		return r.interrupted(d, err)
	case isThrottled && inTime(terms, took, throttled.After):
		r.observe(d, "throttled", "", took)
		return &later{err: err, after: notBefore(throttled.After)}
	case isThrottled:
		o.State, o.Class, o.Error = batch.Failed, batch.Expired, tooLate(err)
	case !final(err, d.retried, terms.Retries):
		wait := backoffDelay(terms.Backoff(), time.Duration(terms.MaxBackoffMS)*time.Millisecond, d.retried)
		if inTime(terms, took, wait) {
			r.note(ctx, d, batch.Try{Attempt: o.Attempts, Worker: o.Worker, Class: classify(err), Error: sanitize(err.Error()), MS: o.MS})
			r.observe(d, "retry", classify(err), took)
			return &later{err: err, after: wait, counts: true}
		}
		o.State, o.Class, o.Error = batch.Failed, batch.Expired, tooLate(err)
	default:
		o.State, o.Class, o.Error = batch.Failed, classify(err), sanitize(err.Error())
	}
	if terms.WithPayload {
		o.Payload = d.task.Payload()
	}
	return r.record(ctx, d, o, wait, took)
}

// noteIn is how long an attempt waits to be remembered. One that failed while Redis is away
// is not.
const noteIn = time.Second

// note remembers a failed attempt for people. No account depends on it.
func (r *Runner) note(ctx context.Context, d *delivery, t batch.Try) {
	ctx, cancel := context.WithTimeout(ctx, noteIn)
	defer cancel()
	if err := r.opts.Ledger.Note(ctx, d.batch, d.seq, t); err != nil {
		r.opts.Log.Debug("a failed attempt is not remembered", "batch", d.batch, "seq", d.seq, "attempt", t.Attempt, "err", err)
	}
}

// inTime says that after a wait there is time for another attempt before the batch's
// deadline.
func inTime(t batch.Terms, took, wait time.Duration) bool { return t.Left < 0 || took+wait < t.Left }

func tooLate(err error) string {
	return sanitize("the batch's deadline comes before its next attempt; the last one: " + err.Error())
}

// verify says that a task is what a producer this worker trusts has signed.
func (r *Runner) verify(d *delivery) error {
	if r.opts.Verify == nil {
		return nil
	}
	t := sign.Task{ID: d.id, Type: d.task.Type(), Payload: d.task.Payload()}
	return tasks.Rejected(r.opts.Verify(t, d.task.Headers()[batch.Signature]))
}

// ahead is a task's answer of the ledger, asked for when the task was taken.
type ahead struct {
	*batch.Ahead
	ends int64 // announced before
}

// Ahead asks the ledger of tasks that are about to come; see gate.Options.
func (r *Runner) Ahead(ids []string) []any {
	ends := r.running.announced()
	aheads, send := r.opts.Ledger.Ahead(ids)
	r.calls.enter()
	go func() {
		defer r.calls.leave()
		send()
	}()
	answers := make([]any, len(ids))
	for i, a := range aheads {
		answers[i] = ahead{a, ends}
	}
	return answers
}

// mayRun takes the answer that was asked for ahead, if it is that the attempt may run and
// no batch's end was announced since. Otherwise it asks.
func (r *Runner) mayRun(ctx context.Context, d *delivery) (batch.Admission, batch.Terms, error) {
	if terms, ok := d.ahead.Run(ctx); ok && d.ahead.ends == r.running.announced() {
		return batch.Run, terms, nil
	}
	return r.ask(ctx, d)
}

// ask asks the ledger whether an attempt may run, until it answers.
func (r *Runner) ask(ctx context.Context, d *delivery) (a batch.Admission, t batch.Terms, err error) {
	err = r.untilAnswered(ctx, func() (err error) {
		a, t, err = r.opts.Ledger.Begin(ctx, d.batch, d.seq)
		return err
	})
	return a, t, err
}

// notRun closes a task that must not run.
func (r *Runner) notRun(ctx context.Context, d *delivery, a batch.Admission) error {
	switch a {
	case batch.IsCancelled:
		o := &batch.Outcome{Seq: d.seq, State: batch.Cancelled, Attempts: d.retried}
		return r.record(ctx, d, o, -time.Microsecond, 0)
	case batch.HasExpired:
		o := &batch.Outcome{Seq: d.seq, State: batch.Failed, Class: batch.Expired, Error: batch.NotRun, Attempts: d.retried}
		return r.record(ctx, d, o, -time.Microsecond, 0)
	case batch.IsPaused:
		return &later{err: errPaused, after: pausedDelay}
	case batch.NoBatch:
		r.opts.Log.Error("a task's batch is gone from Redis; the task is dropped", d.attrs())
	}
	r.observe(d, "closed", "", 0)
	return nil
}

// record writes an outcome, however long Redis takes, and closes the task. asynq
// gives a task up when Redis has been away for 30 s; the outcome is held all the
// same, so that what has been done is not done again.
func (r *Runner) record(ctx context.Context, d *delivery, o *batch.Outcome, wait, took time.Duration) error {
	o.Signature = d.task.Headers()[batch.Signature]
	if tracing.On() {
		span := tracing.Outcome(ctx, d.traced(), d.task.Headers(), string(o.State), string(o.Class))
		defer span.End()
	}
	write := func(ctx context.Context) error {
		return r.untilAnswered(ctx, func() error {
			_, err := r.opts.Ledger.Record(ctx, d.batch, o, wait, d.task.Payload())
			if errors.Is(err, batch.ErrNotFound) {
				r.opts.Log.Error("an outcome has no batch to go to", d.attrs(), "state", o.State)
				return nil
			}
			return err
		})
	}
	err := write(ctx)
	if err != nil {
		held, letGo := r.hold(ctx)
		defer letGo()
		err = write(held)
	}
	if err != nil {
		return r.interrupted(d, err)
	}
	r.opts.Observe(Attempt{Type: d.typ.Name(), Lane: d.lane, Verdict: string(o.State), Class: o.Class, Took: took, Age: d.age()})
	return nil
}

// hold returns a context that outlives ctx, until Stop.
func (r *Runner) hold(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-r.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// untilAnswered repeats a call of the ledger until it succeeds or ctx ends.
func (r *Runner) untilAnswered(ctx context.Context, call func() error) error {
	return retry.Until(ctx, call, r.opts.Trouble)
}

func (r *Runner) interrupted(d *delivery, cause error) error {
	r.observe(d, "interrupted", "", 0)
	return &later{err: fmt.Errorf("%w: %w", errInterrupted, cause)}
}

func (r *Runner) observe(d *delivery, verdict string, class batch.Class, took time.Duration) {
	d.span.Verdict(verdict, string(class))
	r.opts.Observe(Attempt{Type: d.typ.Name(), Lane: d.lane, Verdict: verdict, Class: class, Took: took})
}

// WarnUnknown tells, once a minute for each, that a task type is not known here.
func (r *Runner) WarnUnknown(typ, lane string) {
	last, seen := r.warned.Load(typ)
	if seen && time.Since(last.(time.Time)) < time.Minute {
		return
	}
	r.warned.Store(typ, time.Now())
	r.opts.Log.Warn("this worker does not know the task type; its tasks stay in their lane",
		"type", typ, "lane", lane, "hint", "run a worker that defines it, or keep this one off the lane with --lanes")
}

// RetryDelay is asynq's RetryDelayFunc.
func (r *Runner) RetryDelay(n int, err error, t *asynq.Task) time.Duration {
	var l *later
	if errors.As(err, &l) {
		return l.after
	}
	if _, ours := t.Headers()[batch.Header]; ours {
		return 0 // asynq's own errors, such as a lease that ran out
	}
	if typ, ok := tasks.Lookup(t.Type()); ok {
		return backoffDelay(typ.Policy().Backoff, typ.Policy().MaxBackoff, n)
	}
	return asynq.DefaultRetryDelayFunc(n, err, t)
}

// IsFailure is asynq's: does this error cost an attempt?
func (r *Runner) IsFailure(err error) bool {
	var l *later
	if errors.As(err, &l) {
		return l.counts
	}
	return err != nil && !errors.Is(err, asynq.ErrLeaseExpired) && !errors.Is(err, context.Canceled)
}
