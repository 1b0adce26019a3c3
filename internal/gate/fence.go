package gate

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/logs"
	"github.com/weir-tasks/weir/internal/queue"
)

var (
	//go:embed lua/extend.lua
	extendSrc    string
	extendScript = redis.NewScript(extendSrc)
)

const (
	// proven is how long after Redis has said that a lease is ours we take it to be, and
	// heard how long after this worker has told Redis that it lives: less than the times
	// after which others give a task back, rescue.Patience and rescue.Silence.
	proven = 9 * time.Second
	heard  = 6 * time.Second

	// forgotten is after which time a task is no more acked: asynq's own lease is over.
	forgotten = 2 * time.Minute
)

// holding is what the gate knows of the lease of a task that asynq has.
type holding struct {
	list  queue.Priority // where it waited
	proof time.Time      // when Redis last had the lease as ours
	lost  bool           // it was another's when it was to be extended
	tried bool           // its ack failed; asynq sends it again
}

// Alive notes when this worker told Redis that it lives. While that is long ago the gate
// takes nothing: others would give it back at once.
func (g *Gate) Alive(at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.silent()
	g.beat = at
	if was {
		g.wake()
	}
}

// silent says that others may take this worker for dead. One that never said that it
// lives is not known to be dead. The caller has g.mu.
func (g *Gate) silent() bool { return !g.beat.IsZero() && time.Since(g.beat) >= heard }

// safe says that nobody can have given this task back. The caller has g.mu.
func (g *Gate) safe(h *holding) bool {
	return !h.lost && time.Since(h.proof) < proven && !g.silent()
}

// hold notes a task that is handed to asynq. The caller has g.mu.
func (g *Gate) hold(t task) { g.held[taskKey{t.queue, t.id}] = &holding{list: t.list, proof: t.took} }

// ZAddXX is how asynq extends leases. The gate extends those that are still its own.
func (g *Gate) ZAddXX(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	of, ok := queueOfLease(key)
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
	g.extended(of, now, members, ours)
	cmd.SetVal(0) // as ZADD: none is new
	return cmd
}

// extended notes whose lease each of a queue's tasks has: ours (1), nobody's (0: it is
// being acked, or was given back), another's (-1).
func (g *Gate) extended(of string, now time.Time, members []redis.Z, whose []int64) {
	var news []string
	g.mu.Lock()
	for i, z := range members {
		id, _ := z.Member.(string)
		h := g.held[taskKey{of, id}]
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
			logs.ID(news[0], of), "tasks", len(news))
	}
}

// fenced says that a script is an ack for a task that others have by now: it would
// be taken for theirs. So is one that is sent again for a delivery which was settled, or
// which this worker itself has got anew. sent is to be called when the script has run.
func (g *Gate) fenced(ctx context.Context, keys []string, args []any, again bool) (fenced bool, sent func(error)) {
	of, id, ok := ackOf(keys, args)
	if !ok {
		return false, func(error) {}
	}
	key := taskKey{of, id}
	g.mu.Lock()
	h := g.held[key]
	tried, safe := h != nil && h.tried, h == nil || g.safe(h)
	g.mu.Unlock()
	sent = func(err error) { g.acked(key, h, err) }
	switch {
	case again && !tried:
		return true, sent
	case h == nil, !again && safe:
		return false, sent
	}
	score, err := g.UniversalClient.ZScore(ctx, queue.Lease(of), id).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, sent // the ack will not come through either
	}
	if err == nil && g.sign.Owns(score) {
		return false, sent
	}
	g.opts.Log.Info("the end of a task that others have by now is not told to asynq", logs.ID(id, of))
	sent(nil)
	return true, sent
}

// requeued are the keys of asynq's requeue of a task with the list where it had waited.
// Those of any other script stay as they are.
func (g *Gate) requeued(keys []string, args []any) []string {
	of, id, ok := ackOf(keys, args)
	if !ok || !queue.Is(keys[2], of, "pending") {
		return keys
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.held[taskKey{of, id}]
	if h == nil {
		return keys
	}
	keys = slices.Clone(keys)
	keys[2] = h.list.List(of)
	return keys
}

// acked notes how an ack went, of the delivery h and no later one.
func (g *Gate) acked(key taskKey, h *holding, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case h == nil || g.held[key] != h:
	case err == nil:
		delete(g.held, key)
	default:
		h.tried = true
	}
}

// ackOf recognises asynq's scripts that end a delivery: they name a lease and one
// task's key, and their first argument is its ID.
func ackOf(keys []string, args []any) (of, id string, ok bool) {
	if len(keys) < 3 || len(args) == 0 {
		return "", "", false
	}
	if id, ok = args[0].(string); !ok {
		return "", "", false
	}
	for _, key := range keys[:3] {
		if of, ok = queueOfLease(key); ok {
			break
		}
	}
	if !ok {
		return "", "", false
	}
	for _, key := range keys[:min(len(keys), 4)] {
		if queue.IsTask(key, of, id) {
			return of, id, true
		}
	}
	return "", "", false
}

func queueOfLease(key string) (of string, ok bool) {
	of, ok = strings.CutPrefix(key, "asynq:{")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(of, "}:lease")
}
