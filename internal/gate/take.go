package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

// dequeue answers asynq's request for a task: with one, with redis.Nil when the
// gate stops or patience ends, or with an error, after a wait.
func (g *Gate) dequeue(ctx context.Context, sha string, args []any) *redis.Cmd {
	timer := time.NewTimer(patience)
	defer timer.Stop()
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
		took, err := g.take(ctx, sha, args)
		if err != nil {
			if !noScript(err) {
				g.backOff(err)
			}
			return failed(ctx, err)
		}
		if took {
			continue
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
	key := claimKey(t.lane, t.id)
	g.claims[key] = append(g.claims[key], &Permit{lanes: g.lanes, lane: t.lane})
	g.hold(t)
	return t.msg, true
}

// turnOf is what take asks of one lane.
type turnOf struct {
	lane    string
	permits int
	cmds    []*redis.Cmd
}

// take fetches tasks of lanes that have work and permits, in one pipeline.
func (g *Gate) take(ctx context.Context, sha string, args []any) (took bool, err error) {
	turns := g.turns()
	if len(turns) == 0 {
		return false, nil
	}
	now := time.Now()
	lease := g.sign.Lease(now.Add(30 * time.Second).Unix())
	pipe := g.rdb.Pipeline()
	for i := range turns {
		t := &turns[i]
		keys := []string{queue.Pending(t.lane), queue.Paused(t.lane), queue.Active(t.lane), queue.Lease(t.lane)}
		for range t.permits {
			t.cmds = append(t.cmds, pipe.EvalSha(ctx, sha, keys, lease, queue.TaskPrefix(t.lane)))
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	took, strange, err := g.collectAll(turns, lease, now)
	g.noteShared(ctx) // before such a task can end, and leave nothing to tell of it
	g.postpone(ctx, strange)
	return took, err
}

// collectAll keeps the tasks that came; strange are those of types unknown here.
func (g *Gate) collectAll(turns []turnOf, lease string, now time.Time) (took bool, strange []task, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { strange, g.strange = g.strange, nil }()
	answered := false
	for _, t := range turns {
		got, laneErr := g.collect(t, lease, now)
		took = took || got > 0
		answered = answered || laneErr == nil || got > 0
		err = worse(err, laneErr)
		if got == t.permits {
			g.addWork(t.lane)
		} else if laneErr == nil {
			g.lanes.Backlog(t.lane, 0)
		}
	}
	// A lane that failed is asked again after the next look that finds work in it: one
	// that is broken must not hold up the others.
	if noScript(err) {
		for _, t := range turns {
			g.addWork(t.lane) // asynq calls again at once, with the script
		}
	} else if answered {
		g.failing = 0
		return took, nil, nil
	}
	return false, nil, fmt.Errorf("take tasks: %w", err)
}

func noScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }

// worse is the error to report of two: with NOSCRIPT asynq sends the script, so
// that the next call heals.
func worse(a, b error) error {
	if a == nil || noScript(b) {
		return b
	}
	return a
}

// turns decides how many tasks to ask of which lane, and takes the permits. Lanes
// take turns; each gets its share of what is free. The lanes asked lose their
// mark: whoever adds work after this sets it again.
func (g *Gate) turns() []turnOf {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped() || g.holds > 0 || g.silent() {
		return nil
	}
	for _, name := range g.lanes.Loose() {
		if g.shut[name] {
			delete(g.shut, name)
			g.ring = append(g.ring, name)
		}
	}
	var turns []turnOf
	left := pipelined
	for n := len(g.ring); n > 0; n-- {
		free := min(left, g.lanes.Room())
		if free <= 0 {
			break
		}
		name := g.ring[0]
		g.ring = g.ring[1:]
		got := g.lanes.Take(name, max(1, free/n))
		if got == 0 {
			g.shut[name] = true
			continue
		}
		delete(g.work, name)
		turns = append(turns, turnOf{lane: name, permits: got})
		left -= got
	}
	return turns
}

// addWork notes that a lane may have work. The caller has g.mu.
func (g *Gate) addWork(name string) {
	if g.work[name] {
		return
	}
	g.work[name] = true
	g.ring = append(g.ring, name)
}

// collect keeps the tasks that came for one lane and returns the other permits.
func (g *Gate) collect(t turnOf, lease string, now time.Time) (got int, err error) {
	for _, cmd := range t.cmds {
		msg, cmdErr := cmd.Text()
		switch {
		case errors.Is(cmdErr, redis.Nil): // the lane is empty or paused
		case cmdErr != nil:
			err = cmdErr
		default:
			got++
			m, err := queue.Decode(msg)
			if err != nil {
				// asynq would refuse it likewise. Its ID is not known here: rescue, which
				// sees that it stays active, sets it aside.
				g.opts.Log.Error("a task of this lane cannot be decoded; it will be set aside", "lane", t.lane)
				g.lanes.Return(t.lane, 1)
				continue
			}
			g.noteTask(t.lane, m)
			g.learn(t.lane, g.opts.Governed != nil && g.opts.Governed(m.Type))
			taken := task{lane: t.lane, id: m.ID, msg: msg, lease: lease, took: now}
			if g.opts.Knows != nil && !g.opts.Knows(m.Type) {
				g.opts.Unknown(m.Type, t.lane)
				g.strange = append(g.strange, taken)
				g.lanes.Return(t.lane, 1)
				continue
			}
			g.taken = append(g.taken, taken)
		}
	}
	g.lanes.Return(t.lane, t.permits-got)
	return got, err
}

// backOff waits the longer, the more dequeues have failed in a row.
func (g *Gate) backOff(err error) {
	g.mu.Lock()
	g.failing = min(g.failing+1, 6)
	wait := 50 * time.Millisecond << g.failing // 100 ms .. 3.2 s
	g.mu.Unlock()
	g.opts.Trouble(err, wait)
	select {
	case <-time.After(wait):
	case <-g.stop:
	}
}
