package feed

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"github.com/weir-tasks/weir/internal/queue"
)

// maxKnown is how many lanes, or queues, are remembered; to introduce one again harms nothing.
const maxKnown = 1 << 16

// stale is after which time queues are introduced again: those that are empty for some
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

// queuesOf are the queues that tasks go to, each once.
func queuesOf(tasks []task) (queues []string) {
	seen := make(map[string]bool)
	for i := range tasks {
		if of := tasks[i].queue; of != "" && !seen[of] {
			seen[of] = true
			queues = append(queues, of)
		}
	}
	return queues
}

// introduce makes queues known to the batch and to asynq before their first task is
// there: who goes over the batch's queues misses none. Once more after a while.
func (f *Feeder) introduce(ctx context.Context, queues []string) error {
	var fresh []string
	now := time.Now().Round(0) // of the wall: it goes on while the machine sleeps
	for _, of := range queues {
		if since := now.Sub(f.known[of]); since < 0 || since > stale {
			fresh = append(fresh, of)
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
			if err := f.opts.Introduce(ctx, queue.Lanes(fresh)...); err != nil {
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
	for _, of := range fresh {
		f.known[of] = now
	}
	return nil
}

// forgetLanes keeps memory bounded: asynq's client remembers every queue too.
func (f *Feeder) forgetLanes() {
	f.known = make(map[string]time.Time)
	f.client = asynq.NewClientFromRedisClient(f.collect)
}
