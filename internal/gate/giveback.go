package gate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/weir-tasks/weir/internal/logs"
	"github.com/weir-tasks/weir/internal/queue"
)

// giveBack returns the tasks that asynq has not got to their lanes, and their permits.
func (g *Gate) giveBack(ctx context.Context) error {
	g.mu.Lock()
	taken := g.taken
	g.taken = nil
	g.mu.Unlock()
	var errs []error
	woken := make(map[queue.Priority][]string)
	// In the reverse order of taking: each goes to the head of its list.
	for i := len(taken) - 1; i >= 0; i-- {
		t := taken[i]
		g.lanes.Return(queue.Lane(t.queue), 1)
		g.counts.givenBack.Add(1)
		if _, err := queue.GiveBack(ctx, g.rdb, t.queue, t.id, t.lease); err != nil {
			errs = append(errs, err)
		}
		woken[t.list] = append(woken[t.list], t.queue)
	}
	for p, queues := range woken {
		slices.Sort(queues)
		_ = queue.Wake(ctx, g.rdb, p, slices.Compact(queues)...)
	}
	return errors.Join(errs...)
}

// postpone puts off tasks of types that are unknown here.
func (g *Gate) postpone(ctx context.Context, strange []task) {
	for _, t := range strange {
		if err := queue.Postpone(ctx, g.rdb, t.queue, t.id, time.Now().Add(unknownDelay)); err != nil {
			g.opts.Log.Warn("a task of an unknown type stays active until it is rescued", logs.ID(t.id, t.queue), "err", err)
		}
	}
}
