package produce

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/follow"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/retry"
	"github.com/weir-tasks/weir/internal/source"
	"github.com/weir-tasks/weir/tasks"
)

// graceToEnd is how long cancelling or stopping may take before the producer
// leaves it to the workers.
const graceToEnd = 6 * time.Second

// unread is how many windows of outcomes may wait to be handed on: for a reader
// that is slow, or, in order of input, for a task that takes long.
const unread = 10

// ErrReaderGone says that nobody takes the outcomes any more; the batch was cancelled.
var ErrReaderGone = errors.New("the reader of the outcomes has gone")

// StillRunningError says that the producer left while workers still run tasks.
type StillRunningError struct {
	Name string
	Left int
}

func (e *StillRunningError) Error() string {
	return fmt.Sprintf("batch %q: %d tasks are still being run; their workers see to them", e.Name, e.Left)
}

// LostOutcomesError says that outcomes which were written to a file, and then left
// Redis, are not in the file any more.
type LostOutcomesError struct {
	Name        string
	Given, Held int64
}

func (e *LostOutcomesError) Error() string {
	return fmt.Sprintf("batch %q: %d of its outcomes have been written, and the outcome file holds %d: bring the file back, or choose another --batch name and --out",
		e.Name, e.Given, e.Held)
}

// Feed enqueues the whole source and seals the batch. When ctx ends it stops
// there; what is enqueued stays. It goes on only while no more than MaxUnread outcomes
// wait to be read.
func (b *Batch) Feed(ctx context.Context, src source.Source) error {
	ctx, cancel := b.whileLeased(ctx)
	defer cancel(nil)
	feeding := b.feeding()
	stop := b.endAtDeadline(ctx, feeding)
	defer stop()
	defer b.expect(ctx, src)()
	return b.refused(feeding.run(ctx, src))
}

// Outcomes are how Run hands outcomes on.
type Outcomes struct {
	Sink follow.Sink
	// Given is how many outcomes the sink, or whoever read it, got in earlier lives;
	// negative if that is not known: then as many as the ledger says.
	Given int64
	// Reader names the sink, for a batch with MaxUnread: the same in each life.
	Reader string
	// Seen, if set, is called with each.
	Seen func(o *batch.Outcome, wait time.Duration)
}

// Run enqueues the source and hands on every outcome until the batch's last.
//
// When ctx ends the batch is stopped: its tasks are withdrawn, and the same
// options and input go on with it later. When the sink fails with ErrReaderGone or
// ctx ends with that cause, or at the first failure with FailFast, it is cancelled.
// Other input than the batch was begun with leaves it as it was found.
func (b *Batch) Run(ctx context.Context, src source.Source, out Outcomes) error {
	if b.resumed == nil {
		out.Given = 0
	} else if out.Given < 0 {
		out.Given = b.resumed.Given
	} else if out.Given < b.resumed.Given {
		return b.refused(&LostOutcomesError{b.o.Name, b.resumed.Given, out.Given})
	}
	ctx, cancel := b.whileLeased(ctx)
	defer cancel(nil)
	feeding := b.feeding()
	stop := b.endAtDeadline(ctx, feeding)
	defer stop()
	defer b.expect(ctx, src)()
	var both sync.WaitGroup
	var failed atomic.Bool
	follower := follow.New(b.p.Ledger, out.Sink, follow.Options{
		Name: b.o.Name, Ordered: b.o.Ordered, From: out.Given, Given: out.Given, Trouble: b.p.Trouble,
		Arrived: feeding.settled,
		Seen: func(o *batch.Outcome, wait time.Duration) error {
			if o.State == batch.Failed && b.o.FailFast && failed.CompareAndSwap(false, true) {
				both.Go(func() { _ = b.cancelBatch(ctx) }) // the feeder sees it, and does so too
			}
			if out.Seen != nil {
				out.Seen(o, wait)
			}
			return nil
		},
	})
	feeding.follower = follower

	feedCtx, stopFeeding := context.WithCancelCause(ctx)
	defer stopFeeding(nil)
	followCtx, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	var fed, cancelled, followed error
	both.Go(func() {
		if fed = feeding.run(feedCtx, src); fed != nil && feedCtx.Err() != nil {
			fed = context.Cause(feedCtx)
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(fed, feed.ErrCancelled):
			// What was enqueued meanwhile, and what a canceller that died has left.
			cancelled = b.cancelBatch(ctx)
		case isRefusal(fed), rewoundIn(fed) != nil:
			stopFollowing()
		case fed != nil:
			b.awaitOutcomes(ctx, feeding, follower) // nothing that was begun is lost
			stopFollowing()
		}
		// Else the follower sees the end by itself.
	})
	both.Go(func() {
		followed = follower.Run(followCtx)
		close(feeding.followed)
		switch {
		case followed == nil && b.isCancelled(ctx):
			// All there will be: a feeder that still waits for input need not. If the
			// batch is done, it goes on and sees whether this is its input.
			stopFeeding(feed.ErrCancelled)
		case followed != nil && followCtx.Err() == nil:
			cancel(followed)
		}
	})
	both.Wait()
	return b.conclude(ctx, fed, cancelled, followed)
}

// conclude brings the batch to the end that feeder and follower came to.
func (b *Batch) conclude(ctx context.Context, fed, cancelled, followed error) error {
	switch {
	case errors.Is(context.Cause(ctx), ErrLeaseLost):
		return fmt.Errorf("batch %q: %w", b.o.Name, ErrLeaseLost)
	case isRefusal(fed):
		return b.refused(fed)
	case errors.Is(followed, ErrReaderGone), errors.Is(context.Cause(ctx), ErrReaderGone):
		ctx, cancel := context.WithTimeout(context.Background(), graceToEnd)
		defer cancel()
		return errors.Join(ErrReaderGone, b.cancelBatch(ctx))
	case followed == nil && (fed == nil || errors.Is(fed, feed.ErrCancelled)):
		return cancelled
	}
	// The source's fault, the sink's, or an interruption.
	first := fed
	if ctx.Err() != nil {
		first = context.Cause(ctx)
	}
	if errors.Is(first, batch.ErrNotFound) {
		return first // there is nothing left to stop
	}
	left, err := b.stopBatch()
	if left > 0 {
		err = errors.Join(err, &StillRunningError{b.o.Name, left})
	}
	return errors.Join(first, err)
}

func isRefusal(err error) bool {
	var input *feed.InputError
	var lost *LostOutcomesError
	return errors.As(err, &input) || errors.As(err, &lost)
}

// refused leaves the batch as it was found, if err is a refusal: Begin may have
// resumed it.
func (b *Batch) refused(err error) error {
	if isRefusal(err) && b.resumed != nil && b.resumed.Stopped {
		_, stopped := b.stopBatch()
		err = errors.Join(err, stopped)
	}
	return err
}

// awaitOutcomes waits until what was enqueued has its outcomes, handed on.
func (b *Batch) awaitOutcomes(ctx context.Context, feeding *feeding, follower *follow.Follower) {
	for feeding.read() > 0 {
		info, err := b.p.Ledger.Info(ctx, b.o.Name)
		if err == nil && info.Outcomes() >= feeding.read() && follower.Given() >= info.Outcomes() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (b *Batch) feeder(src source.Source, follower *follow.Follower) *feed.Feeder {
	o := feed.Options{
		Name: b.o.Name, TaskType: b.o.Type, Lane: b.o.Lane, Priority: b.o.Priority, Timeout: b.o.Options.Timeout(),
		Window: newWindow(b.p.RDB).get, MaxFailures: b.o.MaxFailures, Ordered: b.o.Ordered,
		Producer: processOf(b.p.ID), Trouble: b.p.Trouble, Log: b.p.Log, Sign: b.p.sign(&b.o.Options),
	}
	o.Shards = func(ctx context.Context) (map[string]int, error) { return lane.Shards(ctx, b.p.RDB) }
	if t, ok := tasks.Lookup(b.o.Type); ok {
		o.LaneOf = t.LaneOf
		if t.Policy().Governed {
			o.Introduce = func(ctx context.Context, lanes ...string) error { return lane.Announce(ctx, b.p.RDB, lanes...) }
		}
	}
	if b.o.Window > 0 {
		o.Window = func(context.Context) int64 { return b.o.Window }
	}
	size := o.Window
	memory := &memory{rdb: b.p.RDB, log: b.p.Log}
	o.Window = func(ctx context.Context) int64 {
		if memory.full(ctx) {
			return 0
		}
		return size(ctx)
	}
	if b.o.MaxUnread > 0 && follower == nil {
		shelf := &shelf{ledger: b.p.Ledger, log: b.p.Log, name: b.o.Name, size: b.o.MaxUnread}
		o.Unread = shelf.left
	}
	if follower != nil {
		o.Ahead = func() int64 { return follower.Reached() + unread*size(context.Background()) }
	}
	return feed.New(b.p.RDB, b.p.Ledger, src, o)
}

// whileLeased ends the context when the lease is lost.
func (b *Batch) whileLeased(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-b.lost:
			cancel(ErrLeaseLost)
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (b *Batch) isCancelled(ctx context.Context) (yes bool) {
	_ = b.insist(ctx, func() error {
		info, err := b.p.Ledger.Info(ctx, b.o.Name)
		yes = err == nil && info.Phase == batch.GivenUp
		return err
	})
	return yes
}

// endAtDeadline gives the batch up when its deadline, if it has one, has passed: also
// where no worker meets its tasks. It returns what ends the wait for that.
func (b *Batch) endAtDeadline(ctx context.Context, feeding *feeding) (stop func()) {
	if b.o.DeadlineMS == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for {
			left := time.Duration(0)
			err := b.insist(ctx, func() (err error) {
				left, _, err = b.p.Ledger.Left(ctx, b.o.Name)
				return err
			})
			if err != nil {
				return
			}
			if left <= 0 {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(left):
			}
		}
		_ = b.insist(ctx, func() error { return feed.Expire(ctx, b.p.RDB, b.p.Ledger, b.o.Name, feeding.parked) })
	})
	return func() { cancel(); waiting.Wait() }
}

func (b *Batch) cancelBatch(ctx context.Context) error {
	return b.insist(ctx, func() error { return feed.Cancel(ctx, b.p.RDB, b.p.Ledger, b.o.Name) })
}

func (b *Batch) stopBatch() (left int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), graceToEnd)
	defer cancel()
	err = b.insist(ctx, func() (err error) {
		left, err = feed.Stop(ctx, b.p.RDB, b.p.Ledger, b.o.Name, b.p.ID)
		return err
	})
	return left, err
}

// insist repeats a call until Redis answers.
func (b *Batch) insist(ctx context.Context, call func() error) error {
	return retry.Until(ctx, func() error {
		err := call()
		if errors.Is(err, batch.ErrNotFound) || errors.Is(err, batch.ErrNotItsProducer) {
			return retry.Permanent(err)
		}
		return err
	}, b.p.Trouble)
}
