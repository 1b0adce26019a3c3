package gate

import (
	"context"
	_ "embed"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

var (
	//go:embed lua/extend.lua
	extendSrc    string
	extendScript = redis.NewScript(extendSrc)
)

const (
	// proven is how long after Redis has said that a lease is ours we take it to be:
	// less than the time after which others give a task back.
	proven = 9 * time.Second

	// forgotten is after which time a task is no more acked: asynq's own lease is over.
	forgotten = 2 * time.Minute
)

// holding is what the gate knows of the lease of a task that asynq has.
type holding struct {
	proof time.Time // when Redis last had the lease as ours
	lost  bool      // it was another's when it was to be extended
}

// hold notes a task that is handed to asynq. The caller has g.mu.
func (g *Gate) hold(t task) { g.held[claimKey(t.lane, t.id)] = &holding{proof: t.took} }

// ZAddXX is how asynq extends leases. The gate extends those that are still its own.
func (g *Gate) ZAddXX(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	lane, ok := laneOfLease(key)
	if !ok || len(members) == 0 {
		return g.UniversalClient.ZAddXX(ctx, key, members...)
	}
	cmd := redis.NewIntCmd(ctx)
	now := time.Now()
	args := []any{g.sign.Fraction(), g.sign.Lease(int64(members[0].Score))}
	for _, z := range members {
		args = append(args, z.Member)
	}
	ours, err := extendScript.Run(ctx, g.UniversalClient, []string{key}, args...).Int64Slice()
	if err != nil {
		cmd.SetErr(err)
		return cmd
	}
	g.extended(lane, now, members, ours)
	cmd.SetVal(0) // as ZADD: none is new
	return cmd
}

// extended notes whose lease each of a lane's tasks has: ours (1), nobody's (0: it is
// being acked, or was given back), another's (-1).
func (g *Gate) extended(lane string, now time.Time, members []redis.Z, whose []int64) {
	var news []string
	g.mu.Lock()
	for i, z := range members {
		id, _ := z.Member.(string)
		h := g.held[claimKey(lane, id)]
		switch {
		case h == nil || i >= len(whose):
		case whose[i] == 1:
			h.proof = now
		case whose[i] == -1 && !h.lost:
			h.lost = true
			news = append(news, id)
		}
	}
	g.mu.Unlock()
	if len(news) > 0 {
		g.opts.Log.Warn("this worker was taken for dead; others have its tasks, whichever copy ends first counts",
			"lane", lane, "tasks", len(news), "one", news[0])
	}
}

// fenced says that a script is an ack for a task that others have by now: it would
// be taken for theirs. done is to be called when the script has run.
func (g *Gate) fenced(ctx context.Context, keys []string, args []any) (fenced bool, done func(error)) {
	done = func(error) {}
	lane, id, ok := ackOf(keys, args)
	if !ok {
		return false, done
	}
	key := claimKey(lane, id)
	g.mu.Lock()
	h := g.held[key]
	var was holding
	if h != nil {
		was = *h
	}
	g.mu.Unlock()
	if h == nil {
		return false, done
	}
	done = func(err error) {
		if err == nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.held[key] == h { // it may have been taken once more
				delete(g.held, key)
			}
		}
	}
	if !was.lost && time.Since(was.proof) < proven {
		return false, done
	}
	score, err := g.UniversalClient.ZScore(ctx, queue.Lease(lane), id).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, done // the ack will not come through either
	}
	if err == nil && g.sign.Owns(score) {
		return false, done
	}
	g.opts.Log.Info("the end of a task that others have by now is not told to asynq", "lane", lane, "task", id)
	done(nil)
	return true, done
}

// ackOf recognises asynq's scripts that end a delivery: they name a lease and one
// task's key, and their first argument is its ID.
func ackOf(keys []string, args []any) (lane, id string, ok bool) {
	if len(keys) < 3 || len(args) == 0 {
		return "", "", false
	}
	if id, ok = args[0].(string); !ok {
		return "", "", false
	}
	for _, key := range keys[:3] {
		if lane, ok = laneOfLease(key); ok {
			break
		}
	}
	if !ok {
		return "", "", false
	}
	task := queue.TaskPrefix(lane) + id
	for _, key := range keys[:min(len(keys), 4)] {
		if key == task {
			return lane, id, true
		}
	}
	return "", "", false
}

func laneOfLease(key string) (lane string, ok bool) {
	lane, ok = strings.CutPrefix(key, "asynq:{")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(lane, "}:lease")
}
