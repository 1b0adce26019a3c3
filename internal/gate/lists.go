package gate

import (
	"context"
	"maps"
	"slices"

	"github.com/weir-tasks/weir/internal/queue"
)

// maxShared is how many queues of others are remembered; to note one again harms nothing.
const maxShared = 1 << 16

// noteTask notes what a task tells of its queue: that it is to be in asynq's list, and
// whether others enqueue in it. lane.Sweep relies on that. The caller has g.mu.
func (g *Gate) noteTask(of string, m *queue.Message) {
	g.touched[of] = true
	if g.opts.Foreign != nil && g.opts.Foreign(m) && !g.shared[of] {
		g.strangers[of] = true
	}
}

// noteShared tells Redis of queues that others enqueue in. What fails is tried again with
// the next tasks.
func (g *Gate) noteShared(ctx context.Context) {
	g.mu.Lock()
	fresh := slices.Collect(maps.Keys(g.strangers))
	g.mu.Unlock()
	if len(fresh) == 0 {
		return
	}
	err := queue.Share(ctx, g.rdb, fresh...)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		return
	}
	if len(g.shared)+len(fresh) > maxShared {
		clear(g.shared)
	}
	for _, of := range fresh {
		g.shared[of] = true
		delete(g.strangers, of)
	}
}

// readList reads the list of queues, sorted. Those of which a task was taken since the last
// call, and which are not in it, it puts there: they were removed as idle while a task was
// enqueued.
func (g *Gate) readList(ctx context.Context) (names []string, err error) {
	g.mu.Lock()
	touched := g.touched
	g.touched = make(map[string]bool)
	g.mu.Unlock()
	defer func() {
		if err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			maps.Copy(g.touched, touched)
		}
	}()
	names, err = g.rdb.SMembers(ctx, queue.All).Result()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var missing []string
	for of := range touched {
		if _, listed := slices.BinarySearch(names, of); !listed {
			missing = append(missing, of)
		}
	}
	if len(missing) == 0 {
		return names, nil
	}
	if err := queue.Publish(ctx, g.rdb, missing...); err != nil {
		return nil, err
	}
	names = append(names, missing...)
	slices.Sort(names)
	return names, nil
}
