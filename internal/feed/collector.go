package feed

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

// collector is the Redis client that asynq.Client is given: it collects the
// enqueues of a chunk and sends them in one pipeline, in order. asynq makes the
// messages and its script does the enqueue; only the sending is put off. For another
// priority than the normal one a script of weir's does as asynq's.
type collector struct {
	redis.UniversalClient
	pipe     redis.Pipeliner
	priority queue.Priority
	sent     []*redis.Cmd
	known    map[string]string // by the hash of asynq's script that of the one to call
}

func newCollector(rdb redis.UniversalClient, p queue.Priority) *collector {
	return &collector{UniversalClient: rdb, pipe: rdb.Pipeline(), priority: p, known: make(map[string]string)}
}

// SAdd does nothing: asynq would add each lane to its set with a call of its own. The
// feeder has done so.
func (c *collector) SAdd(ctx context.Context, _ string, _ ...any) *redis.IntCmd {
	return redis.NewIntCmd(ctx)
}

// noScript makes asynq call Eval, with the script's text.
type noScript struct{}

func (noScript) Error() string { return "NOSCRIPT not loaded yet" }
func (noScript) RedisError()   {}

// EvalSha puts a script's call into the pipeline and tells asynq that the task was
// enqueued. Its true answer would be whether the task ID was free; one that is not
// belongs to this very task, sent before, so both answers are the same to us.
func (c *collector) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	call, known := c.known[sha]
	if !known {
		cmd.SetErr(noScript{})
		return cmd
	}
	if c.priority != queue.Normal {
		args = append(slices.Clip(args), c.priority.String())
		if !later(keys) {
			lane, ok := queue.LaneOf(keys[len(keys)-1])
			if !ok {
				cmd.SetErr(fmt.Errorf("asynq enqueues into %v, which are not the keys that weir knows", keys))
				return cmd
			}
			keys = []string{keys[0], c.priority.List(lane)}
		}
	}
	c.sent = append(c.sent, c.pipe.EvalSha(ctx, call, keys, args...))
	cmd.SetVal(int64(1))
	return cmd
}

// later says that the keys are those of asynq's enqueue of a task that becomes due later.
func later(keys []string) bool {
	return len(keys) == 2 && strings.HasSuffix(keys[1], ":scheduled")
}

// Eval loads a script, once, and goes on as EvalSha.
func (c *collector) Eval(ctx context.Context, src string, keys []string, args ...any) *redis.Cmd {
	var loaded *redis.StringCmd
	switch {
	case c.priority == queue.Normal:
		loaded = c.ScriptLoad(ctx, src)
	case later(keys):
		loaded = queue.LaterScript.Load(ctx, c)
	default:
		loaded = queue.EnqueueScript.Load(ctx, c)
	}
	call, err := loaded.Result()
	if err != nil {
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(err)
		return cmd
	}
	sha := redis.NewScript(src).Hash()
	c.known[sha] = call
	return c.EvalSha(ctx, sha, keys, args...)
}

// discard forgets what was collected.
func (c *collector) discard() {
	c.pipe.Discard()
	c.sent = nil
}

// send sends what was collected, and wakes the gates for the queues it is for: a wake-up
// that is lost costs a second, after which they look by themselves. After an error the whole
// chunk may be collected and sent again.
func (c *collector) send(ctx context.Context, queues []string) error {
	sent := c.sent
	c.sent = nil
	if len(sent) == 0 {
		return nil
	}
	_, one := c.UniversalClient.(*redis.Client)
	if one {
		queue.WakeAfter(ctx, c.pipe, c.priority, queues...)
	}
	_, _ = c.pipe.Exec(ctx) // each command has its own error
	for _, cmd := range sent {
		err := cmd.Err()
		if err == nil {
			continue
		}
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			clear(c.known) // Redis was restarted; they are loaded again with the next try
		}
		return fmt.Errorf("enqueue: %w", err)
	}
	if !one {
		_ = queue.Wake(ctx, c.UniversalClient, c.priority, queues...)
	}
	return nil
}

var (
	_ redis.UniversalClient = (*collector)(nil)
	_ redis.Error           = noScript{}
)
