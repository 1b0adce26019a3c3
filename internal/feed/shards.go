package feed

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// shardsEvery is how often it is read which lanes are spread over several queues: all
// producers are to know of a change within a second.
const shardsEvery = 500 * time.Millisecond

// shards is over how many queues lanes are spread, as last read.
type shards struct {
	read   time.Time
	lanes  map[string]int      // where it is not one
	queues map[string][]string // of those lanes, as far as they were asked for
}

// of are the queues that the new tasks of a lane go to.
func (s *shards) of(lane string) []string {
	n := s.lanes[lane]
	if n <= 1 {
		return []string{lane}
	}
	if s.queues[lane] == nil {
		s.queues[lane] = queue.Shards(lane, n)
	}
	return s.queues[lane]
}

// lookAtShards reads over how many queues lanes are spread, unless that is known.
func (f *Feeder) lookAtShards(ctx context.Context) error {
	if f.opts.Shards == nil || time.Since(f.shards.read) < shardsEvery {
		return nil
	}
	return f.insist(ctx, func() error {
		began := time.Now()
		lanes, err := f.opts.Shards(ctx)
		if err == nil {
			f.shards = shards{began, lanes, make(map[string][]string)}
		}
		return err
	})
}

// spread says of tasks to which queues they go.
func (f *Feeder) spread(ctx context.Context, tasks []task) error {
	if err := f.lookAtShards(ctx); err != nil {
		return err
	}
	doubtful := false
	for i := range tasks {
		if t := &tasks[i]; t.lane != "" {
			t.queue = queue.Pick(f.shards.of(t.lane), batch.TaskID(f.opts.Name, t.seq))
			doubtful = doubtful || f.doubts(t)
		}
	}
	if !doubtful {
		return nil
	}
	return f.findAgain(ctx, tasks)
}

// doubts says that an earlier life may have enqueued a task.
func (f *Feeder) doubts(t *task) bool { return t.seq < f.found.Upto+chunk }

// findAgain has those of tasks that an earlier life has put into other queues than they would
// go to now stay there: a task's ID tells it from others in one queue only.
func (f *Feeder) findAgain(ctx context.Context, tasks []task) error {
	former, err := f.formerQueues(ctx)
	if err != nil {
		return err
	}
	var sought []queue.Sought
	var at []*task
	for i := range tasks {
		t := &tasks[i]
		if t.lane == "" || !f.doubts(t) {
			continue
		}
		others := slices.DeleteFunc(append([]string{t.lane}, former[t.lane]...), func(of string) bool { return of == t.queue })
		if len(others) > 0 {
			sought = append(sought, queue.Sought{ID: batch.TaskID(f.opts.Name, t.seq), Queues: others})
			at = append(at, t)
		}
	}
	if len(sought) == 0 {
		return nil
	}
	return f.insist(ctx, func() error {
		holder, err := queue.Holder(ctx, f.rdb, sought)
		for i, of := range holder {
			if of != "" {
				at[i].queue = of
			}
		}
		return err
	})
}

// formerQueues are those of lanes, beside that of the lane's name, that earlier lives have put
// the batch's tasks into. They are read once: this life knows where it puts its own.
func (f *Feeder) formerQueues(ctx context.Context) (map[string][]string, error) {
	if f.former != nil {
		return f.former, nil
	}
	used, err := f.used(ctx)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(used, func(lane string, queues []string) bool { return len(queues) == 1 && queues[0] == lane })
	f.former = used
	return used, nil
}

// used are the queues that the batch's tasks went to, in whatever life, by lane.
func (f *Feeder) used(ctx context.Context) (queues map[string][]string, err error) {
	err = f.insist(ctx, func() error {
		all, err := f.ledger.Lanes(ctx, f.opts.Name)
		queues = queue.ByLane(all)
		return err
	})
	return queues, err
}

// queuesOf are the queues that tasks of each of lanes may be in: those used before, and, as
// Redis may have lost that note, those that new ones go to.
func (f *Feeder) queuesOf(ctx context.Context, lanes []string) (map[string][]string, error) {
	if err := f.lookAtShards(ctx); err != nil {
		return nil, err
	}
	used, err := f.used(ctx)
	if err != nil {
		return nil, err
	}
	queues := make(map[string][]string, len(lanes))
	for _, lane := range lanes {
		all := append(used[lane], f.shards.of(lane)...)
		slices.Sort(all)
		queues[lane] = slices.Compact(all)
	}
	return queues, nil
}
