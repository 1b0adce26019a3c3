package gate

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/together"
)

var (
	//go:embed lua/take.lua
	takeSrc    string
	takeScript = redis.NewScript(takeSrc)
)

// dequeue answers asynq's request for a task: with one, with redis.Nil when the
// gate stops or patience ends, or with an error, after a wait.
func (g *Gate) dequeue(ctx context.Context) *redis.Cmd {
	var timer *time.Timer // none as long as there are tasks
	for {
		if g.stopped() {
			// What this call took while the gate was stopping.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateGiveBack)
			defer cancel()
			if err := g.giveBack(ctx); err != nil {
				g.opts.Log.Warn("stopping", "err", err)
			}
			return failed(ctx, redis.Nil)
		}
		if msg, ok := g.hand(); ok {
			cmd := redis.NewCmd(ctx)
			cmd.SetVal(msg)
			return cmd
		}
		took, err := g.take(ctx)
		if err != nil {
			g.backOff(err)
			return failed(ctx, err)
		}
		if took {
			continue
		}
		if timer == nil {
			timer = time.NewTimer(patience)
			defer timer.Stop()
		}
		select {
		case <-g.woken:
		case <-g.lanes.Freed():
		case <-timer.C:
			return failed(ctx, redis.Nil)
		case <-g.stop:
		}
	}
}

// hand gives out a task taken earlier, and leaves its permit to be claimed.
func (g *Gate) hand() (msg string, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped() || len(g.taken) == 0 { // what is left after a stop, giveBack has or gets
		return "", false
	}
	t := g.taken[0]
	g.taken = g.taken[1:]
	key := taskKey{t.queue, t.id}
	g.claims[key] = append(g.claims[key], &Permit{lanes: g.lanes, lane: queue.Lane(t.queue), ahead: t.ahead})
	g.hold(t)
	return t.msg, true
}

// take fetches tasks of lanes that have work and permits, in one pipeline.
func (g *Gate) take(ctx context.Context) (took bool, err error) {
	turns := g.turns()
	if len(turns) == 0 {
		return false, nil
	}
	now := time.Now()
	lease := g.sign.Lease(now.Add(30 * time.Second).Unix())
	var calls []*together.Call
	for _, t := range turns {
		calls = append(calls, t.take(lease)...)
	}
	together.Run(ctx, g.rdb, takeScript, calls)
	took, strange, err := g.collectAll(turns, lease, now)
	g.noteShared(ctx) // before such a task can end, and leave nothing to tell of it
	g.postpone(ctx, strange)
	return took, err
}

// take is the calls that take what is asked of one lane: one for each of its lists.
func (t *turnOf) take(lease string) (calls []*together.Call) {
	asked := make(map[list]int)
	for _, l := range t.lists {
		asked[l]++
	}
	t.calls = make(map[list]*together.Call, len(asked))
	for _, l := range t.lists {
		if t.calls[l] != nil {
			continue
		}
		of := l.queue
		t.calls[l] = &together.Call{
			Keys: []string{l.priority.List(of), queue.Paused(of), queue.Active(of), queue.Lease(of)},
			Args: []any{lease, queue.TaskPrefix(of), asked[l], queue.MaxMessage},
		}
		calls = append(calls, t.calls[l])
	}
	return calls
}

// collectAll keeps the tasks that came; strange are those of types unknown here.
func (g *Gate) collectAll(turns []*turnOf, lease string, now time.Time) (took bool, strange []task, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { strange, g.strange = g.strange, nil }()
	answered, before := false, len(g.taken)
	for _, t := range turns {
		got, laneErr := g.collect(t, lease, now)
		took = took || got > 0
		answered = answered || laneErr == nil || got > 0
		err = cmp.Or(err, laneErr)
		if laneErr == nil && !t.of.lists.any() {
			g.lanes.Backlog(t.of.lane, 0)
		}
	}
	g.counts.taken.Add(int64(len(g.taken) - before + len(g.strange)))
	g.counts.putOff.Add(int64(len(g.strange)))
	g.askAhead(g.taken[before:])
	// A lane that failed is asked again after the next look that finds work in it: one
	// that is broken must not hold up the others.
	if answered {
		g.failing = 0
		return took, nil, nil
	}
	return false, nil, fmt.Errorf("take tasks: %w", err)
}

func (g *Gate) askAhead(taken []task) {
	if g.opts.Ahead == nil || len(taken) == 0 {
		return
	}
	ids := make([]string, len(taken))
	for i, t := range taken {
		ids[i] = t.id
	}
	for i, ahead := range g.opts.Ahead(ids) {
		taken[i].ahead = ahead
	}
}

// collect keeps the tasks that came for one lane and returns the other permits.
func (g *Gate) collect(t *turnOf, lease string, now time.Time) (got int, err error) {
	messages, more := make(map[list][]any, len(t.calls)), make(map[list]bool, len(t.calls))
	for l, call := range t.calls {
		came, callErr := call.Cmd.Slice()
		if callErr != nil {
			err = callErr
			continue
		}
		more[l], messages[l] = came[0] != int64(0), came[1:]
	}
	lane, gave := t.of.lane, make([]bool, len(t.lists))
	for i, l := range t.lists {
		if len(messages[l]) == 0 { // the list is empty, or its queue paused
			continue
		}
		msg, _ := messages[l][0].(string)
		messages[l] = messages[l][1:]
		got++
		gave[i] = true
		m, err := queue.Decode(msg)
		if err != nil {
			// asynq would refuse it likewise, or it is too large. Its ID is not known here:
			// rescue, which sees that it stays active, sets it aside.
			g.opts.Log.Error("a task of this lane cannot be read; it will be set aside", "lane", l.queue)
			g.lanes.Return(lane, 1)
			continue
		}
		g.noteTask(l.queue, m)
		g.learn(lane, g.opts.Governed != nil && g.opts.Governed(m.Type))
		taken := task{queue: l.queue, list: l.priority, id: m.ID, msg: msg, lease: lease, took: now}
		if g.opts.Knows != nil && !g.opts.Knows(m.Type) {
			g.opts.Unknown(m.Type, lane)
			g.strange = append(g.strange, taken)
			g.lanes.Return(lane, 1)
			continue
		}
		g.taken = append(g.taken, taken)
	}
	g.answered(t, gave, more)
	g.lanes.Return(lane, len(gave)-got)
	return got, err
}

// backOff waits the longer, the more dequeues have failed in a row.
func (g *Gate) backOff(err error) {
	g.mu.Lock()
	g.failing = min(g.failing+1, 6)
	wait := 50 * time.Millisecond << g.failing // 100 ms .. 3.2 s
	g.mu.Unlock()
	g.counts.failed.Add(1)
	g.opts.Trouble(err, wait)
	select {
	case <-time.After(wait):
	case <-g.stop:
	}
}
