package gate

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

// forward repeats asynq's forwarding of due tasks for every lane that has any: most
// have none most of the time, and a look is cheaper than a script. Its answer, as the
// script's, is how many moved: asynq asks again until none did. A lane that fails
// beside others is no error: asynq would not go on to the others' retries.
func (g *Gate) forward(ctx context.Context, sha, kind string, args []any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(int64(0))
	if len(args) != 4 || !g.forwards(kind) {
		return cmd
	}
	// asynq's arguments: now (s), task key prefix, now (ns), group key prefix
	look := func(pipe redis.Pipeliner, lane string) *redis.Cmd {
		return pipe.Do(ctx, "zcount", delayedKey(lane, kind), "-inf", args[0])
	}
	move := func(pipe redis.Pipeliner, lane string) *redis.Cmd {
		return pipe.EvalSha(ctx, sha, []string{delayedKey(lane, kind), queue.Pending(lane)},
			args[0], queue.TaskPrefix(lane), args[2], queue.GroupPrefix(lane))
	}
	due, _, err := g.inLanes(ctx, g.Lanes(), kind, look)
	if err != nil {
		return failed(ctx, err)
	}
	if len(due) == 0 {
		return cmd
	}
	got, moved, err := g.inLanes(ctx, due, kind, move)
	if len(got) > 0 {
		g.mark(got...)
		_ = queue.Wake(ctx, g.rdb, got...) // the other workers look by themselves, only later
	}
	if err != nil {
		return failed(ctx, err)
	}
	cmd.SetVal(moved)
	return cmd
}

// inLanes asks something of each lane, which answers with a number. It returns the
// lanes whose number is not 0, and the sum; an error if no lane answers, or if asynq
// is to send its script.
func (g *Gate) inLanes(ctx context.Context, lanes []string, kind string, ask func(redis.Pipeliner, string) *redis.Cmd) (some []string, sum int64, err error) {
	pipe := g.rdb.Pipeline()
	answers := make([]*redis.Cmd, len(lanes))
	for i, lane := range lanes {
		answers[i] = ask(pipe, lane)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	answered := len(lanes) == 0
	for i, lane := range lanes {
		n, laneErr := answers[i].Int64()
		answered = answered || laneErr == nil
		err = worse(err, laneErr)
		if laneErr != nil && strings.Contains(laneErr.Error(), "WRONGTYPE") {
			g.mend(ctx, lane, kind)
		}
		if n > 0 {
			some = append(some, lane)
			sum += n
		}
	}
	if answered && !noScript(err) {
		err = nil
	}
	return some, sum, err
}

// forwards says that it is time to look for due tasks of a kind: more rarely where there
// are many lanes.
func (g *Gate) forwards(kind string) bool {
	rare := g.manyLanes() - 1
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if now.Sub(g.forwarded[kind]) < rare*look {
		return false
	}
	g.forwarded[kind] = now
	return true
}
