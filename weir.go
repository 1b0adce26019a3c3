// Package weir runs very large numbers of I/O-bound tasks on many machines, and
// accounts for every one of them: each ends with exactly one recorded outcome.
//
// Define a task type once, for producers and workers alike (package tasks):
//
//	var Double = tasks.Define("double", tasks.Policy{Timeout: 5 * time.Second},
//		func(ctx context.Context, in Number) (Number, error) { return Number{in.N * 2}, nil })
//
// A worker runs such tasks until its context ends:
//
//	c, err := weir.Open(ctx, weir.Options{URL: "redis://localhost"})
//	err = c.RunWorker(ctx, weir.WorkerOptions{Concurrency: 50})
//
// A producer streams payloads in and outcomes out, never holding them all:
//
//	for o, err := range weir.Run(ctx, c, Double, payloads, weir.BatchOptions{Name: "first"}) { ... }
//
// With an empty URL Redis is embedded in the process: nothing to install, and
// nothing survives the process.
package weir

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/egress"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/follow"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/produce"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/retry"
	"github.com/weir-tasks/weir/internal/sign"
	"github.com/weir-tasks/weir/internal/source"
	"github.com/weir-tasks/weir/internal/status"
	"github.com/weir-tasks/weir/internal/tracing"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
	"go.opentelemetry.io/otel/trace"
)

// Options configure Open.
type Options struct {
	// URL is where Redis is: redis://, rediss://, unix://, redis-sentinel://,
	// redis-cluster://. Empty embeds one in this process.
	URL string
	// Log is for what happens beside the results; nil discards it.
	Log *slog.Logger
	// SignKeys, if set, sign the tasks that this client enqueues, for the time SignFor,
	// by default 7 days; workers with RequireSignature run no others.
	SignKeys *Keys
	SignFor  time.Duration
	// Unchecked opens a Redis that is not fit, too: for programs that tell what is wrong.
	Unchecked bool
	// Unreached, if set, hears of each try of Open to reach Redis that failed, and of the
	// wait until the next one.
	Unreached func(err error, next time.Duration)
}

// Keys sign tasks and verify their signatures.
type Keys = sign.Keys

// ReadKeys reads a file of keys, one a line: a name, and at least 32 bytes in base64. The
// first signs, all verify. Others must not be able to read or write the file.
func ReadKeys(file string) (*Keys, error) { return sign.Read(file) }

// Trace makes OpenTelemetry spans of all tasks that this process enqueues and runs, with a
// provider; nil ends that. The commands do so where the OTEL_ variables ask for it.
func Trace(p trace.TracerProvider) { tracing.Use(p) }

// Client is a connection to weir's Redis. It is safe for concurrent use.
type Client struct {
	opts     Options
	embedded *conn.Embedded
	rdb      redis.UniversalClient
	fast     redis.UniversalClient // pipelines the single commands of many goroutines
	ledger   *batch.Ledger
	trouble  *conn.Trouble

	mu      sync.Mutex
	workers []*work.Worker
}

// Open connects, waiting for Redis as long as ctx lives, and checks that it is fit:
// version, eviction policy, role. What is wrong is said with the command that
// mends it.
func Open(ctx context.Context, o Options) (*Client, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{opts: o, trouble: conn.NewTrouble(o.Log, o.URL)}
	if err := c.connect(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	fast, err := c.rdb.AutoPipeline()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up pipelining: %w", err), c.Close())
	}
	c.fast = fast
	c.ledger = batch.NewLedger(c.rdb)
	return c, nil
}

func (c *Client) connect(ctx context.Context) (err error) {
	if c.opts.URL == "" {
		if c.embedded, err = conn.StartEmbedded(); err != nil {
			return err
		}
		c.rdb = c.embedded.Client()
		return nil
	}
	if c.rdb, err = conn.Open(c.opts.URL); err != nil {
		return err
	}
	unreached := func(err error, next time.Duration) {
		c.trouble.Tell(err, next)
		if c.opts.Unreached != nil {
			c.opts.Unreached(err, next)
		}
	}
	if err := conn.Ready(ctx, c.rdb, c.opts.URL, unreached); err != nil {
		return err
	}
	c.trouble.Tell(nil, 0)
	if c.opts.Unchecked {
		return nil
	}
	problems, err := conn.Check(ctx, c.rdb)
	if err != nil {
		return conn.Explain(err, c.opts.URL)
	}
	for _, p := range problems {
		if p.Fatal {
			return errors.New(p.String())
		}
		c.opts.Log.Warn(p.String())
	}
	return nil
}

// Embedded says that Redis is in this process.
func (c *Client) Embedded() bool { return c.embedded != nil }

// Redis is the connection itself, for what weir has no call for.
func (c *Client) Redis() redis.UniversalClient { return c.rdb }

// Close stops the client's workers, and ends the connection and the embedded Redis. Where
// a worker cannot stop, since Redis does not answer, it returns an error and leaves them
// open: the worker still uses them. Close may be called again then.
func (c *Client) Close() error {
	var errs []error
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workers {
		errs = append(errs, w.Stop())
	}
	if err := errors.Join(errs...); err != nil {
		return err // what has not stopped still uses the connections
	}
	c.workers = nil
	if c.fast != nil {
		errs = append(errs, c.fast.Close())
	}
	if c.rdb != nil {
		errs = append(errs, c.rdb.Close())
	}
	if c.embedded != nil {
		errs = append(errs, c.embedded.Close())
	}
	return errors.Join(errs...)
}

// WorkerOptions configure a worker.
type WorkerOptions = work.Options

// NewWorker returns a worker, to Start and to Stop. Where Redis is embedded nobody else
// makes its tasks: there it may connect to anything, unless Egress says otherwise.
func (c *Client) NewWorker(o WorkerOptions) (*work.Worker, error) {
	if o.Egress == "" && c.Embedded() {
		o.Egress = egress.Any
	}
	if o.Log == nil {
		o.Log = c.opts.Log
	}
	if o.Trouble == nil {
		o.Trouble = c.trouble.Tell
	}
	w, err := work.New(c.rdb, c.fast, c.ledger, o)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers = append(c.workers, w)
	return w, nil
}

// RunWorker runs tasks until ctx ends; then it takes nothing new, lets what runs
// finish within ShutdownTimeout, and gives the rest back.
func (c *Client) RunWorker(ctx context.Context, o WorkerOptions) error {
	w, err := c.NewWorker(o)
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	return w.Stop()
}

// Priority says which tasks of a lane are run first. While there are of all, six of High
// go with three of Normal and one of Low.
type Priority = queue.Priority

// The priorities.
const (
	Normal = queue.Normal
	High   = queue.High
	Low    = queue.Low
)

// BatchOptions say how a batch is run. Zero fields take the task type's policy.
type BatchOptions struct {
	// Name is the batch's. The same name with the same input goes on with it.
	// Empty: a new one.
	Name string
	// Lane is where all tasks go. Empty: where their payloads say, or the type's policy.
	Lane string
	// Priority says before which others of their lanes the tasks are run.
	Priority Priority
	// Timeout is one attempt's.
	Timeout time.Duration
	// Retries is how many attempts may follow the first; tasks.NoRetries is none.
	Retries int
	Backoff time.Duration
	// Window is the most tasks in Redis without an outcome; 0 is automatic.
	Window int64
	// Ordered hands outcomes on in the order of input.
	Ordered bool
	// FailFast cancels the batch at the first failure.
	FailFast bool
	// WithPayload puts each task's payload into its outcome.
	WithPayload bool
	// FailuresOnly keeps, for whoever follows a batch that was enqueued, only the outcomes
	// of tasks that were not ok; all are counted.
	FailuresOnly bool
	// MaxUnread is how many outcomes of a batch that is enqueued may wait to be read: at so
	// many Feed waits. They have one reader, and leave Redis when it has them. 0 is no
	// limit, and any number of readers.
	MaxUnread int64
	// MaxFailures pauses the batch when it keeps so many failed tasks; 0 is no limit.
	MaxFailures int64
	// Deadline is how long after the batch's begin a task without an outcome fails,
	// class expired; 0 is never.
	Deadline time.Duration
	// At is when the tasks become due, or In how long after the batch's begin, to the second;
	// without, at once.
	At time.Time
	In time.Duration
	// Keep is how long the batch's record stays after it is done; default 7 days.
	Keep time.Duration
	// Input describes the input, Out the file the outcomes go to; both belong to
	// what must stay the same when a batch is gone on with.
	Input, Out string
	// Stem begins the derived name of a batch without a Name; Again makes it depend
	// on the stem alone, so that an unfinished batch of the same stem is gone on with.
	Stem  string
	Again bool
}

// Batch is a batch that this process produces.
type Batch = produce.Batch

// Begin makes a batch of a task type, or goes on with the one that is there.
func (c *Client) Begin(ctx context.Context, t *tasks.Type, o BatchOptions) (*Batch, error) {
	p := t.Policy()
	lane := or(o.Lane, p.Lane)
	if o.Lane == "" && t.DerivesLane() {
		lane = "" // each task has its own
	}
	po := produce.Options{
		Options: batch.Options{
			Type: t.Name(), Lane: lane, Priority: o.Priority,
			TimeoutMS: or(o.Timeout, p.Timeout).Milliseconds(), Retries: p.Retries,
			BackoffMS: or(o.Backoff, p.Backoff).Milliseconds(), MaxBackoffMS: max(p.MaxBackoff, o.Backoff).Milliseconds(),
			DeadlineMS: o.Deadline.Milliseconds(), InMS: o.In.Milliseconds(),
			Ordered: o.Ordered, WithPayload: o.WithPayload, FailuresOnly: o.FailuresOnly, MaxUnread: o.MaxUnread, Input: o.Input, Out: o.Out, KeepMS: or(o.Keep, 7*24*time.Hour).Milliseconds(),
		},
		Name: o.Name, Stem: or(o.Stem, t.Name()), Again: o.Again,
		Window: o.Window, MaxFailures: o.MaxFailures, FailFast: o.FailFast,
	}
	if !o.At.IsZero() {
		po.AtMS = o.At.UnixMilli()
	}
	if o.Retries != 0 {
		po.Retries = max(0, o.Retries)
	}
	return c.producer().Begin(ctx, po)
}

func (c *Client) producer() *produce.Producer {
	return &produce.Producer{
		RDB: c.rdb, Ledger: c.ledger, ID: produce.ID(work.Name()), Log: c.opts.Log, Trouble: c.trouble.Tell,
		Keys: c.opts.SignKeys, SignFor: or(c.opts.SignFor, 7*24*time.Hour),
	}
}

// Repair feeds a batch once more from the input it was begun with: what has neither an
// outcome nor a place in Redis is enqueued, nothing else. A *feed.InputError says that
// it is other input.
func (c *Client) Repair(ctx context.Context, name string, src source.Source) error {
	info, err := c.ledger.Info(ctx, name)
	if err != nil || info.Phase == batch.GivenUp || info.Complete() {
		return err
	}
	b, err := c.producer().Begin(ctx, produce.Options{Name: name, Options: info.Options})
	if err != nil {
		return err
	}
	defer b.End()
	return b.Feed(ctx, src)
}

// Failures yields the failed outcomes of a batch, each with its payload, in order of
// seq. An error is the last thing it yields.
func (c *Client) Failures(ctx context.Context, name string) iter.Seq2[*batch.Outcome, error] {
	return func(yield func(*batch.Outcome, error) bool) {
		seqs, err := c.ledger.FailedSeqs(ctx, name)
		if err != nil {
			yield(nil, err)
			return
		}
		for part := range slices.Chunk(seqs, 500) {
			outcomes, err := c.ledger.Failures(ctx, name, part)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, o := range outcomes {
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

// Failed is the source of the payloads of those failed tasks of a batch that match
// takes, for a batch of the same type: these tasks once more.
func (c *Client) Failed(ctx context.Context, name string, t *tasks.Type, match func(*batch.Outcome) bool) source.Source {
	return c.producer().Failures(ctx, name, t.Name(), t, match)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Status reads how a batch stands: each task counted once. batch.ErrNotFound if
// there is none.
func (c *Client) Status(ctx context.Context, name string) (*status.Status, error) {
	return status.Read(ctx, c.rdb, c.ledger, name)
}

// Batches lists all batches, the newest first.
func (c *Client) Batches(ctx context.Context) ([]*batch.Info, error) { return c.ledger.List(ctx) }

// Lanes are all lanes there are, by name.
func (c *Client) Lanes(ctx context.Context) ([]*lane.Overview, error) { return lane.List(ctx, c.rdb) }

// Lane is one lane; lane.ErrUnknown if nothing in Redis has to do with it.
func (c *Client) Lane(ctx context.Context, name string) (*lane.Overview, error) {
	return lane.Get(ctx, c.rdb, name)
}

// Autoscale says how many workers there should be for what waits now. A worker of this
// process, where there is one, knows how long tasks of lanes take; it may be nil.
func (c *Client) Autoscale(ctx context.Context, w *work.Worker) (*lane.Signal, error) {
	cluster, err := work.Cluster(ctx, c.rdb)
	if err != nil {
		return nil, err
	}
	var took func(string) time.Duration
	if w != nil {
		took = w.Took
	}
	return lane.Demands(ctx, c.rdb, cluster, took)
}

// Cancel gives a batch up: every task without an outcome gets the outcome
// cancelled. It returns when all have one, or when ctx ends.
func (c *Client) Cancel(ctx context.Context, name string) error {
	return feed.Cancel(ctx, c.rdb, c.ledger, name)
}

// Pause lets no further attempt of a batch begin until Resume, but for tasks that workers have
// just taken, within a tenth of a second; running ones finish.
func (c *Client) Pause(ctx context.Context, name string) error {
	if _, err := c.ledger.Info(ctx, name); err != nil {
		return err
	}
	return feed.Pause(ctx, c.rdb, c.ledger, name)
}

// Resume ends Pause.
func (c *Client) Resume(ctx context.Context, name string) error {
	if _, err := c.ledger.Info(ctx, name); err != nil {
		return err
	}
	return feed.Unpause(ctx, c.rdb, c.ledger, name)
}

// Follow hands on the outcomes of a batch that is produced elsewhere, those that
// its own reader has not taken yet, until its last or ctx's end. Those of a batch with
// MaxUnread leave Redis when the sink has committed them: out.Reader then is the only one
// that may read them, for good, and a *batch.ReadError names another that is.
func (c *Client) Follow(ctx context.Context, name string, ordered bool, out produce.Outcomes) error {
	seen := func(o *batch.Outcome, wait time.Duration) error {
		if out.Seen != nil {
			out.Seen(o, wait)
		}
		return nil
	}
	takes, err := c.openOutcomes(ctx, name, &out)
	if err != nil {
		return err
	}
	return follow.New(c.ledger, out.Sink, follow.Options{
		Name: name, Ordered: ordered, Keep: !takes, Seen: seen, Trouble: c.trouble.Tell,
		From: max(out.Given, 0), Given: max(out.Given, 0),
	}).Run(ctx)
}

// openOutcomes gets a batch ready to be followed. It says whether its outcomes are taken out
// of Redis, by this reader alone, which must then have all that was taken before.
func (c *Client) openOutcomes(ctx context.Context, name string, out *produce.Outcomes) (takes bool, err error) {
	var info *batch.Info
	err = retry.Until(ctx, func() (err error) {
		info, err = c.ledger.Info(ctx, name)
		if err == nil && info.Options.MaxUnread > 0 {
			err = c.ledger.Take(ctx, name, out.Reader)
		}
		var other *batch.ReadError
		if errors.Is(err, batch.ErrNotFound) || errors.As(err, &other) {
			return retry.Permanent(err)
		}
		return err
	}, c.trouble.Tell)
	if err != nil || info.Options.MaxUnread == 0 {
		return false, err
	}
	if out.Given < 0 {
		out.Given = info.Given
	}
	if out.Given < info.Given {
		return true, &produce.LostOutcomesError{Name: name, Given: info.Given, Held: out.Given}
	}
	return true, nil
}

// Outcome is what became of one task of a type with result R.
type Outcome[R any] struct {
	Seq      int64
	State    batch.State
	Result   R
	Err      error // a *TaskError if State is batch.Failed, else nil
	Attempts int
	Took     time.Duration // the last attempt
	Worker   string
}

// TaskError says why a task failed.
type TaskError struct {
	Class batch.Class
	Text  string
}

func (e *TaskError) Error() string { return fmt.Sprintf("%s: %s", e.Class, e.Text) }

// Run streams payloads into a batch and its outcomes out, in order of completion
// or, if asked, of input. An error is the last thing it yields. Leaving the loop
// early cancels the batch; ctx's end stops it, so that it can be gone on with.
func Run[P, R any](ctx context.Context, c *Client, d *tasks.Definition[P, R], payloads iter.Seq[P], o BatchOptions) iter.Seq2[Outcome[R], error] {
	return func(yield func(Outcome[R], error) bool) {
		o.MaxUnread = 0 // it reads itself
		b, err := c.Begin(ctx, d.Type(), o)
		if err != nil {
			yield(Outcome[R]{}, err)
			return
		}
		defer b.End()
		ctx, leave := context.WithCancelCause(ctx)
		defer leave(nil)
		src := produce.Payloads(payloads, d.Encode)
		defer src.Close()
		pipe := produce.NewPipe(ctx)
		go func() { pipe.Close(b.Run(ctx, src, produce.Outcomes{Sink: pipe, Given: -1})) }()
		defer pipe.Wait()
		defer leave(produce.ErrReaderGone) // too late, unless the loop below is left early
		for line := range pipe.Lines() {
			out, err := decode(d, line)
			if err != nil {
				leave(err)
				break
			}
			if !yield(out, nil) {
				return
			}
		}
		if err := pipe.Wait(); err != nil {
			yield(Outcome[R]{}, err)
		}
	}
}

func decode[P, R any](d *tasks.Definition[P, R], line []byte) (out Outcome[R], err error) {
	o, err := batch.ParseOutcome(line)
	if err != nil {
		return out, err
	}
	out = Outcome[R]{Seq: o.Seq, State: o.State, Attempts: o.Attempts, Worker: o.Worker,
		Took: time.Duration(o.MS * float64(time.Millisecond))}
	switch o.State {
	case batch.OK:
		out.Result, err = d.DecodeResult(o.Result)
	case batch.Failed:
		out.Err = &TaskError{o.Class, o.Error}
	}
	return out, err
}

// Task is a single task, enqueued by itself: a batch of one.
type Task[R any] struct {
	c      *Client
	id     string
	decode func(line []byte) (Outcome[R], error)
}

// Enqueue enqueues a single task and returns at once. o.Name, if given, makes it
// idempotent: the same name with the same payload is the same task.
func Enqueue[P, R any](ctx context.Context, c *Client, d *tasks.Definition[P, R], payload P, o BatchOptions) (*Task[R], error) {
	if _, err := d.Encode(payload); err != nil {
		return nil, err
	}
	o.MaxUnread = 0 // it is one
	b, err := c.Begin(ctx, d.Type(), o)
	if err != nil {
		return nil, err
	}
	defer b.End()
	one := func(yield func(P) bool) { yield(payload) }
	src := produce.Payloads(one, d.Encode)
	defer src.Close()
	if err := b.Feed(ctx, src); err != nil {
		return nil, err
	}
	return Find(c, d, b.Name()), nil
}

// Find returns the task that Enqueue gave this ID to, here or in another process.
func Find[P, R any](c *Client, d *tasks.Definition[P, R], id string) *Task[R] {
	return &Task[R]{c, id, func(line []byte) (Outcome[R], error) { return decode(d, line) }}
}

// ID finds the task again, with Find.
func (t *Task[R]) ID() string { return t.id }

// Ready says whether the task has its outcome.
func (t *Task[R]) Ready(ctx context.Context) (bool, error) {
	info, err := t.c.ledger.Info(ctx, t.id)
	return err == nil && info.Complete(), err
}

// Get waits for the outcome and returns the result. A *TaskError if it failed.
func (t *Task[R]) Get(ctx context.Context) (result R, err error) {
	var got []byte
	sink := produce.NewKeep(&got)
	if err := t.c.Follow(ctx, t.id, false, produce.Outcomes{Sink: sink}); err != nil {
		return result, err
	}
	if got == nil {
		return result, fmt.Errorf("task %s: %w", t.id, feed.ErrCancelled) // before it was enqueued
	}
	o, err := t.decode(got)
	switch {
	case err != nil:
		return result, err
	case o.State == batch.Cancelled:
		return result, fmt.Errorf("task %s: %w", t.id, feed.ErrCancelled)
	}
	return o.Result, o.Err
}
