package gate

import (
	"context"
	_ "embed"
	"errors"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/logs"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/together"
)

var (
	//go:embed lua/done.lua
	doneSrc    string
	doneScript = redis.NewScript(doneSrc)
)

// ending is what asynq wants done of a task that has come to its end.
type ending struct {
	taskKey
	keys []string // of asynq's script
	args []any
}

// endingOf recognises asynq's done by its keys, that of a task without a unique key.
func endingOf(keys []string, args []any) (e ending, ok bool) {
	if len(keys) != 5 || len(args) != 3 {
		return e, false
	}
	e = ending{keys: keys, args: args}
	e.id, _ = args[0].(string)
	e.queue, ok = queueOfLease(keys[1])
	return e, ok && queue.Is(keys[0], e.queue, "active") && queue.IsTask(keys[2], e.queue, e.id) && queue.Is(keys[4], e.queue, "processed")
}

// done answers asynq's done of a task that it has from here, together with others that end
// at the same time. Redis closes only those whose leases are this worker's: another
// worker's run of a task stays as it is.
func (g *Gate) done(ctx context.Context, keys []string, args []any) (cmd *redis.Cmd, ours bool) {
	e, ok := endingOf(keys, args)
	if !ok {
		return nil, false
	}
	g.mu.Lock()
	h := g.held[e.taskKey]
	later := h != nil && !h.tried && errors.Is(ctx.Err(), context.Canceled) // see fenced
	g.mu.Unlock()
	if h == nil {
		return nil, false
	}
	if later {
		return settled(ctx), true
	}
	ctx, cancel := alive(ctx)
	defer cancel()
	whose, err := g.dones.Do(ctx, e)
	g.acked(e.taskKey, h, err)
	if err != nil {
		return failed(ctx, err), true
	}
	if whose < 0 {
		g.opts.Log.Info("the end of a task that others have by now is not told to asynq", logs.ID(e.id, e.queue))
	}
	return settled(ctx), true
}

// doneAll is done.lua for tasks of any queues.
func (g *Gate) doneAll(ctx context.Context, all []ending) []together.Answer[int64] {
	type day struct{ queue, processed string }
	first := make(map[day]ending, 1)
	calls := together.NewCalls(func(of day) *together.Call {
		e := first[of]
		return &together.Call{
			Keys: []string{e.keys[0], e.keys[1], e.keys[3], e.keys[4]},
			Args: []any{g.sign.Fraction(), queue.TaskPrefix(e.queue), e.args[1], e.args[2]},
		}
	})
	for i, e := range all {
		of := day{e.queue, e.keys[3]}
		if _, known := first[of]; !known {
			first[of] = e
		}
		calls.Add(of, i, len(e.id), e.id)
	}
	answers := make([]together.Answer[int64], len(all))
	for _, c := range calls.Run(ctx, g.rdb, doneScript) {
		c.Numbers(answers)
	}
	return answers
}
