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
// prints it, or "" for one without a lease.
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
		id, _ := z.Member.(string)
		if _, ok := ends[id]; ok {
			ends[id] = strconv.FormatFloat(z.Score, 'f', -1, 64)
		}
	}
	return ends, nil
}

// GiveBack returns an active task to the head of its lane, if its lease still ends
// when it was seen to.
func GiveBack(ctx context.Context, rdb redis.UniversalClient, lane, id, lease string) (bool, error) {
	keys := []string{Active(lane), Lease(lane), Pending(lane), TaskPrefix(lane) + id}
	n, err := givebackScript.Run(ctx, rdb, keys, id, lease).Int()
	if err != nil {
		return false, fmt.Errorf("give back task %s of lane %q: %w", id, lane, err)
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
