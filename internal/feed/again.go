package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/source"
)

// feedAgain goes over records that were read in an earlier life. Those without an
// outcome, no more than that life's window and what was parked then, are held until all
// are seen to be the same as then: nothing of some other input may become a task of this
// batch. Then those below the checkpoint are enqueued again if they are missing; the
// others that are in no lane were parked, and are again.
func (f *Feeder) feedAgain(ctx context.Context, records []source.Record) error {
	tasks, err := f.number(ctx, records)
	if err != nil {
		return err
	}
	f.held = append(f.held, tasks...)
	fed := f.found.Upto
	if f.next < fed {
		return nil
	}
	if f.sum() != f.found.Hash {
		return &InputError{f.opts.Name, fed, fmt.Sprintf("its first %d records differ from those read before", fed)}
	}
	in, err := f.dropGhosts(ctx)
	if err != nil {
		return err
	}
	var gaps []task
	for _, t := range f.held {
		if _, there := in[t.seq]; t.seq < f.found.Next || t.Err != nil {
			gaps = append(gaps, t)
		} else if !there {
			f.parking.park(t)
		}
	}
	f.held = nil
	for part := range slices.Chunk(gaps, chunk) {
		if err := f.fillGaps(ctx, part); err != nil {
			return err
		}
	}
	f.mark = f.found.Mark
	to := f.reached()
	f.read.Store(to)
	if to == f.mark {
		return nil
	}
	return f.checkpoint(ctx, f.mark, to) // what was withdrawn is parked now, and not missing
}

// dropGhosts frees the IDs of held tasks that Redis has a record of, but nowhere where
// they would be run: they could not be enqueued again. It returns where the others are.
func (f *Feeder) dropGhosts(ctx context.Context) (in map[int64]queue.Place, err error) {
	queues, err := f.queuesOf(ctx, lanesOf(f.held))
	if err != nil {
		return nil, err
	}
	err = f.insist(ctx, func() (err error) {
		if in, err = queue.Places(ctx, f.rdb, slices.Concat(slices.Collect(maps.Values(queues))...), f.opts.Name); err != nil {
			return err
		}
		lost := make(map[string][]string)
		for _, t := range f.held {
			if _, ok := in[t.seq]; ok {
				continue
			}
			for _, of := range queues[t.lane] {
				lost[of] = append(lost[of], batch.TaskID(f.opts.Name, t.seq))
			}
		}
		n, err := queue.DropGhosts(ctx, f.rdb, lost)
		if n > 0 {
			f.opts.Log.Warn("tasks that Redis knew of but nobody would have run are enqueued again", "batch", f.opts.Name, "tasks", n)
		}
		return err
	})
	return in, err
}

// fillGaps enqueues held tasks. Getting here may have taken long: those that have
// their outcome by now are left out.
func (f *Feeder) fillGaps(ctx context.Context, held []task) error {
	open, err := f.without(ctx, held)
	if err != nil {
		return err
	}
	return f.enqueue(ctx, open)
}

// without leaves tasks out that have their outcome.
func (f *Feeder) without(ctx context.Context, tasks []task) ([]task, error) {
	seqs := make([]int64, len(tasks))
	for i := range tasks {
		seqs[i] = tasks[i].seq
	}
	var have []bool
	err := f.insist(ctx, func() (err error) {
		_, have, err = f.ledger.Snapshot(ctx, f.opts.Name, seqs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return without(tasks, have), nil
}

// have tells of n seqs which have an outcome. The chunk past what an earlier life had read is
// asked for once, whatever the parts that it is read in now, where none of a part had one:
// what was done since is recognised when it comes to a worker.
func (f *Feeder) have(ctx context.Context, from int64, n int) (have []bool, err error) {
	past := from - f.found.Upto
	first := past == 0 && f.past == nil
	if first {
		n = 2 * chunk // where the last part of it may end
	} else if past >= 0 && f.past != nil && !slices.Contains(f.past[past:][:n], true) {
		return f.past[past:][:n], nil
	}
	err = f.insist(ctx, func() (err error) {
		have, err = f.ledger.Have(ctx, f.opts.Name, from, n)
		return err
	})
	if first {
		f.past = have
	}
	return have, err
}

func without(tasks []task, have []bool) []task {
	var rest []task
	for i := range tasks {
		if !have[i] {
			rest = append(rest, tasks[i])
		}
	}
	return rest
}
