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
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/retry"
	"github.com/weir-tasks/weir/internal/sign"
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
	Lane     string
	LaneOf   func(payload []byte) (string, error)
	Priority queue.Priority
	// Shards, if set, tells which lanes are spread over several queues, and over how many.
	Shards func(context.Context) (map[string]int, error)
	// Introduce, if set, is told of lanes before the first task is in them.
	Introduce func(ctx context.Context, lanes ...string) error
	Timeout   time.Duration
	// Window is the most tasks in Redis without an outcome; asked before each chunk.
	Window func(context.Context) int64
	// Ahead, if set, is the seq that must not be reached yet: how far the reader of
	// the outcomes may be behind.
	Ahead func() int64
	// Unread, if set, is how many more outcomes there may be that nobody has read; those
	// of the tasks that are in Redis will be among them.
	Unread func(context.Context) int64
	// Ordered says that the reader wants the outcomes in the order of input: then Ahead
	// bounds how far others may overtake, else how many tasks are enqueued.
	Ordered bool
	// Sign, if set, makes the signatures of the tasks.
	Sign func(sign.Task) string
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
	mark    batch.Mark  // where the checkpoint was left
	found   *batch.Info // the batch as Run found it: Upto records were read before
	held    []task      // of those, the ones without an outcome
	past    []bool      // which seqs past found.Upto had an outcome when the first of them was read
	hash    hash.Hash
	settled chan struct{}
	read    atomic.Value // batch.Mark: what has been enqueued
	parking *parking
	window  int64                // as it was told last
	known   map[string]time.Time // queues that the batch and asynq know of, since when
	shards  shards
	former  map[string][]string // see formerQueues
}

// New returns a Feeder of a batch that Create has made.
func New(rdb redis.UniversalClient, ledger *batch.Ledger, src source.Source, o Options) *Feeder {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Feeder{
		rdb: rdb, ledger: ledger, collect: newCollector(rdb, o.Priority), src: src, opts: o,
		hash: sha256.New(), settled: make(chan struct{}, 1), parking: newParking(),
	}
	f.forgetLanes()
	return f
}

// Read is how many records have been enqueued so far, or have an outcome.
func (f *Feeder) Read() int64 {
	mark, _ := f.read.Load().(batch.Mark)
	return mark.Enqueued()
}

// Parked are the messages of tasks that were read and wait here for their lane, by seq.
func (f *Feeder) Parked() map[int64]*queue.Message {
	parked := make(map[int64]*queue.Message)
	for seq, payload := range f.parking.payloads() {
		at, _ := f.runs()
		parked[seq] = &queue.Message{Payload: payload, Headers: f.headers(seq, payload, at)}
	}
	return parked
}

// CountParked is how many records were read and wait here for their lane.
func (f *Feeder) CountParked() int64 {
	f.parking.mu.Lock()
	defer f.parking.mu.Unlock()
	return f.parking.tasks
}

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
		more, err := records.wait(ctx, f.parking.tasks == 0)
		switch {
		case err == io.EOF && f.parking.tasks == 0:
			return f.seal(ctx)
		case err != nil && err != io.EOF && ctx.Err() == nil:
			return fmt.Errorf("%w: %w", ErrInput, err)
		case err != nil && err != io.EOF:
			return err
		}
		if err := f.step(ctx, records, more); err != nil {
			return err
		}
	}
}

// step enqueues what there is room for: first of what is parked, then of what is read.
func (f *Feeder) step(ctx context.Context, records *lookAhead, more bool) error {
	n, toRead, err := f.room(ctx, more)
	if err != nil {
		return err
	}
	going, err := f.unpark(ctx, n)
	if err != nil {
		return err
	}
	var read []source.Record
	if n = min(n-len(going), toRead); more && n > 0 {
		read = records.take(n)
	}
	mark, next := f.mark, f.next
	if err := f.feed(ctx, going, read); err != nil {
		return err
	}
	if f.mark == mark && f.next == next {
		return f.idle(ctx)
	}
	return nil
}

// room waits until the window has room, and returns how much, at most a chunk, and how
// many records may be read.
func (f *Feeder) room(ctx context.Context, more bool) (n, toRead int, err error) {
	if left := f.found.Upto - f.next; more && left > 0 {
		return int(min(chunk, left)), int(min(chunk, left)), nil // these were let in before
	}
	if n := f.found.N; n >= 0 && more {
		return 0, 0, &InputError{f.opts.Name, n, fmt.Sprintf("it had %d records, and now has more", n)}
	}
	for {
		info, err := f.look(ctx)
		if err != nil {
			return 0, 0, err
		}
		if info.Paused {
			if !pause(ctx, settle) {
				return 0, 0, context.Cause(ctx)
			}
			continue
		}
		n, toRead := f.roomIn(ctx, info)
		if n > 0 && (toRead > 0 || f.parking.tasks > 0) {
			return int(n), int(max(toRead, 0)), nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, context.Cause(ctx)
		case <-f.settled:
		case <-time.After(poll):
		}
	}
}

// look reads how the batch stands, and whether it may be gone on with.
func (f *Feeder) look(ctx context.Context) (info *batch.Info, err error) {
	err = f.insist(ctx, func() (err error) {
		info, err = f.ledger.Info(ctx, f.opts.Name)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case info.Phase == batch.GivenUp:
		return nil, ErrCancelled
	case f.opts.MaxFailures > 0 && info.Failed >= f.opts.MaxFailures:
		return nil, fmt.Errorf("batch %q has kept %d failed tasks, its --max-failures: %w", f.opts.Name, info.Failed, ErrTooManyFailures)
	case !info.Paused && (info.Next < f.mark.Next || info.Upto < f.mark.Upto): // the window might never open: its tasks are forgotten too
		return nil, &batch.RewoundError{Name: info.Name, Next: info.Next, Phase: info.Phase}
	}
	return info, nil
}

// roomIn is how many tasks may be enqueued, and of these how many be read.
func (f *Feeder) roomIn(ctx context.Context, info *batch.Info) (n, toRead int64) {
	f.window = f.opts.Window(ctx)
	enqueued := f.next - f.parking.tasks
	n = min(chunk, f.window-(enqueued-info.Outcomes()))
	toRead = n
	if !f.parking.open() {
		toRead = 0
	}
	if f.opts.Ahead != nil && f.opts.Ordered {
		toRead = min(toRead, f.opts.Ahead()-f.next)
	} else if f.opts.Ahead != nil {
		toRead = min(toRead, f.opts.Ahead()-enqueued)
	}
	if f.opts.Unread != nil {
		toRead = min(toRead, f.opts.Unread(ctx)-(enqueued-info.Outcomes()))
	}
	return n, toRead
}

// feed gives records their seqs, their tasks or outcomes, and moves the checkpoint. With
// them it enqueues parked tasks that may go on.
func (f *Feeder) feed(ctx context.Context, going []task, records []source.Record) error {
	if f.next+int64(len(records)) > batch.MaxTasks {
		return fmt.Errorf("batch %q: more than %d tasks; part the input, and make a batch of each part", f.opts.Name, int64(batch.MaxTasks))
	}
	if len(records) > 0 && f.next < f.found.Upto {
		return f.feedAgain(ctx, records)
	}
	tasks, err := f.number(ctx, records)
	if err != nil {
		return err
	}
	if tasks, err = f.admit(ctx, tasks); err != nil {
		return err
	}
	tasks = append(going, tasks...)
	from, to := f.mark, f.reached()
	if len(tasks) == 0 && from == to {
		return nil
	}
	if err := f.enqueue(ctx, tasks); err != nil {
		return err
	}
	f.read.Store(to)
	return f.checkpoint(ctx, from, to)
}

// number gives records their seqs and adds them to the hash. Of those that an
// earlier life may have enqueued, up to a chunk past what it had read, it returns
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
	if len(records) == 0 || from >= f.found.Upto+chunk {
		return tasks, nil
	}
	have, err := f.have(ctx, from, len(records))
	if err != nil {
		return nil, err
	}
	return without(tasks, have), nil
}

func (f *Feeder) checkpoint(ctx context.Context, from, to batch.Mark) error {
	sum := f.sum()
	err := f.insist(ctx, func() error { return f.ledger.Advance(ctx, f.opts.Name, from, to, sum) })
	var rewound *batch.RewoundError
	if errors.As(err, &rewound) && rewound.Phase == batch.GivenUp {
		return ErrCancelled
	}
	if err == nil {
		f.mark = to
	}
	return err
}

func (f *Feeder) seal(ctx context.Context) error {
	if fed := f.found.Upto; f.next < fed {
		return &InputError{f.opts.Name, fed, fmt.Sprintf("it had %d records or more, and now has %d", fed, f.next)}
	}
	var phase batch.Phase
	err := f.insist(ctx, func() (err error) {
		phase, err = f.ledger.SealAt(ctx, f.opts.Name, f.mark)
		return err
	})
	switch {
	case err != nil:
		return err
	case phase == batch.GivenUp:
		return ErrCancelled
	case phase != batch.Open:
		return nil
	}
	// The checkpoint is not where this producer left it.
	if _, err := f.look(ctx); err != nil {
		return err
	}
	return &batch.RewoundError{Name: f.opts.Name, Next: f.mark.Next, Phase: phase}
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
