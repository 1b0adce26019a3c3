package queue

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/together"
)

var (
	//go:embed lua/enqueue.lua
	enqueueSrc    string
	enqueueScript = redis.NewScript(enqueueSrc)

	//go:embed lua/later.lua
	laterSrc    string
	laterScript = redis.NewScript(laterSrc)
)

// Enqueues are tasks of a priority that are sent to their queues together.
type Enqueues struct {
	priority Priority
	now      *together.Calls[string] // by queue
	later    []*together.Call
}

// NewEnqueues returns none.
func NewEnqueues(p Priority) *Enqueues {
	return &Enqueues{priority: p, now: together.NewCalls(func(queue string) *together.Call {
		return &together.Call{
			Keys: []string{p.List(queue), TaskPrefix(queue)},
			Args: []any{p.recorded(), WakeChannel, p.notice(queue)},
		}
	})}
}

// Add adds one, by what asynq's script gets that enqueues a task now or for later.
func (e *Enqueues) Add(keys []string, args []any) error {
	if len(keys) != 2 || len(args) != 3 {
		return fmt.Errorf("asynq enqueues with %d arguments into %v, which are not those that weir knows", len(args), keys)
	}
	queue, now := LaneOf(keys[1])
	switch {
	case now:
		message, _ := args[0].([]byte)
		e.now.Add(queue, 0, len(message), args...)
	case strings.HasSuffix(keys[1], ":scheduled"):
		e.later = append(e.later, &together.Call{Keys: keys, Args: append(args, e.priority.recorded())})
	default:
		return fmt.Errorf("asynq enqueues into %v, which are not the keys that weir knows", keys)
	}
	return nil
}

// Send enqueues them, those of a queue in the order they were added unless Redis forgets the
// script meanwhile, and wakes the gates for those that may be run now. What was enqueued
// before is left alone: after an error all may be added and sent again.
func (e *Enqueues) Send(ctx context.Context, rdb redis.UniversalClient) error {
	calls := e.now.Run(ctx, rdb, enqueueScript)
	if len(e.later) > 0 {
		together.Run(ctx, rdb, laterScript, e.later)
	}
	for _, of := range [][]*together.Call{calls, e.later} {
		for _, c := range of {
			if err := c.Cmd.Err(); err != nil {
				return fmt.Errorf("enqueue: %w", err)
			}
		}
	}
	return nil
}

// recorded is the priority as tasks' records have it: asynq's own have none.
func (p Priority) recorded() string {
	if p == Normal {
		return ""
	}
	return p.String()
}
