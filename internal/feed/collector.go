package feed

import (
	"context"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

// collector is the Redis client that asynq.Client is given: asynq makes the messages, and
// what it would enqueue one by one is sent together.
type collector struct {
	redis.UniversalClient
	priority queue.Priority
	chunk    *queue.Enqueues
}

func newCollector(rdb redis.UniversalClient, p queue.Priority) *collector {
	return &collector{UniversalClient: rdb, priority: p, chunk: queue.NewEnqueues(p)}
}

// SAdd does nothing: asynq would add each lane to its set with a call of its own. The
// feeder has done so.
func (c *collector) SAdd(ctx context.Context, _ string, _ ...any) *redis.IntCmd {
	return redis.NewIntCmd(ctx)
}

// EvalSha is asynq's call of a script that enqueues a task. It is told that the task was
// enqueued. Its true answer would be whether the task ID was free; one that is not
// belongs to this very task, sent before, so both answers are the same to us.
func (c *collector) EvalSha(ctx context.Context, _ string, keys []string, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	if err := c.chunk.Add(keys, args); err != nil {
		cmd.SetErr(err)
	} else {
		cmd.SetVal(int64(1))
	}
	return cmd
}

// discard forgets what was collected.
func (c *collector) discard() { c.chunk = queue.NewEnqueues(c.priority) }

// send sends what was collected. After an error the whole chunk may be collected
// and sent again.
func (c *collector) send(ctx context.Context) error {
	chunk := c.chunk
	c.discard()
	return chunk.Send(ctx, c.UniversalClient)
}

var _ redis.UniversalClient = (*collector)(nil)
