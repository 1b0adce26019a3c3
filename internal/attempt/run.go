package attempt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/logs"
	"github.com/weir-tasks/weir/tasks"
)

// GraceToReturn is how long a handler may take to notice that its time is over
// before it counts as stuck.
const GraceToReturn = 500 * time.Millisecond

// ended is how a handler ended.
type ended struct {
	result []byte
	err    error
}

// limit is when an attempt is cut off, and why.
type limit struct {
	after time.Duration
	cause error
}

// limitOf is an attempt's timeout, or its batch's deadline if that comes first.
func limitOf(t batch.Terms) limit {
	if t.Left >= 0 && t.Left < t.Timeout() {
		return limit{t.Left, errExpired}
	}
	return limit{t.Timeout(), &timeoutError{t.Timeout()}}
}

// run calls the handler within the attempt's limit. It returns when the handler
// has, or soon after its time is over; the permit goes back when the handler has.
func (r *Runner) run(ctx context.Context, d *delivery, l limit) (result []byte, took time.Duration, err error) {
	ctx, cancel := r.running.enter(ctx, d.batch)
	defer cancel(nil)
	ctx, stopClock := context.WithTimeoutCause(ctx, l.after, l.cause)
	defer stopClock()

	calls := newServices(ctx, r.opts.Gate, d.lane)
	means := &tasks.Means{Acquire: calls.acquire, Egress: r.opts.Egress, Secrets: r.opts.Secrets, MaxResult: r.opts.MaxResult, MaxRedirects: r.opts.MaxRedirects}
	ctx = tasks.WithMeans(ctx, means)
	began := time.Now()
	done := make(chan ended, 1)
	go func() {
		e := ended{err: &panicError{value: "the handler called runtime.Goexit"}}
		defer func() { // deferred, since Goexit does not come back here
			how := answer(ctx, e.err, began, means.Quota(), calls) // before ctx is cancelled by who gets e
			done <- e
			d.permit.Done(how)
		}()
		e = r.call(ctx, d)
	}()
	var e ended
	select {
	case e = <-done:
	case <-ctx.Done():
		if e, err = r.lateEnd(ctx, d, done); err != nil {
			return nil, time.Since(began), err
		}
	}
	took = time.Since(began)
	if e.err != nil && ctx.Err() != nil && !isPanic(e.err) {
		// Whatever the handler made of it: its context had ended, and this is why.
		return nil, took, causeOf(ctx)
	}
	return e.result, took, e.err
}

// answer is what an attempt's end tells its lane of the service.
func answer(ctx context.Context, err error, began time.Time, quota *tasks.Quota, s *services) governor.Result {
	r := governor.Result{Started: began, Latency: time.Since(began)}
	told, any, elsewhere := s.end()
	if any {
		told.Latency = min(told.Latency, r.Latency) // of calls at the same time
		return told
	}
	r.Latency -= elsewhere
	if quota != nil {
		r.Remaining, r.Reset = quota.Remaining, quota.Reset
	}
	r.Outcome, r.RetryAfter = judge(ctx, err)
	return r
}

// lateEnd waits a little for a handler whose context has ended. Without an end by
// then the handler is stuck, and the error says why its context ended.
func (r *Runner) lateEnd(ctx context.Context, d *delivery, done chan ended) (ended, error) {
	grace := time.NewTimer(GraceToReturn)
	defer grace.Stop()
	select {
	case e := <-done:
		return e, nil
	case <-grace.C:
	}
	cause := causeOf(ctx)
	r.stuck.add()
	r.opts.Log.Warn("a handler ignores that its time is over; it keeps its slot until it returns",
		d.attrs(), "type", d.typ.Name(), "cause", cause, "stuck", r.Stuck())
	go func() {
		<-done
		r.stuck.remove()
		r.opts.Log.Info("a stuck handler has returned", d.attrs(), "type", d.typ.Name(), "stuck", r.Stuck())
	}()
	return ended{}, cause
}

// call runs the handler and catches its panic.
func (r *Runner) call(ctx context.Context, d *delivery) (e ended) {
	defer func() {
		if v := recover(); v != nil {
			stack, said := debug.Stack(), fmt.Sprint(v)
			said = said[:min(len(said), 64*maxErrorText)]
			r.opts.Log.Error("a handler panicked", d.attrs(), "type", d.typ.Name(),
				"panic", sanitize(logs.Hide(said, d.task.Payload())), "stack", string(stack))
			e = ended{err: &panicError{value: v, stack: stack}}
		}
	}()
	result, err := d.typ.Run(ctx, d.task.Payload())
	return ended{result, err}
}

// causeOf is why an attempt's context ended, as an error to judge by: the timeout,
// the batch's end, or an interruption from outside.
func causeOf(ctx context.Context) error {
	cause := context.Cause(ctx)
	var timeout *timeoutError
	if errors.As(cause, &timeout) || errors.Is(cause, errExpired) || errors.Is(cause, errBatchCancelled) || errors.Is(cause, errBatchStopped) {
		return cause
	}
	return errInterrupted
}

func isPanic(err error) bool {
	var p *panicError
	return errors.As(err, &p)
}

// stuck counts handlers that go on after their time.
type stuck struct {
	mu sync.Mutex
	n  int
}

func (s *stuck) add()    { s.mu.Lock(); s.n++; s.mu.Unlock() }
func (s *stuck) remove() { s.mu.Lock(); s.n--; s.mu.Unlock() }

// Stuck is how many handlers go on at present though their time is over.
func (r *Runner) Stuck() int {
	r.stuck.mu.Lock()
	defer r.stuck.mu.Unlock()
	return r.stuck.n
}

func parseMicros(s string) time.Time {
	us, err := strconv.ParseInt(s, 10, 64)
	if err != nil || us <= 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}
