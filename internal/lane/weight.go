package lane

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane/governor"
)

// MaxWeight is the most a lane can weigh; the least, and what lanes weigh of which nobody
// said, is 1.
const MaxWeight = 100

// weightsKey is the hash of the lanes whose weight is not 1. It is not among what a lane is
// governed by: to weigh more makes no lane governed.
const weightsKey = "weir:lanes:weights"

// ValidWeight says why n cannot be a lane's weight, or nil.
func ValidWeight(n int) error {
	if n < 1 || n > MaxWeight {
		return fmt.Errorf("weight %d: must be from 1 to %d", n, MaxWeight)
	}
	return nil
}

// SetWeight sets by what weight a lane has its part of the slots of workers that have too
// few for all lanes, in all workers at once.
func SetWeight(ctx context.Context, rdb redis.UniversalClient, name string, n int) error {
	if err := ValidWeight(n); err != nil {
		return fmt.Errorf("lane %q: %w", name, err)
	}
	var err error
	if n == 1 {
		err = rdb.HDel(ctx, weightsKey, name).Err()
	} else {
		err = rdb.HSet(ctx, weightsKey, name, n).Err()
	}
	if err != nil {
		return fmt.Errorf("set the weight of lane %q: %w", name, err)
	}
	if err := rdb.Publish(ctx, governor.Channel, name).Err(); err != nil {
		return fmt.Errorf("tell workers of lane %q: %w", name, err)
	}
	return nil
}

// Weights are the weights of those lanes where it is not 1. What is no weight, since a
// newer version may know others, is as if nobody had said.
func Weights(ctx context.Context, rdb redis.UniversalClient) (map[string]int, error) {
	set, err := rdb.HGetAll(ctx, weightsKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read the weights of lanes: %w", err)
	}
	weights := make(map[string]int, len(set))
	for name, text := range set {
		if n, err := strconv.Atoi(text); err == nil && ValidWeight(n) == nil {
			weights[name] = n
		}
	}
	return weights, nil
}
