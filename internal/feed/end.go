package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// settle is how often Cancel and Stop look again for what is still being run.
const settle = 50 * time.Millisecond

// Cancel gives a batch up: no attempt begins any more, running ones are cut off,
// and every task without an outcome gets the outcome cancelled. It returns when
// all have one, or when ctx ends: then the workers record what they still run.
// A batch that is done already stays done.
func Cancel(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) error {
	phase, err := ledger.GiveUp(ctx, name)
	if err != nil || phase == batch.Done {
		return err
	}
	return settleAll(ctx, rdb, ledger, name)
}

// Expire is Cancel for a batch whose deadline has passed: every task without an outcome
// fails, class expired. parked, if not nil, tells the messages, by seq, of those that
// have not been enqueued: the dead letters get their payloads.
func Expire(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string, parked func() map[int64]*queue.Message) error {
	phase, err := ledger.Expire(ctx, name)
	if err != nil || phase == batch.Done {
		return err
	}
	info, err := ledger.Info(ctx, name)
	if err != nil {
		return err
	}
	if parked == nil {
		parked = func() map[int64]*queue.Message { return nil }
	}
	for seq, m := range parked() {
		if !info.Expired || seq >= info.N {
			continue
		}
		if err := leaveOpen(ctx, ledger, info, seq, m); err != nil {
			return err
		}
	}
	return settleAll(ctx, rdb, ledger, name)
}

// failing gives what is about to be withdrawn from an expired batch its outcome, so that
// the dead letters have the payloads. For any other batch it does nothing.
func failing(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) (first func(lane string, ids []string) error, err error) {
	info, err := ledger.Info(ctx, name)
	if err != nil {
		return nil, err
	}
	return func(lane string, ids []string) error {
		if !info.Expired {
			return nil
		}
		messages, err := queue.Decoded(ctx, rdb, lane, ids)
		if err != nil {
			return err
		}
		for id, m := range messages {
			if _, seq, ok := batch.ParseTaskID(id); ok && seq < info.N {
				if err := leaveOpen(ctx, ledger, info, seq, m); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil
}

// leaveOpen records the outcome of a task that an ended batch has left open.
func leaveOpen(ctx context.Context, ledger *batch.Ledger, info *batch.Info, seq int64, m *queue.Message) error {
	o := info.LeftOpen(seq)
	o.Signature = m.Headers[batch.Signature]
	_, err := ledger.Record(ctx, info.Name, o, -time.Microsecond, m.Payload)
	return err
}

// settleAll gives every task of a batch that is given up its outcome.
func settleAll(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) error {
	filled := false
	for {
		active, err := withdraw(ctx, rdb, ledger, name, batch.EndCancelled, func() error { return nil })
		if err == nil && (!filled || len(active) == 0) {
			err = fillBut(ctx, ledger, name, active)
			filled = true
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if len(active) == 0 {
			return nil
		}
		if !pause(ctx, settle) {
			return context.Cause(ctx)
		}
	}
}

// fillBut records the outcome cancelled for all that have none but the active ones.
func fillBut(ctx context.Context, ledger *batch.Ledger, name string, active []string) error {
	running := make(map[int64]bool, len(active))
	for _, id := range active {
		if _, seq, ok := batch.ParseTaskID(id); ok {
			running[seq] = true
		}
	}
	_, err := ledger.FillCancelled(ctx, name, func(seq int64) bool { return running[seq] })
	return err
}

// Stop takes a batch's tasks out of Redis without outcomes, so that nothing of it
// is left running; Resume and feeding it again goes on with it. It returns how
// many were still being run when ctx ended: 0 if none.
//
// Only its producer stops a batch. This process may be frozen at any moment, and another go
// on with the batch: so it makes sure that the batch is still its own whenever it has looked
// for tasks, and before it cuts any off. Else the error is batch.ErrNotItsProducer.
func Stop(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name, producer string) (left int, err error) {
	own := func() error { return ledger.SetStopped(ctx, name, producer, true) }
	for {
		var active []string
		err := own()
		if err == nil {
			active, err = withdraw(ctx, rdb, ledger, name, batch.EndStopped, own)
		}
		if err != nil && ctx.Err() != nil {
			if left > 0 {
				return left, nil // as at the last look
			}
			return 0, context.Cause(ctx)
		}
		if err != nil {
			return 0, err
		}
		left = len(active)
		if left == 0 || !pause(ctx, settle) {
			return left, nil
		}
	}
}

// Resume waits until nothing of a stopped batch is being run any more, and takes
// the mark away. Without the wait a worker could still drop a task which the
// resumed producer takes for enqueued; without the fence what another has sent to stop
// the batch, and Redis gets only now, could still take it out. An error is ctx's where tasks
// still run, and batch.ErrNotItsProducer where another has the batch meanwhile.
func Resume(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name, producer string) error {
	left, err := Stop(ctx, rdb, ledger, name, producer)
	if err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("its last tasks still run: %w", context.Cause(ctx))
	}
	lanes, err := ledger.Lanes(ctx, name)
	if err != nil {
		return err
	}
	if err := queue.Fence(ctx, rdb, lanes, name); err != nil {
		return err
	}
	return ledger.SetStopped(ctx, name, producer, false)
}

// withdraw takes out what nobody runs and cuts off what somebody does, unless may, asked in
// between, says why not.
func withdraw(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string, end batch.Ending, may func() error) (active []string, err error) {
	lanes, err := ledger.Lanes(ctx, name)
	if err != nil {
		return nil, err
	}
	first, err := failing(ctx, rdb, ledger, name)
	if err != nil {
		return nil, err
	}
	_, active, err = queue.Withdraw(ctx, rdb, lanes, name, func(lane string, ids []string) error {
		if err := may(); err != nil {
			return err
		}
		return first(lane, ids)
	})
	if err == nil && len(active) > 0 {
		err = may()
	}
	if err != nil || len(active) == 0 {
		return nil, err
	}
	return active, ledger.Announce(ctx, name, end)
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// Pause lets no further attempt of a batch begin; running ones finish. What waits in its
// lanes is set aside.
func Pause(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) error {
	if err := ledger.SetPaused(ctx, name, true); err != nil {
		return err
	}
	err := eachLane(ctx, rdb, ledger, name, func(lane string) error {
		_, err := queue.Park(ctx, rdb, lane, name)
		return err
	})
	if err != nil {
		return err
	}
	// Whoever was frozen meanwhile may come after an Unpause.
	if info, err := ledger.Info(ctx, name); err != nil || info.Paused {
		return err
	}
	return unpark(ctx, rdb, ledger, name)
}

// Unpause ends Pause. After one that was cut short, it may be called again.
func Unpause(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) error {
	if err := ledger.SetPaused(ctx, name, false); err != nil {
		return err
	}
	return unpark(ctx, rdb, ledger, name)
}

func unpark(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) error {
	return eachLane(ctx, rdb, ledger, name, func(lane string) error {
		n, err := queue.Unpark(ctx, rdb, lane, name)
		if n > 0 {
			_ = queue.WakeAll(ctx, rdb, lane)
		}
		return err
	})
}

func eachLane(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string, do func(lane string) error) error {
	lanes, err := ledger.Lanes(ctx, name)
	if err != nil {
		return err
	}
	return queue.EachBusy(ctx, rdb, lanes, do)
}
