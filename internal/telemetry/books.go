package telemetry

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/status"
)

// mostBatches is how many batches are looked at, the newest.
const mostBatches = 10_000

// rereadEvery is after how many reads a batch that is over is looked at again: another may
// have its name.
const rereadEvery = 50

// tallies are all batches together.
type tallies struct {
	batches map[string]int   // by how they stand
	tasks   map[string]int64 // of those that are not over
}

// books keeps what is known of batches. One that is over is read once; of those that run,
// one at a time is counted to the last task: in turn, but that every second time it is one
// that missed tasks when it was last counted, so that a miss that is over is soon forgotten.
type books struct {
	rdb    redis.UniversalClient
	ledger *batch.Ledger

	over map[string]string // batches that are over -> how they ended
	turn int

	run       []string         // batches that run
	missing   map[string]int64 // of those: tasks missing, as last counted
	counted   int              // how many were in turn
	recounted int              // how many since they missed tasks
	again     bool             // the last one was such
}

func newBooks(rdb redis.UniversalClient, ledger *batch.Ledger) *books {
	return &books{rdb: rdb, ledger: ledger, over: make(map[string]string), missing: make(map[string]int64)}
}

func (b *books) read(ctx context.Context) (tallies, error) {
	t := tallies{
		batches: map[string]int{"open": 0, "sealed": 0, "paused": 0, "stopped": 0, "done": 0, "cancelled": 0, "unreadable": 0},
		tasks:   map[string]int64{"ok": 0, "failed": 0, "cancelled": 0, "waiting": 0},
	}
	names, err := b.ledger.Names(ctx)
	if err != nil {
		return t, err
	}
	names = names[:min(len(names), mostBatches)]
	over := make(map[string]string, len(names))
	var ask []string
	for i, name := range names {
		how, is := b.over[name]
		if !is || i%rereadEvery == b.turn%rereadEvery {
			ask = append(ask, name)
			continue
		}
		over[name] = how
		t.batches[how]++
	}
	infos, err := b.ledger.Infos(ctx, ask)
	if err != nil {
		return t, err
	}
	var run []string
	for _, i := range infos {
		if i == nil {
			continue // it has been removed
		}
		state := stateOf(i)
		t.batches[state]++
		if i.Unreadable != nil {
			continue
		}
		if i.Complete() {
			over[i.Name] = state
			continue
		}
		t.tasks["ok"] += i.OK
		t.tasks["failed"] += i.Failed
		t.tasks["cancelled"] += i.Cancelled
		t.tasks["waiting"] += max(0, i.Enqueued()-i.Outcomes())
		if state == "open" || state == "sealed" || state == "paused" {
			run = append(run, i.Name)
		}
	}
	b.over, b.run = over, run
	b.turn++
	return t, nil
}

// count counts the next of the batches that run, and says what is missing of all as last
// counted, where there is an error too. What a producer that was interrupted has withdrawn is
// not missing: its batch is stopped.
func (b *books) count(ctx context.Context) (missing int64, err error) {
	now := make(map[string]int64, len(b.run))
	for _, name := range b.run {
		now[name] = b.missing[name]
	}
	b.missing = now
	if len(b.run) > 0 {
		name := b.next()
		s, failed := status.Read(ctx, b.rdb, b.ledger, name)
		switch {
		case errors.Is(failed, batch.ErrNotFound):
			delete(now, name)
		case failed != nil:
			err = failed
		case s.Stopped || s.Phase == batch.GivenUp:
			delete(now, name)
		default:
			now[name] = max(0, s.Missing())
		}
	}
	for _, n := range now {
		missing += n
	}
	return missing, err
}

// next is the batch to count, of those that run.
func (b *books) next() string {
	var wrong []string
	for _, name := range b.run {
		if b.missing[name] > 0 {
			wrong = append(wrong, name)
		}
	}
	if b.again = !b.again && len(wrong) > 0; b.again {
		b.recounted++
		return wrong[b.recounted%len(wrong)]
	}
	b.counted++
	return b.run[b.counted%len(b.run)]
}

func stateOf(i *batch.Info) string {
	switch {
	case i.Unreadable != nil:
		return "unreadable"
	case i.Complete() || i.Phase == batch.GivenUp || i.Phase == batch.Done:
		if i.Phase == batch.GivenUp {
			return "cancelled"
		}
		return "done"
	case i.Stopped:
		return "stopped"
	case i.Paused:
		return "paused"
	case i.Phase == batch.Sealed:
		return "sealed"
	}
	return "open" // whatever else Redis has
}
