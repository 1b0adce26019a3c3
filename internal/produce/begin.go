package produce

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/retry"
	"github.com/weir-tasks/weir/internal/sign"
	"github.com/weir-tasks/weir/tasks"
)

// Producer begins batches.
type Producer struct {
	RDB    redis.UniversalClient
	Ledger *batch.Ledger
	// ID names this process.
	ID      string
	Log     *slog.Logger
	Trouble func(err error, next time.Duration)
	// Keys, if set, sign each task, for the time SignFor.
	Keys    *sign.Keys
	SignFor time.Duration
}

// sign is what makes the tasks' signatures, good from when they are due; nil for none.
func (p *Producer) sign(o *batch.Options) func(sign.Task) string {
	if p.Keys == nil {
		return nil
	}
	later := time.Duration(o.InMS) * time.Millisecond
	if o.AtMS > 0 {
		later = max(0, time.Until(time.UnixMilli(o.AtMS)))
	}
	return func(t sign.Task) string { return p.Keys.Sign(t, time.Now().Add(later+p.SignFor)) }
}

// Options are how a batch is to be run.
type Options struct {
	batch.Options
	// Name is the batch's. Empty: one is derived from Stem.
	Name string
	// Stem begins a derived name.
	Stem string
	// Again says that the derived name depends on the input alone, so that the same
	// command finds its unfinished batch again. False: every run is a new batch.
	Again bool
	// Window is the most tasks in Redis without an outcome; 0 is automatic.
	Window int64
	// MaxFailures is how many dead letters the batch may keep; 0 is no limit.
	MaxFailures int64
	FailFast    bool
}

// InUseError says that a batch of this name exists and is another one.
type InUseError struct {
	Name   string
	Reason string
	// Fed says that a producer feeds it now, which may end.
	Fed bool
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("batch %q is in use: %s; give the same input and options to go on with it, or choose another --batch name", e.Name, e.Reason)
}

// Batch is a batch that this process produces.
type Batch struct {
	p       *Producer
	o       Options
	resumed *batch.Info // as it was found; nil for a new one

	release context.CancelFunc
	keeper  sync.WaitGroup
	lost    chan struct{} // closed when another producer has the lease

	feeds atomic.Pointer[feeding] // the last
}

// Begin makes the batch, or goes on with the one that is there. End it with End.
func (p *Producer) Begin(ctx context.Context, o Options) (*Batch, error) {
	if err := checkLane(&o.Options); err != nil {
		return nil, err
	}
	b := &Batch{p: p, o: o, lost: make(chan struct{})}
	var err error
	if o.Name != "" {
		err = b.beginNamed(ctx)
	} else {
		err = b.beginDerived(ctx)
	}
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx) // whatever it has broken
	}
	if err != nil {
		return nil, err
	}
	b.keepLease()
	if b.resumed != nil && b.resumed.Stopped {
		err := b.insist(ctx, func() error { return feed.Resume(ctx, p.RDB, p.Ledger, b.o.Name, p.ID) })
		if errors.Is(err, batch.ErrNotItsProducer) {
			err = ErrLeaseLost
		}
		if err != nil {
			b.End()
			return nil, fmt.Errorf("resume batch %q: %w", b.o.Name, err)
		}
	}
	return b, nil
}

// checkLane wants a lane for every task: one for all, or what their type derives.
func checkLane(o *batch.Options) error {
	if o.Lane != "" {
		return tasks.ValidLane(o.Lane)
	}
	if _, ok := tasks.Lookup(o.Type); !ok {
		return fmt.Errorf("the batch has no lane, and this program has no task type %q to derive one", o.Type)
	}
	return nil
}

// Name is the batch's name.
func (b *Batch) Name() string { return b.o.Name }

// Resumed is the batch as it was found, or nil for a new one.
func (b *Batch) Resumed() *batch.Info { return b.resumed }

// create makes the batch of a name, or returns the one that is there.
func (b *Batch) create(ctx context.Context, name string) (found *batch.Info, err error) {
	if err := batch.ValidName(name); err != nil {
		return nil, err
	}
	err = retry.Until(ctx, func() error {
		made, err := b.p.Ledger.Create(ctx, name, b.o.Options)
		if err != nil || made {
			return err
		}
		found, err = b.p.Ledger.Info(ctx, name)
		return err
	}, b.p.Trouble)
	return found, err
}

func (b *Batch) beginNamed(ctx context.Context) (err error) {
	if b.resumed, err = b.create(ctx, b.o.Name); err != nil {
		return err
	}
	if b.resumed != nil {
		if diff := b.resumed.Options.Differs(&b.o.Options); diff != "" {
			return &InUseError{b.o.Name, diff, false}
		}
	}
	holder, err := b.awaitLease(ctx, b.o.Name)
	if err != nil {
		return err
	}
	if holder != "" {
		return &InUseError{b.o.Name, fmt.Sprintf("producer %s feeds it now", processOf(holder)), true}
	}
	b.resumed, err = b.found(ctx, b.o.Name, b.resumed)
	return err
}

// found is a batch, if there was one, as it stands now that the lease is ours: whoever
// had it has gone on with it meanwhile, or has stopped it.
func (b *Batch) found(ctx context.Context, name string, before *batch.Info) (now *batch.Info, err error) {
	if before == nil {
		return nil, nil
	}
	if now, err = b.create(ctx, name); err != nil {
		b.giveLeaseBack(name)
	}
	return now, err
}

// beginDerived takes the first name of its stem that is free, or whose batch is
// this one, not finished, and fed by nobody.
func (b *Batch) beginDerived(ctx context.Context) error {
	stem := b.o.Stem
	if !b.o.Again {
		stem += "-" + random()
	}
	for i := 1; ; i++ {
		name := stem
		if i > 1 {
			name = fmt.Sprintf("%s-%d", stem, i)
		}
		name = fit(name)
		found, err := b.create(ctx, name)
		if err != nil {
			return err
		}
		if !b.mayGoOn(found) {
			continue
		}
		holder, err := b.awaitLease(ctx, name)
		if err != nil {
			return err
		}
		if holder != "" {
			continue
		}
		if found, err = b.found(ctx, name, found); err != nil {
			return err
		}
		if b.mayGoOn(found) {
			b.o.Name, b.resumed = name, found
			return nil
		}
		if err := b.p.Ledger.Release(ctx, name, b.p.ID); err != nil {
			return err
		}
	}
}

// mayGoOn says that a batch found under a derived name, if any, is this one and not
// finished. With an outcome file it is finished when all are in the file.
func (b *Batch) mayGoOn(found *batch.Info) bool {
	switch {
	case found == nil:
		return true
	case found.Phase == batch.GivenUp, found.Options.Differs(&b.o.Options) != "":
		return false
	}
	return !found.Complete() || b.o.Out != "" && found.Given < found.N
}

// fit makes a name as short as it may be. Its end is what tells it from others.
func fit(name string) string {
	return strings.TrimLeft(name[max(0, len(name)-64):], "-_")
}

func random() string {
	var r [4]byte
	_, _ = rand.Read(r[:]) // never fails, see crypto/rand
	return hex.EncodeToString(r[:])
}

// End gives the lease back.
func (b *Batch) End() {
	b.release()
	b.keeper.Wait()
	b.giveLeaseBack(b.o.Name)
}

// Discard removes a batch that was made by Begin and has not been fed.
func (b *Batch) Discard(ctx context.Context) error { return b.p.Ledger.Discard(ctx, b.o.Name) }
