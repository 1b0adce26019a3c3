package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Leases are the active tasks of a lane, each with the end of its lease as Redis
// prints it, or "" for one without a lease; and what has a lease without being active.
func Leases(ctx context.Context, rdb redis.UniversalClient, lane string) (map[string]string, error) {
	pipe := rdb.Pipeline()
	active := pipe.LRange(ctx, Active(lane), 0, -1)
	leases := pipe.ZRangeWithScores(ctx, Lease(lane), 0, -1)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("list leases of lane %q: %w", lane, err)
	}
	ends := make(map[string]string, len(active.Val()))
	for _, id := range active.Val() {
		ends[id] = ""
	}
	for _, z := range leases.Val() {
		if id, ok := z.Member.(string); ok {
			ends[id] = strconv.FormatFloat(z.Score, 'f', -1, 64)
		}
	}
	return ends, nil
}

// Fate is what became of a task that was to be given back.
type Fate int

// The fates of a task.
const (
	Kept  Fate = iota // somebody runs it, or has it taken care of
	Back              // it waits in its lane
	Ghost             // it was a ghost, and is gone
)

// Restore returns an active task to the head of its list, if its lease still ends
// when it was seen to. Of a ghost, whose message is gone, it removes what is left.
func Restore(ctx context.Context, rdb redis.UniversalClient, lane, id, lease string) (Fate, error) {
	keys := append([]string{Active(lane), Lease(lane), TaskPrefix(lane) + id}, Lists(lane)...)
	n, err := givebackScript.Run(ctx, rdb, keys, id, lease).Int()
	if err != nil {
		return Kept, fmt.Errorf("give back task %s of lane %q: %w", id, lane, err)
	}
	return Fate(n), nil
}

// GiveBack is Restore for a task that was taken from its lane: it tells whether it is
// back there.
func GiveBack(ctx context.Context, rdb redis.UniversalClient, lane, id, lease string) (bool, error) {
	fate, err := Restore(ctx, rdb, lane, id, lease)
	return fate == Back, err
}

// Close removes an active task that is not to run again, if its lease still ends when it
// was seen to.
func Close(ctx context.Context, rdb redis.UniversalClient, lane, id, lease string) (bool, error) {
	keys := []string{Active(lane), Lease(lane), TaskPrefix(lane) + id}
	n, err := closeScript.Run(ctx, rdb, keys, id, lease).Int()
	if err != nil {
		return false, fmt.Errorf("close task %s of lane %q: %w", id, lane, err)
	}
	return n == 1, nil
}

// Postpone puts an active task among those that run later. Unlike asynq's retry it
// costs nothing of the task's retry budget, not even where that is 0.
func Postpone(ctx context.Context, rdb redis.UniversalClient, lane, id string, until time.Time) error {
	keys := []string{Active(lane), Lease(lane), Retry(lane), TaskPrefix(lane) + id}
	if err := postponeScript.Run(ctx, rdb, keys, id, until.Unix()).Err(); err != nil {
		return fmt.Errorf("postpone task %s of lane %q: %w", id, lane, err)
	}
	return nil
}
