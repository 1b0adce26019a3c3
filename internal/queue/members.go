package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Own is the set of queues that weir has made: nobody else had put a task there first.
// Shared is the set of those in which a task of another asynq client was seen. A client of
// asynq makes a queue known once and then relies on that for as long as it runs, so only
// what is its own and not shared may weir remove from All.
const (
	Own    = "weir:lanes:own"
	Shared = "weir:lanes:shared"
)

// Completed is the sorted set of IDs whose results asynq keeps, by until when.
func Completed(lane string) string { return prefix(lane) + "completed" }

// Groups is the set of the queue's groups.
func Groups(lane string) string { return prefix(lane) + "groups" }

// Processed and Failed count the tasks that asynq has ended, and of them the failures.
func Processed(lane string) string { return prefix(lane) + "processed" }

// Failed is beside Processed.
func Failed(lane string) string { return prefix(lane) + "failed" }

// Holdings are the keys that a queue has while anything is in it, or anybody has said
// anything of it.
func Holdings(lane string) []string {
	return append(Lists(lane), Active(lane), Lease(lane), Scheduled(lane), Retry(lane), Archived(lane),
		Completed(lane), Groups(lane), Paused(lane), Quarantine(lane))
}

// Empty are those of lanes with nothing of Holdings.
func Empty(ctx context.Context, rdb redis.UniversalClient, lanes []string) ([]string, error) {
	held, err := withAny(ctx, rdb, lanes, func(lane string) []string { return Holdings(lane) })
	if err != nil {
		return nil, err
	}
	holds := make(map[string]bool, len(held))
	for _, lane := range held {
		holds[lane] = true
	}
	return slices.DeleteFunc(slices.Clone(lanes), func(lane string) bool { return holds[lane] }), nil
}

// Publish makes lanes known to asynq's tools, as asynq's own client does with one call
// for each, and notes those that nobody else had made before. Of a lane whose note is
// lost with the connection weir takes it that others made it.
func Publish(ctx context.Context, rdb redis.UniversalClient, lanes ...string) error {
	fail := func(err error) error { return fmt.Errorf("make %d lanes known: %w", len(lanes), err) }
	pipe := rdb.Pipeline()
	added := make([]*redis.IntCmd, len(lanes))
	for i, lane := range lanes {
		added[i] = pipe.SAdd(ctx, All, lane)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fail(err)
	}
	var own []any
	for i, lane := range lanes {
		if added[i].Val() == 1 {
			own = append(own, lane)
		}
	}
	if len(own) == 0 {
		return nil
	}
	if err := rdb.SAdd(ctx, Own, own...).Err(); err != nil {
		return fail(err)
	}
	return nil
}

// Share notes that others than weir enqueue in lanes.
func Share(ctx context.Context, rdb redis.UniversalClient, lanes ...string) error {
	names := make([]any, len(lanes))
	for i, lane := range lanes {
		names[i] = lane
	}
	if err := rdb.SAdd(ctx, Shared, names...).Err(); err != nil {
		return fmt.Errorf("note that %d lanes are used by others: %w", len(lanes), err)
	}
	return nil
}
