package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// WakeChannel is where gates hear which queue of a lane got work.
const WakeChannel = "weir:wake"

// Wake tells all gates that queues got work of a priority, in one message for each lane: in
// a Cluster each goes to all of its nodes. A lost one costs a second: gates look by
// themselves.
func Wake(ctx context.Context, rdb redis.UniversalClient, p Priority, queues ...string) error {
	pipe := rdb.Pipeline()
	of := ByLane(queues)
	for _, lane := range Lanes(queues) {
		pipe.Publish(ctx, WakeChannel, p.notice(of[lane]...))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("announce work: %w", err)
	}
	return nil
}

// WakeAll is Wake for work of whatever priority.
func WakeAll(ctx context.Context, rdb redis.UniversalClient, queues ...string) error {
	var errs []error
	for _, p := range Priorities {
		errs = append(errs, Wake(ctx, rdb, p, queues...))
	}
	return errors.Join(errs...)
}
