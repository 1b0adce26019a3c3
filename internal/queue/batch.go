package queue

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/withdraw.lua
	withdrawSrc    string
	withdrawScript = redis.NewScript(withdrawSrc)

	//go:embed lua/postpone.lua
	postponeSrc    string
	postponeScript = redis.NewScript(postponeSrc)

	//go:embed lua/ghosts.lua
	ghostsSrc    string
	ghostsScript = redis.NewScript(ghostsSrc)

	//go:embed lua/giveback.lua
	givebackSrc    string
	givebackScript = redis.NewScript(givebackSrc)
)

// Tally is how many tasks of one batch are in which state.
type Tally struct {
	Pending, Scheduled, Retry, Active int64
}

// Sum is all of them.
func (t *Tally) Sum() int64 { return t.Pending + t.Scheduled + t.Retry + t.Active }

// Add counts one more task in a place.
func (t *Tally) Add(p Place) {
	switch p {
	case InPending:
		t.Pending++
	case InScheduled:
		t.Scheduled++
	case InRetry:
		t.Retry++
	case InActive:
		t.Active++
	}
}

// Place is where in its lane a task is.
type Place int

// The places of a task.
const (
	InPending Place = iota + 1
	InScheduled
	InRetry
	InActive
)

// ofBatch are the IDs of one batch's tasks in a lane, by where they are.
type ofBatch struct {
	pending, scheduled, retry, active []string
	fence                             string // see Fence
}

// idsOf lists a batch's tasks in a lane, at one moment. Windows bound what there can be.
func idsOf(ctx context.Context, rdb redis.UniversalClient, lane, batch string) (ofBatch, error) {
	pipe := rdb.TxPipeline()
	var pending [len(Priorities)]*redis.StringSliceCmd
	for i, list := range Lists(lane) {
		pending[i] = pipe.LRange(ctx, list, 0, -1)
	}
	scheduled := pipe.ZRange(ctx, Scheduled(lane), 0, -1)
	retry := pipe.ZRange(ctx, Retry(lane), 0, -1)
	active := pipe.LRange(ctx, Active(lane), 0, -1)
	fence := pipe.Get(ctx, fenceKey(lane, batch)) // last, since there is hardly ever one
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return ofBatch{}, fmt.Errorf("list tasks of batch %q in lane %q: %w", batch, lane, err)
	}
	own := func(ids []string) []string {
		var mine []string
		for _, id := range ids {
			if strings.HasPrefix(id, batch+":") {
				mine = append(mine, id)
			}
		}
		return mine
	}
	ids := ofBatch{scheduled: own(scheduled.Val()), retry: own(retry.Val()), active: own(active.Val()), fence: fence.Val()}
	for _, list := range pending {
		ids.pending = append(ids.pending, own(list.Val())...)
	}
	return ids, nil
}

// Places tells where each task of a batch is, by seq.
func Places(ctx context.Context, rdb redis.UniversalClient, lanes []string, name string) (map[int64]Place, error) {
	in := make(map[int64]Place)
	var mu sync.Mutex
	err := EachBusy(ctx, rdb, lanes, func(lane string) error {
		ids, err := idsOf(ctx, rdb, lane, name)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for place, list := range map[Place][]string{
			InPending: ids.pending, InScheduled: ids.scheduled, InRetry: ids.retry, InActive: ids.active,
		} {
			for _, id := range list {
				if seq, err := strconv.ParseInt(id[len(name)+1:], 10, 64); err == nil {
					in[seq] = place
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find tasks of batch %q: %w", name, err)
	}
	return in, nil
}

// fenceKey is the key of the fence that Fence puts up.
func fenceKey(lane, batch string) string { return "weir:{" + lane + "}:fence:" + batch }

// fenceFor is how late a call of Withdraw's may reach Redis: no network keeps one as long.
const fenceFor = time.Hour

// Fence keeps what an earlier Withdraw has sent, and Redis has not got yet, from the tasks of
// a batch that are enqueued from now on. It is a key in each of the lanes, for an hour.
func Fence(ctx context.Context, rdb redis.UniversalClient, lanes []string, batch string) error {
	token := rand.Text()
	for chunk := range slices.Chunk(lanes, atOnce) {
		pipe := rdb.Pipeline()
		for _, lane := range chunk {
			pipe.Set(ctx, fenceKey(lane, batch), token, fenceFor)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("fence off batch %q in %d lanes: %w", batch, len(chunk), err)
		}
	}
	return nil
}

// withdrawChunk is how many tasks one call of withdraw.lua looks at.
const withdrawChunk = 200

// Withdraw takes the tasks of a batch that nobody runs out of its lanes. It
// returns how many it took and the IDs of those that are being run. Between these
// there is no task it has missed, unless it was enqueued meanwhile: a lane is
// looked at until nothing of the batch waits in it. What it has looked for before a Fence it
// does not take after that. first, if not nil, is called with all that are about to be taken,
// for several lanes at the same time.
func Withdraw(ctx context.Context, rdb redis.UniversalClient, lanes []string, batch string, first func(lane string, ids []string) error) (taken int64, active []string, err error) {
	var mu sync.Mutex
	err = EachBusy(ctx, rdb, lanes, func(lane string) error {
		n, running, err := withdrawFrom(ctx, rdb, lane, batch, first)
		mu.Lock()
		defer mu.Unlock()
		taken += n
		active = append(active, running...)
		if err != nil {
			return fmt.Errorf("withdraw tasks of batch %q from lane %q: %w", batch, lane, err)
		}
		return nil
	})
	if err != nil {
		return taken, nil, fmt.Errorf("withdraw batch %q: %w", batch, err)
	}
	return taken, active, nil
}

func withdrawFrom(ctx context.Context, rdb redis.UniversalClient, lane, batch string, first func(lane string, ids []string) error) (taken int64, active []string, err error) {
	for vain := 0; ; {
		ids, err := idsOf(ctx, rdb, lane, batch)
		if err != nil {
			return taken, nil, err
		}
		// The tails of the pending lists first: there withdraw.lua finds them at once.
		waiting := append(append(reversed(ids.pending), ids.scheduled...), ids.retry...)
		if first != nil && len(waiting) > 0 {
			if err := first(lane, waiting); err != nil {
				return taken, nil, err
			}
		}
		n, err := withdraw(ctx, rdb, lane, batch, ids.fence, waiting)
		taken += n
		if err != nil {
			return taken, nil, err
		}
		if n == 0 {
			vain++ // they have just become active, or asynq's record of them is broken
		}
		if len(waiting) == 0 || vain > 3 {
			return taken, ids.active, nil
		}
	}
}

// withdraw takes the tasks out of a lane that still wait in it, while the fence is as seen.
func withdraw(ctx context.Context, rdb redis.UniversalClient, lane, batch, fence string, waiting []string) (taken int64, err error) {
	keys := append(append([]string{Scheduled(lane), Retry(lane)}, Lists(lane)...), fenceKey(lane, batch))
	for len(waiting) > 0 {
		chunk := waiting[:min(withdrawChunk, len(waiting))]
		waiting = waiting[len(chunk):]
		args := make([]any, 2, 2+len(chunk))
		args[0], args[1] = TaskPrefix(lane), fence
		for _, id := range chunk {
			args = append(args, id)
		}
		n, err := withdrawScript.Run(ctx, rdb, keys, args...).Int64()
		if err != nil {
			return taken, err
		}
		taken += n
	}
	return taken, nil
}

// DropGhosts removes what is left of tasks, by lane, that are in no place where they
// would be run, archived ones too, so that their IDs are free. It returns how many there
// were.
func DropGhosts(ctx context.Context, rdb redis.UniversalClient, ids map[string][]string) (dropped int64, err error) {
	var sum atomic.Int64
	err = each(slices.Collect(maps.Keys(ids)), func(lane string) error {
		n, err := dropGhosts(ctx, rdb, lane, ids[lane])
		sum.Add(n)
		return err
	})
	return sum.Load(), err
}

func dropGhosts(ctx context.Context, rdb redis.UniversalClient, lane string, ids []string) (dropped int64, err error) {
	keys := append([]string{Active(lane), Scheduled(lane), Retry(lane), Archived(lane)}, Lists(lane)...)
	for chunk := range slices.Chunk(ids, withdrawChunk) {
		args := make([]any, 1, 1+len(chunk))
		args[0] = TaskPrefix(lane)
		for _, id := range chunk {
			args = append(args, id)
		}
		n, err := ghostsScript.Run(ctx, rdb, keys, args...).Int64()
		if err != nil {
			return dropped, fmt.Errorf("look for ghosts in lane %q: %w", lane, err)
		}
		dropped += n
	}
	return dropped, nil
}

func reversed(ids []string) []string {
	r := make([]string, 0, len(ids))
	for i := len(ids) - 1; i >= 0; i-- {
		r = append(r, ids[i])
	}
	return r
}
