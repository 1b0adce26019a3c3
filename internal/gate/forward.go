package gate

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

// forward answers asynq's forwarding of due tasks of the placeholder with that of every
// queue that has any: most have none most of the time, and a look is cheaper than a
// script. Its answer, as the script's, is how many moved: asynq asks again until none did.
// A queue that fails beside others is no error: asynq would not go on to the others' retries.
func (g *Gate) forward(ctx context.Context, kind string, args []any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(int64(0))
	if len(args) != 4 || !g.forwards(kind) {
		return cmd
	}
	// asynq's arguments: now (s), task key prefix, now (ns), group key prefix
	count := func(pipe redis.Pipeliner, of string) func() ([]int64, error) {
		n := pipe.Do(ctx, "zcount", delayedKey(of, kind), "-inf", args[0])
		return func() ([]int64, error) {
			due, err := n.Int64()
			return []int64{due}, err
		}
	}
	move := func(pipe redis.Pipeliner, of string) func() ([]int64, error) {
		return queue.ForwardScript.EvalSha(ctx, pipe, append([]string{delayedKey(of, kind)}, queue.Lists(of)...),
			args[0], queue.TaskPrefix(of), args[2], queue.GroupPrefix(of)).Int64Slice
	}
	due, _, err := g.inQueues(ctx, g.Queues(), kind, count)
	if err != nil {
		return failed(ctx, err)
	}
	if len(due[0]) == 0 {
		return cmd
	}
	got, moved, err := g.inQueues(ctx, due[0], kind, move)
	if noScript(err) {
		if err := queue.ForwardScript.Load(ctx, g.rdb).Err(); err != nil {
			return failed(ctx, err)
		}
		got, moved, err = g.inQueues(ctx, due[0], kind, move)
	}
	for p, queues := range got {
		g.mark(p, queues...)
		_ = queue.Wake(ctx, g.rdb, p, queues...) // the other workers look by themselves, only later
	}
	if err != nil {
		return failed(ctx, err)
	}
	cmd.SetVal(moved)
	return cmd
}

// inQueues asks something of each queue, which answers with a number for each priority, or
// for the first alone. It returns the queues whose number is not 0, and the sum; an error
// if none answers, or if a script is missing.
func (g *Gate) inQueues(ctx context.Context, queues []string, kind string, ask func(redis.Pipeliner, string) (answer func() ([]int64, error))) (some map[queue.Priority][]string, sum int64, err error) {
	pipe := g.rdb.Pipeline()
	answers := make([]func() ([]int64, error), len(queues))
	for i, of := range queues {
		answers[i] = ask(pipe, of)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	answered := len(queues) == 0
	some = make(map[queue.Priority][]string)
	for i, of := range queues {
		numbers, queueErr := answers[i]()
		answered = answered || queueErr == nil
		err = worse(err, queueErr)
		if queueErr != nil && strings.Contains(queueErr.Error(), "WRONGTYPE") {
			g.mend(ctx, of, kind)
		}
		for p, n := range numbers {
			if n > 0 {
				some[queue.Priority(p)] = append(some[queue.Priority(p)], of)
				sum += n
			}
		}
	}
	if answered && !noScript(err) {
		err = nil
	}
	return some, sum, err
}

func noScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }

// worse is the error to report of two: what a missing script keeps from being done, its
// being sent heals.
func worse(a, b error) error {
	if a == nil || noScript(b) {
		return b
	}
	return a
}

// forwards says that it is time to look for due tasks of a kind: more rarely where there
// are many queues.
func (g *Gate) forwards(kind string) bool {
	rare := g.manyQueues() - 1
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if now.Sub(g.forwarded[kind]) < rare*look {
		return false
	}
	g.forwarded[kind] = now
	return true
}
