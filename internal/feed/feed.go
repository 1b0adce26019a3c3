package feed

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/retry"
	"github.com/weir-tasks/weir/internal/source"
)

const (
	// chunk is the most records handled at once, between two moves of the checkpoint.
	chunk = 512

	// poll is how often a full window is looked at when nobody tells that it opened.
	poll = 20 * time.Millisecond
)

// ErrTooManyFailures says that the batch keeps as many dead letters as it may.
var ErrTooManyFailures = errors.New("too many failures")

// ErrCancelled says that the batch was cancelled, here or by somebody else.
var ErrCancelled = errors.New("the batch was cancelled")

// ErrInput marks the source's own errors: the input could not be read to its end.
var ErrInput = errors.New("the input ends early")

// InputError says that the input is not the one the batch was begun with.
type InputError struct {
	Name   string
	Next   int64 // records that the batch has read before
	Reason string
}

func (e *InputError) Error() string {
	return fmt.Sprintf("batch %q was begun with other input: %s; give it the same input, or choose another --batch name", e.Name, e.Reason)
}

// Options configure a Feeder.
type Options struct {
	Name     string
	TaskType string
	// Lane is where all tasks go. Empty: LaneOf tells for each payload.
	Lane   string
	LaneOf func(payload []byte) (string, error)
	// Introduce, if set, is told of lanes before the first task is in them.
	Introduce func(ctx context.Context, lanes ...string) error
	Timeout   time.Duration
	// Window is the most tasks in Redis without an outcome; asked before each chunk.
	Window func(context.Context) int64
	// Ahead, if set, is the seq that must not be reached yet: how far the reader of
	// the outcomes may be behind.
	Ahead func() int64
	// MaxFailures is how many dead letters the batch may keep.
	MaxFailures int64
	// Producer names this process in the outcomes of invalid records.
	Producer string
	// Trouble hears when Redis does not answer, and of the wait.
	Trouble func(err error, next time.Duration)
	Log     *slog.Logger
}

// Feeder feeds one batch.
type Feeder struct {
	rdb     redis.UniversalClient
	ledger  *batch.Ledger
	client  *asynq.Client // on collect
	collect *collector
	src     source.Source
	opts    Options

	next    int64       // the seq of the next record
	found   *batch.Info // the batch as Run found it: what is below its checkpoint was read before
	held    []task      // of those, the ones without an outcome
	hash    hash.Hash
	settled chan struct{}
	read    atomic.Int64
	known   map[string]bool // lanes that the batch and asynq know of
}

// New returns a Feeder of a batch that Create has made.
func New(rdb redis.UniversalClient, ledger *batch.Ledger, src source.Source, o Options) *Feeder {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Feeder{
		rdb: rdb, ledger: ledger, collect: newCollector(rdb), src: src, opts: o,
		hash: sha256.New(), settled: make(chan struct{}, 1),
	}
	f.forgetLanes()
	return f
}

// Read is how many records have been enqueued so far, or have an outcome.
func (f *Feeder) Read() int64 { return f.read.Load() }

// Settled tells the feeder that outcomes came: its window may have opened.
func (f *Feeder) Settled() {
	select {
	case f.settled <- struct{}{}:
	default:
	}
}

// Run feeds the batch until its source ends, and seals it. It returns ErrCancelled,
// ErrTooManyFailures, an *InputError, ErrInput with the source's error, or ctx's.
func (f *Feeder) Run(ctx context.Context) error {
	err := f.insist(ctx, func() (err error) {
		f.found, err = f.ledger.Info(ctx, f.opts.Name)
		return err
	})
	if err != nil {
		return err
	}
	if f.found.Phase == batch.GivenUp {
		return ErrCancelled
	}
	if f.opts.Lane != "" {
		if err := f.introduce(ctx, []string{f.opts.Lane}); err != nil {
			return err
		}
	}
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	records := look(reading, f.src)
	for {
		// First a record, then its room: at its end the input needs none.
		if err := records.wait(ctx); err == io.EOF {
			return f.seal(ctx)
		} else if err != nil && ctx.Err() == nil {
			return fmt.Errorf("%w: %w", ErrInput, err)
		} else if err != nil {
			return err
		}
		n, err := f.room(ctx)
		if err != nil {
			return err
		}
		if err := f.feed(ctx, records.take(n)); err != nil {
			return err
		}
	}
}

// room waits until the window has room, and returns how much, at most a chunk.
func (f *Feeder) room(ctx context.Context) (int, error) {
	if left := f.found.Next - f.next; left > 0 {
		return int(min(chunk, left)), nil // these were let in before
	}
	if n := f.found.N; n >= 0 {
		return 0, &InputError{f.opts.Name, n, fmt.Sprintf("it had %d records, and now has more", n)}
	}
	for {
		var info *batch.Info
		err := f.insist(ctx, func() (err error) {
			info, err = f.ledger.Info(ctx, f.opts.Name)
			return err
		})
		if err != nil {
			return 0, err
		}
		if info.Phase == batch.GivenUp {
			return 0, ErrCancelled
		}
		if f.opts.MaxFailures > 0 && info.Failed >= f.opts.MaxFailures {
			return 0, fmt.Errorf("batch %q has kept %d failed tasks, its --max-failures: %w", f.opts.Name, info.Failed, ErrTooManyFailures)
		}
		if info.Paused {
			if !pause(ctx, settle) {
				return 0, context.Cause(ctx)
			}
			continue
		}
		if info.Next < f.next { // the window might never open: its tasks are forgotten too
			return 0, &batch.RewoundError{Name: info.Name, Next: info.Next, Phase: info.Phase}
		}
		n := min(chunk, f.opts.Window(ctx)-(f.next-info.Outcomes()))
		if f.opts.Ahead != nil {
			n = min(n, f.opts.Ahead()-f.next)
		}
		if n > 0 {
			return int(n), nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-f.settled:
		case <-time.After(poll):
		}
	}
}

// feed gives records their seqs, their tasks or outcomes, and moves the checkpoint.
func (f *Feeder) feed(ctx context.Context, records []source.Record) error {
	from := f.next
	to := from + int64(len(records))
	switch {
	case from < f.found.Next:
		return f.feedAgain(ctx, records)
	case to > batch.MaxTasks:
		return fmt.Errorf("batch %q: more than %d tasks", f.opts.Name, int64(batch.MaxTasks))
	}
	tasks, err := f.number(ctx, records)
	if err != nil {
		return err
	}
	if err := f.enqueue(ctx, tasks); err != nil {
		return err
	}
	f.read.Store(to)
	if err := f.checkpoint(ctx, from, to); err != nil {
		return err
	}
	f.wake(ctx, tasks)
	return nil
}

// feedAgain goes over records that were fed in an earlier life. Those without an
// outcome, no more than that life's window, are held until all are seen to be the
// same as then: nothing of some other input may become a task of this batch.
func (f *Feeder) feedAgain(ctx context.Context, records []source.Record) error {
	tasks, err := f.number(ctx, records)
	if err != nil {
		return err
	}
	f.held = append(f.held, tasks...)
	fed := f.found.Next
	if f.next < fed {
		return nil
	}
	if f.sum() != f.found.Hash {
		return &InputError{f.opts.Name, fed, fmt.Sprintf("its first %d records differ from those read before", fed)}
	}
	if err := f.dropGhosts(ctx); err != nil {
		return err
	}
	for part := range slices.Chunk(f.held, chunk) {
		if err := f.fillGaps(ctx, part); err != nil {
			return err
		}
	}
	f.wake(ctx, f.held)
	f.held = nil
	f.read.Store(fed)
	return nil
}

// dropGhosts frees the IDs of held tasks that Redis has a record of, but nowhere where
// they would be run: they could not be enqueued again.
func (f *Feeder) dropGhosts(ctx context.Context) error {
	lanes := lanesOf(f.held)
	return f.insist(ctx, func() error {
		in, err := queue.Places(ctx, f.rdb, lanes, f.opts.Name)
		if err != nil {
			return err
		}
		lost := make(map[string][]string)
		for _, t := range f.held {
			if _, ok := in[t.seq]; !ok && t.lane != "" {
				lost[t.lane] = append(lost[t.lane], batch.TaskID(f.opts.Name, t.seq))
			}
		}
		n, err := queue.DropGhosts(ctx, f.rdb, lost)
		if n > 0 {
			f.opts.Log.Warn("tasks that Redis knew of but nobody would have run are enqueued again", "batch", f.opts.Name, "tasks", n)
		}
		return err
	})
}

// fillGaps enqueues held tasks. Getting here may have taken long: those that have
// their outcome by now are left out.
func (f *Feeder) fillGaps(ctx context.Context, held []task) error {
	seqs := make([]int64, len(held))
	for i := range held {
		seqs[i] = held[i].seq
	}
	var have []bool
	err := f.insist(ctx, func() (err error) {
		_, have, err = f.ledger.Snapshot(ctx, f.opts.Name, seqs)
		return err
	})
	if err != nil {
		return err
	}
	return f.enqueue(ctx, without(held, have))
}

// number gives records their seqs and adds them to the hash. Of those that an
// earlier life may have enqueued, up to a chunk past its checkpoint, it returns
// the ones without an outcome.
func (f *Feeder) number(ctx context.Context, records []source.Record) ([]task, error) {
	from := f.next
	tasks := make([]task, len(records))
	for i, r := range records {
		tasks[i] = task{seq: from + int64(i), Record: r}
		f.findLane(&tasks[i])
		f.addToHash(r.Raw)
	}
	f.next += int64(len(records))
	if from >= f.found.Next+chunk {
		return tasks, nil
	}
	var have []bool
	err := f.insist(ctx, func() (err error) {
		have, err = f.ledger.Have(ctx, f.opts.Name, from, len(records))
		return err
	})
	if err != nil {
		return nil, err
	}
	return without(tasks, have), nil
}

func without(tasks []task, have []bool) []task {
	var rest []task
	for i := range tasks {
		if !have[i] {
			rest = append(rest, tasks[i])
		}
	}
	return rest
}

func (f *Feeder) checkpoint(ctx context.Context, from, to int64) error {
	sum := f.sum()
	err := f.insist(ctx, func() error { return f.ledger.Checkpoint(ctx, f.opts.Name, from, to, sum) })
	var rewound *batch.RewoundError
	if errors.As(err, &rewound) && rewound.Phase == batch.GivenUp {
		return ErrCancelled
	}
	return err
}

func (f *Feeder) seal(ctx context.Context) error {
	if fed := f.found.Next; f.next < fed {
		return &InputError{f.opts.Name, fed, fmt.Sprintf("it had %d records or more, and now has %d", fed, f.next)}
	}
	var phase batch.Phase
	err := f.insist(ctx, func() (err error) {
		phase, err = f.ledger.Seal(ctx, f.opts.Name)
		return err
	})
	if err == nil && phase == batch.GivenUp {
		return ErrCancelled
	}
	return err
}

// Watch follows a batch that Run has sealed until it is done. A *batch.RewoundError
// says that Redis has lost writes, and with them records that Run had fed: they are
// to be fed again.
func (f *Feeder) Watch(ctx context.Context) error {
	for pause(ctx, time.Second) {
		var info *batch.Info
		err := f.insist(ctx, func() (err error) {
			info, err = f.ledger.Info(ctx, f.opts.Name)
			return err
		})
		switch {
		case err != nil:
			return err
		case info.Phase == batch.Open:
			return &batch.RewoundError{Name: info.Name, Next: info.Next, Phase: info.Phase}
		case info.Phase != batch.Sealed:
			return nil
		}
	}
	return context.Cause(ctx)
}

// insist repeats a call until Redis answers.
func (f *Feeder) insist(ctx context.Context, call func() error) error {
	return retry.Until(ctx, func() error {
		err := call()
		var rewound *batch.RewoundError
		if errors.Is(err, batch.ErrNotFound) || errors.As(err, &rewound) {
			return retry.Permanent(err)
		}
		return err
	}, f.opts.Trouble)
}

func (f *Feeder) addToHash(raw []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(raw)))
	f.hash.Write(size[:])
	f.hash.Write(raw)
}

func (f *Feeder) sum() string { return hex.EncodeToString(f.hash.Sum(nil)) }
