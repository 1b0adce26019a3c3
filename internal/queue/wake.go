package queue

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// WakeChannel is where gates hear which lane got work.
const WakeChannel = "weir:wake"

// Wake tells all gates that lanes got work. A lost message costs a second: gates
// look by themselves.
func Wake(ctx context.Context, rdb redis.UniversalClient, lanes ...string) error {
	pipe := rdb.Pipeline()
	for _, lane := range lanes {
		pipe.Publish(ctx, WakeChannel, lane)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("announce work: %w", err)
	}
	return nil
}
