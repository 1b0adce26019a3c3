package gate

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/together"
)

// anyLane fills a Redis with a lane as it may be: tasks that wait in one list, others that
// are active, some of each broken. The same seed gives the same.
func anyLane(t *testing.T, c redis.UniversalClient, seed uint64) {
	t.Helper()
	ctx, rng := t.Context(), rand.New(rand.NewPCG(seed, 0))
	if err := c.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	pipe := c.Pipeline()
	for i := range rng.IntN(12) {
		id := fmt.Sprint("w", i)
		pipe.LPush(ctx, queue.Pending("a"), id)
		switch rng.IntN(6) {
		case 0: // its record is gone
		case 1:
			pipe.Set(ctx, queue.TaskPrefix("a")+id, "no hash", 0)
		default:
			pipe.HSet(ctx, queue.TaskPrefix("a")+id, "msg", "message of "+id, "state", "pending", "pending_since", i)
		}
	}
	for i := range rng.IntN(12) {
		id := fmt.Sprint("r", i)
		what := rng.IntN(8)
		if what != 0 {
			pipe.LPush(ctx, queue.Active("a"), id)
		}
		if what == 1 {
			pipe.LPush(ctx, queue.Active("a"), id) // twice
		}
		if what != 2 {
			pipe.ZAdd(ctx, queue.Lease("a"), redis.Z{Score: 1000, Member: id})
		}
		if what != 3 {
			pipe.HSet(ctx, queue.TaskPrefix("a")+id, "msg", "message of "+id, "state", "active")
		}
	}
	if rng.IntN(5) == 0 {
		pipe.Set(ctx, queue.Paused("a"), 1, 0)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
}

// everything is all that a Redis holds, by key.
func everything(t *testing.T, c redis.UniversalClient) map[string]string {
	t.Helper()
	ctx, all := t.Context(), make(map[string]string)
	for _, key := range c.Keys(ctx, "*").Val() {
		var err error
		var v any
		switch kind := c.Type(ctx, key).Val(); kind {
		case "list":
			v, err = c.LRange(ctx, key, 0, -1).Result()
		case "zset":
			v, err = c.ZRangeWithScores(ctx, key, 0, -1).Result()
		case "hash":
			v, err = c.HGetAll(ctx, key).Result()
		default:
			v, err = c.Get(ctx, key).Result()
		}
		if err != nil {
			t.Fatal(key, err)
		}
		all[key] = fmt.Sprint(v, c.TTL(ctx, key).Val() > 0)
	}
	return all
}

func wantSame(t *testing.T, seed uint64, c redis.UniversalClient, want map[string]string) {
	t.Helper()
	got := everything(t, c)
	for key := range maps.Keys(want) {
		if got[key] != want[key] {
			t.Errorf("seed %d: %s is %s, with asynq's script %s", seed, key, got[key], want[key])
		}
	}
	if len(got) != len(want) {
		t.Errorf("seed %d: %d keys, with asynq's script %d", seed, len(got), len(want))
	}
}

const seeds = 100

// Taking k tasks at once leaves in Redis what k of asynq's dequeues do, and gives the same.
func TestTakingManyIsAsynqsDequeueManyTimes(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		dequeue := redis.NewScript(dequeueSrc)
		const lease = "2000.5"
		for seed := range uint64(seeds) {
			k := 1 + int(seed)%15
			anyLane(t, c, seed)
			var want []any
			keys := []string{queue.Pending("a"), queue.Paused("a"), queue.Active("a"), queue.Lease("a")}
			for range k {
				before := c.LLen(t.Context(), queue.Pending("a")).Val()
				msg, err := dequeue.Run(t.Context(), c, keys, lease, queue.TaskPrefix("a")).Result()
				switch {
				case err == nil:
					want = append(want, msg)
				case c.LLen(t.Context(), queue.Pending("a")).Val() < before: // it was taken, and cannot be run
					want = append(want, nil)
				case !errors.Is(err, redis.Nil):
					t.Fatal(err)
				}
			}
			left := everything(t, c)

			anyLane(t, c, seed)
			turn := &turnOf{of: &work{lane: "a"}, lists: make([]queue.Priority, k)}
			together.Run(t.Context(), c, takeScript, turn.take(lease))
			got, err := turn.calls[queue.Normal].Cmd.Slice()
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("seed %d: took %v, %v; asynq %v", seed, got, err, want)
			}
			wantSame(t, seed, c, left)
		}
	})
}
