package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// WakeChannel is where gates hear which queue of a lane got work.
const WakeChannel = "weir:wake"

// Wake tells all gates that lanes got work of a priority. A lost message costs a second:
// gates look by themselves.
func Wake(ctx context.Context, rdb redis.UniversalClient, p Priority, lanes ...string) error {
	pipe := rdb.Pipeline()
	for _, lane := range lanes {
		pipe.Publish(ctx, WakeChannel, p.notice(lane))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("announce work: %w", err)
	}
	return nil
}

// WakeAll is Wake for work of whatever priority.
func WakeAll(ctx context.Context, rdb redis.UniversalClient, lanes ...string) error {
	var errs []error
	for _, p := range Priorities {
		errs = append(errs, Wake(ctx, rdb, p, lanes...))
	}
	return errors.Join(errs...)
}
