package gate

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

// forward repeats asynq's forwarding of due tasks for every lane. Its answer, as
// the script's, is how many moved: asynq asks again until none did. A lane that
// fails beside others is no error: asynq would not go on to the others' retries.
func (g *Gate) forward(ctx context.Context, sha, kind string, args []any) *redis.Cmd {
	lanes := g.Lanes()
	cmd := redis.NewCmd(ctx)
	if len(lanes) == 0 || len(args) != 4 {
		cmd.SetVal(int64(0))
		return cmd
	}
	pipe := g.rdb.Pipeline()
	moves := make([]*redis.Cmd, len(lanes))
	for i, name := range lanes {
		// asynq's arguments: now (s), task key prefix, now (ns), group key prefix
		moves[i] = pipe.EvalSha(ctx, sha, []string{delayedKey(name, kind), queue.Pending(name)},
			args[0], queue.TaskPrefix(name), args[2], queue.GroupPrefix(name))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var moved int64
	var got []string
	var err error
	answered := false
	for i, name := range lanes {
		n, laneErr := moves[i].Int64()
		answered = answered || laneErr == nil
		err = worse(err, laneErr)
		if laneErr != nil && strings.Contains(laneErr.Error(), "WRONGTYPE") {
			g.mend(ctx, name, kind)
		}
		if n > 0 {
			moved += n
			got = append(got, name)
		}
	}
	if len(got) > 0 {
		g.mark(got...)
		_ = queue.Wake(ctx, g.rdb, got...) // the other workers look by themselves, only later
	}
	if !answered || noScript(err) {
		return failed(ctx, err)
	}
	cmd.SetVal(moved)
	return cmd
}
