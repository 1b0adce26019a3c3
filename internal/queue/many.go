package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// atOnce is how many lanes are asked in one pipeline.
	atOnce = 500

	// abreast is how many lanes are worked on at the same time.
	abreast = 16
)

// Busy are those of lanes that hold tasks, of whatever batch, in their order. Whether
// one does is seen at one moment, so that no task of it is missed on its way from one
// place to another.
func Busy(ctx context.Context, rdb redis.UniversalClient, lanes []string) ([]string, error) {
	if len(lanes) <= 1 {
		return lanes, nil // one question more would save none
	}
	return withAny(ctx, rdb, lanes, func(lane string) []string {
		return append(Lists(lane), Scheduled(lane), Retry(lane), Active(lane))
	})
}

// Delivered are those of lanes of which workers have tasks, or had, in their order.
func Delivered(ctx context.Context, rdb redis.UniversalClient, lanes []string) ([]string, error) {
	return withAny(ctx, rdb, lanes, func(lane string) []string { return []string{Active(lane), Lease(lane)} })
}

// withAny are those of lanes that have any of the keys.
func withAny(ctx context.Context, rdb redis.UniversalClient, lanes []string, keys func(lane string) []string) ([]string, error) {
	var some []string
	for chunk := range slices.Chunk(lanes, atOnce) {
		pipe := rdb.Pipeline()
		there := make([]*redis.IntCmd, len(chunk))
		for i, lane := range chunk {
			there[i] = pipe.Exists(ctx, keys(lane)...)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("look which lanes hold tasks: %w", err)
		}
		for i, lane := range chunk {
			if there[i].Val() > 0 {
				some = append(some, lane)
			}
		}
	}
	return some, nil
}

// EachBusy calls do for those of lanes that hold tasks, for some at the same time, until
// one fails.
func EachBusy(ctx context.Context, rdb redis.UniversalClient, lanes []string, do func(lane string) error) error {
	busy, err := Busy(ctx, rdb, lanes)
	if err != nil {
		return err
	}
	return each(busy, do)
}

// each calls do for each of lanes, for some at the same time, until one fails.
func each(lanes []string, do func(lane string) error) error {
	var all sync.WaitGroup
	var next atomic.Int64
	var first atomic.Pointer[error]
	for range min(abreast, len(lanes)) {
		all.Go(func() {
			for first.Load() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(lanes)) {
					return
				}
				if err := do(lanes[i]); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}

// Waiting is how many tasks wait in each of lanes that are before a new one of a priority,
// of whatever batch: those in its list, and those that come later, whose priorities
// nobody has counted.
func Waiting(ctx context.Context, rdb redis.UniversalClient, lanes []string, p Priority) ([]int64, error) {
	waiting := make([]int64, 0, len(lanes))
	for chunk := range slices.Chunk(lanes, atOnce) {
		pipe := rdb.Pipeline()
		counts := make([][3]*redis.IntCmd, len(chunk))
		for i, lane := range chunk {
			counts[i] = [3]*redis.IntCmd{pipe.LLen(ctx, p.List(lane)), pipe.ZCard(ctx, Scheduled(lane)), pipe.ZCard(ctx, Retry(lane))}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("count what waits in %d lanes: %w", len(lanes), err)
		}
		for _, c := range counts {
			waiting = append(waiting, c[0].Val()+c[1].Val()+c[2].Val())
		}
	}
	return waiting, nil
}

// PendingSince is since when the oldest task of each of lanes waits that is next in its
// list, by the clock of whoever put it there; zero where none does, or it is not known.
func PendingSince(ctx context.Context, rdb redis.UniversalClient, lanes []string) ([]time.Time, error) {
	fail := func(err error) ([]time.Time, error) {
		return nil, fmt.Errorf("look how long tasks wait in %d lanes: %w", len(lanes), err)
	}
	pipe := rdb.Pipeline()
	next := make([][len(Priorities)]*redis.StringCmd, len(lanes))
	for i, lane := range lanes {
		for j, list := range Lists(lane) {
			next[i][j] = pipe.LIndex(ctx, list, -1)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	pipe = rdb.Pipeline()
	since := make([][]*redis.StringCmd, len(lanes))
	for i, lane := range lanes {
		for _, id := range next[i] {
			switch err := id.Err(); {
			case err == nil:
				since[i] = append(since[i], pipe.HGet(ctx, TaskPrefix(lane)+id.Val(), "pending_since"))
			case !known(err):
				return fail(err)
			}
		}
	}
	_, _ = pipe.Exec(ctx)
	times := make([]time.Time, len(lanes))
	for i := range since {
		for _, cmd := range since[i] {
			if err := cmd.Err(); err != nil && !known(err) {
				return fail(err)
			}
			ns, err := cmd.Int64()
			if err == nil && ns > 0 && (times[i].IsZero() || ns < times[i].UnixNano()) {
				times[i] = time.Unix(0, ns)
			}
		}
	}
	return times, nil
}

// known says that a key is not there, or not what it should be: the lane's own trouble, of
// which the others tell nothing.
func known(err error) bool {
	return errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE")
}
