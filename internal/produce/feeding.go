package produce

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/follow"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/source"
)

// feeding feeds a batch, and again what Redis has forgotten: one that was killed may
// have lost its last writes, and stands where it stood some seconds ago.
type feeding struct {
	b        *Batch
	follower *follow.Follower // nil: nobody follows
	followed chan struct{}    // closed when the follower has ended
	feeder   atomic.Pointer[feed.Feeder]
}

func (b *Batch) feeding() *feeding {
	f := &feeding{b: b, followed: make(chan struct{})}
	b.feeds.Store(f)
	return f
}

// Progress is how far a batch's input has been read.
type Progress struct {
	Read   int64 // records that have been enqueued, or have an outcome, in earlier lives too
	Parked int64 // records that were read and wait in this process for their lane
}

// Progress tells how far this process is; zero before it feeds.
func (b *Batch) Progress() Progress {
	f := b.feeds.Load()
	if f == nil || f.feeder.Load() == nil {
		return Progress{}
	}
	feeder := f.feeder.Load()
	return Progress{Read: feeder.Read(), Parked: feeder.CountParked()}
}

// run feeds a source whole, and with a follower watches until that has ended that the
// batch stays fed.
func (f *feeding) run(ctx context.Context, src source.Source) error {
	for {
		feeder := f.b.feeder(src, f.follower)
		f.feeder.Store(feeder)
		err := feeder.Run(ctx)
		if err == nil && f.follower != nil {
			err = f.watch(ctx, feeder)
		}
		rewound := rewoundIn(err)
		if rewound == nil {
			return err
		}
		again, reopenErr := source.Reopen(src)
		if reopenErr != nil {
			return fmt.Errorf("redis has lost its last writes: %w, and %w: give the same command the same input again", err, reopenErr)
		}
		defer again.Close()
		f.b.p.Log.Warn("Redis has lost its last writes; what it has forgotten of the batch is fed again",
			"batch", f.b.o.Name, "fed", feeder.Read(), "checkpoint", rewound.Next)
		src = again
	}
}

func (f *feeding) watch(ctx context.Context, feeder *feed.Feeder) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-f.followed:
			stop()
		case <-watching.Done():
		}
	}()
	err := feeder.Watch(watching)
	if watching.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// read is how many records have been fed.
func (f *feeding) read() int64 { return f.feeder.Load().Read() }

// parked are the messages of tasks that wait in this process for their lane.
func (f *feeding) parked() map[int64]*queue.Message {
	if feeder := f.feeder.Load(); feeder != nil {
		return feeder.Parked()
	}
	return nil
}

// settled tells the feeder that outcomes came.
func (f *feeding) settled() {
	if feeder := f.feeder.Load(); feeder != nil {
		feeder.Settled()
	}
}

func rewoundIn(err error) *batch.RewoundError {
	var rewound *batch.RewoundError
	errors.As(err, &rewound)
	return rewound
}
