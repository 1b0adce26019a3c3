package batch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// RewoundError says that the checkpoint is not where the producer left it: Redis
// lost writes, another producer was here, or the batch was cancelled.
type RewoundError struct {
	Name  string
	Next  int64 // where it stands; -1 when the batch is gone
	Phase Phase
}

func (e *RewoundError) Error() string {
	if e.Phase == notCreated {
		return fmt.Sprintf("batch %q is gone from Redis", e.Name)
	}
	return fmt.Sprintf("checkpoint of batch %q (%s) stands at %d, not where this producer left it", e.Name, e.Phase, e.Next)
}

// Mark is how far a producer has come with a batch's input.
type Mark struct {
	// Next is the checkpoint: seqs below it have been enqueued or have an outcome.
	Next int64
	// Ahead is how many of those from Next on have been enqueued, or have an outcome, too.
	Ahead int64
	// Upto is how many records were read: of those from here on the producer has enqueued
	// no more than what it enqueues at once.
	Upto int64
}

// Enqueued is how many tasks have been enqueued, or have an outcome.
func (m Mark) Enqueued() int64 { return m.Next + m.Ahead }

// At is the mark of a producer that enqueues in the order of input.
func At(next int64) Mark { return Mark{Next: next, Upto: next} }

// place is a mark as scripts know it.
func (m Mark) place() string {
	if m == At(m.Next) {
		return strconv.FormatInt(m.Next, 10)
	}
	return fmt.Sprintf("%d %d %d", m.Next, m.Ahead, m.Upto)
}

// Checkpoint moves the checkpoint from one seq to another where nothing has overtaken it.
func (l *Ledger) Checkpoint(ctx context.Context, name string, from, to int64, hash string) error {
	return l.Advance(ctx, name, At(from), At(to), hash)
}

// Advance moves the checkpoint from one mark to another, by compare-and-set. hash is that
// of the input read so far. A *RewoundError says where the checkpoint stands instead.
func (l *Ledger) Advance(ctx context.Context, name string, from, to Mark, hash string) error {
	r, err := checkpointScript.Run(ctx, l.rdb, []string{batchKey(name)}, from.place(), to.place(), hash).Slice()
	if err != nil || len(r) != 3 {
		return fmt.Errorf("move checkpoint of batch %q: %w", name, orShape(err))
	}
	if moved, _ := r[0].(int64); moved == 1 {
		return nil
	}
	next, _ := r[1].(int64)
	phase, _ := r[2].(string)
	return &RewoundError{Name: name, Next: next, Phase: Phase(phase)}
}

// Seal says that the source has ended. It returns the phase the batch is in now.
func (l *Ledger) Seal(ctx context.Context, name string) (Phase, error) {
	return l.end(ctx, name, Sealed, false, "")
}

// SealAt is Seal for the producer that left the checkpoint at a mark. If it is elsewhere,
// since Redis has lost writes, the batch stays Open.
func (l *Ledger) SealAt(ctx context.Context, name string, at Mark) (Phase, error) {
	return l.end(ctx, name, Sealed, false, at.place())
}

// GiveUp marks a batch cancelled: no attempt begins any more. Outcomes for what
// it leaves open are recorded by the workers that meet them, and by FillCancelled.
func (l *Ledger) GiveUp(ctx context.Context, name string) (Phase, error) {
	return l.end(ctx, name, GivenUp, false, "")
}

// Expire is GiveUp for a batch whose deadline has passed: what it leaves open fails.
func (l *Ledger) Expire(ctx context.Context, name string) (Phase, error) {
	return l.end(ctx, name, GivenUp, true, "")
}

func (l *Ledger) end(ctx context.Context, name string, want Phase, expired bool, at string) (Phase, error) {
	s, err := sealScript.Run(ctx, l.rdb, []string{batchKey(name), outKey(name)}, string(want), expired, at).Text()
	if err != nil {
		return "", fmt.Errorf("end batch %q: %w", name, err)
	}
	phase := Phase(s)
	switch phase {
	case notCreated:
		return "", fmt.Errorf("end batch %q: %w", name, ErrNotFound)
	case Done, GivenUp:
		if i, err := l.Info(ctx, name); err == nil && i.Complete() {
			_ = l.expire(ctx, i)
		}
	}
	return phase, nil
}

// ErrNotItsProducer says that another producer has the batch's lease, or had it since.
var ErrNotItsProducer = errors.New("another producer has taken it over")

// SetStopped marks a batch as interrupted, for its producer: workers drop its tasks, which
// the resuming producer enqueues again, or takes the mark away. Where another holds the
// lease, or was the last to hold it, nothing is done, and the error is ErrNotItsProducer; for
// a batch that is gone, ErrNotFound.
func (l *Ledger) SetStopped(ctx context.Context, name, producer string, stopped bool) error {
	holder, err := stopScript.Run(ctx, l.rdb, []string{batchKey(name), producerKey(name)}, producer, stopped).Text()
	switch {
	case errors.Is(err, redis.Nil):
		err = ErrNotFound
	case err == nil && holder != "":
		err = ErrNotItsProducer
	}
	if err != nil {
		return fmt.Errorf("stop batch %q: %w", name, err)
	}
	return nil
}

// AddLane notes that tasks of the batch go to queues of lanes.
func (l *Ledger) AddLane(ctx context.Context, name string, lanes ...string) error {
	members := make([]any, len(lanes))
	for i, lane := range lanes {
		members[i] = lane
	}
	if err := l.rdb.SAdd(ctx, lanesKey(name), members...).Err(); err != nil {
		return fmt.Errorf("note lanes of batch %q: %w", name, err)
	}
	return nil
}

// Lanes are the queues that tasks of the batch went to, whatever lanes they are of.
func (l *Ledger) Lanes(ctx context.Context, name string) ([]string, error) {
	lanes, err := l.rdb.SMembers(ctx, lanesKey(name)).Result()
	if err != nil {
		return nil, fmt.Errorf("read lanes of batch %q: %w", name, err)
	}
	return lanes, nil
}

// Lease makes id the producer of a batch for a while, or returns who is. dead
// names a holder known to have died, which does not count.
func (l *Ledger) Lease(ctx context.Context, name, id, dead string, d time.Duration) (holder string, err error) {
	holder, err = leaseScript.Run(ctx, l.rdb, []string{producerKey(name), batchKey(name)}, id, d.Milliseconds(), dead).Text()
	if err != nil {
		return "", fmt.Errorf("become producer of batch %q: %w", name, err)
	}
	return holder, nil
}

// LeaseLeft is how long the producer's lease still lasts; 0 if there is none.
func (l *Ledger) LeaseLeft(ctx context.Context, name string) (time.Duration, error) {
	left, err := l.rdb.PTTL(ctx, producerKey(name)).Result()
	if err != nil {
		return 0, fmt.Errorf("read lease of batch %q: %w", name, err)
	}
	return max(left, 0), nil
}

// Release gives the producer's lease back.
func (l *Ledger) Release(ctx context.Context, name, id string) error {
	if err := releaseScript.Run(ctx, l.rdb, []string{producerKey(name)}, id).Err(); err != nil {
		return fmt.Errorf("release batch %q: %w", name, err)
	}
	return nil
}
