// Package follow is the reader's side of a batch: it reads the outcome stream and
// hands each outcome on, in order of completion or of input.
//
// What always holds:
//
//   - An outcome leaves the stream only after the sink has committed it. A reader
//     that dies is given again what it had not committed; a File sink recognises
//     what it holds, so a file is exactly once.
//   - In order of input, what waits for its turn is bounded by how far the feeder
//     may be ahead.
package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/retry"
)

const (
	readBlock = time.Second

	// commitEvery is how long outcomes may wait for their commit.
	commitEvery = time.Second
)

// Sink takes outcomes.
type Sink interface {
	// Put takes one outcome: its line, without a newline.
	Put(line []byte) error
	// Flush passes on what Put took.
	Flush() error
	// Commit makes what Put took safe, as far as the sink can.
	Commit() error
	// Has says that the sink holds the outcome of a seq from an earlier life.
	Has(seq int64) bool
}

// Options configure a Follower.
type Options struct {
	Name    string
	Ordered bool
	// From is, when Ordered, the seq to begin with.
	From int64
	// Keep leaves the stream as it is: others read it too.
	Keep bool
	// Given is how many outcomes were handed on in earlier lives.
	Given int64
	// Seen, if set, is called with each outcome handed on, and with those that are
	// still in the stream though an earlier life handed them on.
	Seen func(o *batch.Outcome, wait time.Duration) error
	// Arrived, if set, is called after each read that brought something.
	Arrived func()
	Trouble func(err error, next time.Duration)
}

// Follower reads one batch's outcomes once.
type Follower struct {
	ledger *batch.Ledger
	sink   Sink
	opts   Options

	taken   seqSet             // all that arrived; a Redis that has lost writes brings some again
	waiting map[int64]*arrival // ordered: those whose turn has not come
	arrived []*arrival         // in stream order, from the oldest not handed on
	given   atomic.Int64
	turn    atomic.Int64
	last    string // the last stream ID read
	amount  amount // of the next read
	keep    string // where the stream may begin, when that is still to be said
}

type arrival struct {
	id      string
	line    []byte
	outcome batch.Outcome
	wait    time.Duration
	given   bool
}

// New returns a Follower.
func New(ledger *batch.Ledger, sink Sink, o Options) *Follower {
	f := &Follower{ledger: ledger, sink: sink, opts: o, waiting: make(map[int64]*arrival), last: batch.Start}
	f.given.Store(o.Given)
	f.turn.Store(o.From)
	return f
}

// Reached is how far the reader is: how many outcomes it has been given or, when
// Ordered, the seq whose turn it is.
func (f *Follower) Reached() int64 {
	if f.opts.Ordered {
		return f.turn.Load()
	}
	return f.given.Load()
}

// Given is how many outcomes have been handed on, with those of earlier lives.
func (f *Follower) Given() int64 { return f.given.Load() }

// Run hands on outcomes until the batch's last, the sink's or Seen's first error,
// or ctx's end. What was handed on by then is committed.
func (f *Follower) Run(ctx context.Context) (err error) {
	committed := time.Now()
	defer func() {
		last := f.sink.Flush()
		if last == nil {
			last = f.commit(context.WithoutCancel(ctx))
		}
		err = errors.Join(err, last)
	}()
	for {
		entries, err := f.read(ctx)
		if err != nil {
			return err
		}
		end := false
		for _, e := range entries {
			if end = e.End; end {
				break
			}
			if err := f.take(e); err != nil {
				return err
			}
		}
		if end {
			return f.flushWaiting()
		}
		if len(entries) > 0 && f.opts.Arrived != nil {
			f.opts.Arrived()
		}
		if err := f.sink.Flush(); err != nil {
			return err
		}
		if time.Since(committed) >= commitEvery {
			if err := f.commit(ctx); err != nil {
				return err
			}
			committed = time.Now()
		}
	}
}

func (f *Follower) read(ctx context.Context) (entries []batch.Entry, err error) {
	err = retry.Until(ctx, func() (err error) {
		entries, err = f.ledger.Read(ctx, f.opts.Name, f.last, f.amount.next(), readBlock)
		if err != nil || len(entries) > 0 {
			return err
		}
		// Nothing in a while: is there still a batch?
		if _, err = f.ledger.Info(ctx, f.opts.Name); errors.Is(err, batch.ErrNotFound) {
			return retry.Permanent(fmt.Errorf("%w: Redis has lost it", err))
		}
		return err
	}, f.opts.Trouble)
	f.amount.took(entries)
	return entries, err
}

// take sorts one entry in, and hands on what is due.
func (f *Follower) take(e batch.Entry) error {
	f.last = e.ID
	a := &arrival{id: e.ID, line: e.Line, wait: e.Wait}
	if err := json.Unmarshal(e.Line, &a.outcome); err != nil {
		return fmt.Errorf("outcome stream of batch %q, entry %s: %w", f.opts.Name, e.ID, err)
	}
	f.arrived = append(f.arrived, a)
	if f.taken.has(a.outcome.Seq) {
		a.given = true // the first one stands
		return nil
	}
	f.taken.add(a.outcome.Seq)
	if !f.opts.Ordered {
		return f.give(a)
	}
	if a.outcome.Seq < f.turn.Load() {
		a.given = true // in an earlier life
		return f.seen(a)
	}
	f.waiting[a.outcome.Seq] = a
	for {
		next, ok := f.waiting[f.turn.Load()]
		if !ok {
			return nil
		}
		delete(f.waiting, next.outcome.Seq)
		if err := f.give(next); err != nil {
			return err
		}
	}
}

// flushWaiting is called at the end of the stream: all that can come has come.
func (f *Follower) flushWaiting() error {
	if len(f.waiting) > 0 {
		return fmt.Errorf("batch %q: the outcome of seq %d is missing from the stream, and %d later ones wait for it: was it read by another follower?",
			f.opts.Name, f.turn.Load(), len(f.waiting))
	}
	return nil
}

func (f *Follower) give(a *arrival) error {
	if !f.sink.Has(a.outcome.Seq) {
		if err := f.sink.Put(a.line); err != nil {
			return err // not given: it stays in the stream
		}
		f.given.Add(1)
	}
	a.given, a.line = true, nil
	if f.opts.Ordered {
		f.turn.Store(a.outcome.Seq + 1)
	}
	return f.seen(a)
}

func (f *Follower) seen(a *arrival) error {
	if f.opts.Seen == nil {
		return nil
	}
	return f.opts.Seen(&a.outcome, a.wait)
}

// commit makes safe what was handed on, and lets it leave the stream.
func (f *Follower) commit(ctx context.Context) error {
	if err := f.sink.Commit(); err != nil {
		return err
	}
	n := 0
	for n < len(f.arrived) && f.arrived[n].given {
		n++
	}
	if n > 0 {
		f.keep = after(f.arrived[n-1].id)
		f.arrived = append([]*arrival(nil), f.arrived[n:]...)
	}
	if f.keep == "" || f.opts.Keep {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := f.ledger.Trim(ctx, f.opts.Name, f.keep, f.given.Load())
	if err == nil {
		f.keep = ""
	}
	if f.opts.Trouble != nil {
		f.opts.Trouble(err, commitEvery) // if not now, it is trimmed with the next commit, or read again
	}
	return nil
}

// after is the least stream ID greater than id.
func after(id string) string {
	ms, seq, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseUint(seq, 10, 64)
	return ms + "-" + strconv.FormatUint(n+1, 10)
}
