package gate

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
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
		broken := rng.IntN(6)
		twice := seed%3 == 0 // and then each that is active has its lease
		if broken != 0 || twice {
			pipe.LPush(ctx, queue.Active("a"), id)
		}
		if broken == 0 && twice {
			pipe.LPush(ctx, queue.Active("a"), id)
		}
		if broken != 1 || twice {
			pipe.ZAdd(ctx, queue.Lease("a"), redis.Z{Score: 1000, Member: id})
		}
		if broken != 2 {
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
			var h map[string]string
			h, err = c.HGetAll(ctx, key).Result()
			if h["state"] == "active" {
				delete(h, "pending_since") // see take.lua
			}
			v = h
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
			more := int64(0)
			if c.Exists(t.Context(), queue.Paused("a")).Val() == 0 {
				more = min(1, c.LLen(t.Context(), queue.Pending("a")).Val())
			}
			want = append([]any{more}, want...)
			left := everything(t, c)

			anyLane(t, c, seed)
			from := list{"a", queue.Normal}
			turn := &turnOf{of: &work{lane: "a"}, lists: slices.Repeat([]list{from}, k)}
			together.Run(t.Context(), c, takeScript, turn.take(lease))
			got, err := turn.calls[from].Cmd.Slice()
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("seed %d: took %v, %v; asynq %v", seed, got, err, want)
			}
			wantSame(t, seed, c, left)
		}
	})
}

// Closing many tasks at once leaves in Redis what asynq's done of each leaves, of those
// that have a lease of this worker's. The others stay as they are.
func TestClosingManyIsAsynqsDoneOfEach(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		g := New(c, c, lane.NewSet("w", 1), Options{})
		mark, err := strconv.ParseFloat(g.sign.Fraction(), 64)
		if err != nil {
			t.Fatal(err)
		}
		asynqs := redis.NewScript(asynqDoneSrc)
		for seed := range uint64(seeds) {
			rng := rand.New(rand.NewPCG(seed, 1))
			ids := append(numbered("r", 12), "nobody")
			rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
			ids = ids[:1+rng.IntN(len(ids))]
			total := rng.IntN(3)
			fill := func() (endings []ending) {
				anyLane(t, c, seed)
				if total > 0 {
					c.Set(ctx, "asynq:{a}:processed", []int64{0, 7, math.MaxInt64}[total], 0)
				}
				for i, z := range c.ZRangeWithScores(ctx, queue.Lease("a"), 0, -1).Val() {
					if i%3 > 0 {
						z.Score += mark
					}
					c.ZAdd(ctx, queue.Lease("a"), z)
				}
				for _, id := range ids {
					endings = append(endings, ending{
						taskKey: taskKey{"a", id},
						keys:    []string{queue.Active("a"), queue.Lease("a"), queue.TaskPrefix("a") + id, "asynq:{a}:processed:2030-01-01", "asynq:{a}:processed"},
						args:    []any{id, time.Now().Add(time.Hour).Unix(), math.MaxInt64},
					})
				}
				return endings
			}
			want := make([]int64, len(ids))
			for i, e := range fill() {
				score, err := c.ZScore(ctx, queue.Lease("a"), e.id).Result()
				switch {
				case err != nil:
				case !g.sign.Owns(score):
					want[i] = -1
				case c.LPos(ctx, queue.Active("a"), e.id, redis.LPosArgs{}).Err() == nil:
					want[i] = 1
					fallthrough
				default:
					if err := asynqs.Run(ctx, c, e.keys, e.args...).Err(); err != nil && !redis.HasErrorPrefix(err, "NOT FOUND") {
						t.Fatal(err)
					}
				}
			}
			left := everything(t, c)

			for i, a := range g.doneAll(ctx, fill()) {
				if a.Err != nil || a.Value != want[i] {
					t.Errorf("seed %d: task %s: %+v, want %d", seed, ids[i], a, want[i])
				}
			}
			wantSame(t, seed, c, left)
		}
	})
}
