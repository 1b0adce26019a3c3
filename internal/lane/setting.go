package lane

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// setting is a number that an operator may set of a lane beside what it is governed by, from
// 1, which it is where nobody said. To have one makes no lane governed.
type setting struct {
	key  string // the hash of the lanes where it is not 1
	name string
	most int
}

// MaxWeight is the most a lane can weigh.
const MaxWeight = 100

var (
	weight = setting{"weir:lanes:weights", "weight", MaxWeight}
	shards = setting{"weir:lanes:shards", "shards", queue.MaxShards}
)

// SetWeight sets by what weight a lane has its part of the slots of workers that have too
// few for all lanes, in all workers at once.
func SetWeight(ctx context.Context, rdb redis.UniversalClient, name string, n int) error {
	return weight.set(ctx, rdb, name, n)
}

// SetShards sets over how many queues the tasks of a lane are spread that are enqueued from
// now on, by all producers within a second. Those enqueued before stay where they are, and
// workers take them from there.
func SetShards(ctx context.Context, rdb redis.UniversalClient, name string, n int) error {
	return shards.set(ctx, rdb, name, n)
}

// Weights are the weights of those lanes where it is not 1. What is no weight, since a
// newer version may know others, is as if nobody had said.
func Weights(ctx context.Context, rdb redis.UniversalClient) (map[string]int, error) {
	return weight.all(ctx, rdb)
}

// Shards are over how many queues the tasks of those lanes are spread where it is not 1; what
// is no such number as for Weights.
func Shards(ctx context.Context, rdb redis.UniversalClient) (map[string]int, error) {
	return shards.all(ctx, rdb)
}

func (s *setting) valid(n int) error {
	if n < 1 || n > s.most {
		return fmt.Errorf("%s %d: must be from 1 to %d", s.name, n, s.most)
	}
	return nil
}

func (s *setting) set(ctx context.Context, rdb redis.UniversalClient, name string, n int) error {
	if err := s.valid(n); err != nil {
		return fmt.Errorf("lane %q: %w", name, err)
	}
	var err error
	if n == 1 {
		err = rdb.HDel(ctx, s.key, name).Err()
	} else {
		err = rdb.HSet(ctx, s.key, name, n).Err()
	}
	if err != nil {
		return fmt.Errorf("set the %s of lane %q: %w", s.name, name, err)
	}
	if err := rdb.Publish(ctx, governor.Channel, name).Err(); err != nil {
		return fmt.Errorf("tell workers of lane %q: %w", name, err)
	}
	return nil
}

func (s *setting) all(ctx context.Context, rdb redis.UniversalClient) (map[string]int, error) {
	set, err := rdb.HGetAll(ctx, s.key).Result()
	if err != nil {
		return nil, fmt.Errorf("read the %s of lanes: %w", s.name, err)
	}
	of := make(map[string]int, len(set))
	for name, text := range set {
		if n, err := strconv.Atoi(text); err == nil && s.valid(n) == nil {
			of[name] = n
		}
	}
	return of, nil
}
