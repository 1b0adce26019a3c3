package feed

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"github.com/weir-tasks/weir/internal/queue"
)

// maxKnown is how many lanes are remembered; to introduce one again harms nothing.
const maxKnown = 1 << 16

// stale is after which time lanes are introduced again: those that are empty for some
// minutes are removed. See lane.Sweep, which relies on it.
const stale = time.Minute

// findLane gives a task its lane. A record that has none is invalid.
func (f *Feeder) findLane(t *task) {
	switch {
	case t.Err != nil:
	case f.opts.Lane != "":
		t.lane = f.opts.Lane
	default:
		t.lane, t.Err = f.opts.LaneOf(t.Payload)
	}
}

// lanesOf are the lanes that tasks go to, each once.
func lanesOf(tasks []task) (lanes []string) {
	seen := make(map[string]bool)
	for i := range tasks {
		if lane := tasks[i].lane; lane != "" && !seen[lane] {
			seen[lane] = true
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

// introduce makes lanes known to the batch and to asynq before their first task is
// there: who goes over the batch's lanes misses none. Once more after a while.
func (f *Feeder) introduce(ctx context.Context, lanes []string) error {
	var fresh []string
	now := time.Now().Round(0) // of the wall: it goes on while the machine sleeps
	for _, lane := range lanes {
		if since := now.Sub(f.known[lane]); since < 0 || since > stale {
			fresh = append(fresh, lane)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	err := f.insist(ctx, func() error {
		if err := f.ledger.AddLane(ctx, f.opts.Name, fresh...); err != nil {
			return err
		}
		if f.opts.Introduce != nil {
			if err := f.opts.Introduce(ctx, fresh...); err != nil {
				return err
			}
		}
		return queue.Publish(ctx, f.rdb, fresh...)
	})
	if err != nil {
		return err
	}
	if len(f.known)+len(fresh) > maxKnown {
		f.forgetLanes()
	}
	for _, lane := range fresh {
		f.known[lane] = now
	}
	return nil
}

// forgetLanes keeps memory bounded: asynq's client remembers every lane too.
func (f *Feeder) forgetLanes() {
	f.known = make(map[string]time.Time)
	f.client = asynq.NewClientFromRedisClient(f.collect)
}

// wake tells the gates, once for each lane. A wake-up that is lost costs a second: they
// look by themselves.
func (f *Feeder) wake(ctx context.Context, tasks []task) {
	if lanes := lanesOf(tasks); len(lanes) > 0 {
		_ = queue.Wake(ctx, f.rdb, f.opts.Priority, lanes...)
	}
}
