package gate

import (
	"context"
	"time"

	"github.com/weir-tasks/weir/internal/queue"
)

// Hold makes the gate take nothing new until the returned function is called, any
// number of times. Holds of several callers add up. What was taken before still comes.
func (g *Gate) Hold() (letGo func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds++
	held := true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !held {
			return
		}
		held = false
		g.holds--
		if g.holds == 0 {
			g.wake()
		}
	}
}

func (g *Gate) wake() {
	select {
	case g.woken <- struct{}{}:
	default:
	}
}

// InFlight is how many tasks have permits: those taken, and those whose handlers run.
func (g *Gate) InFlight() int { return g.lanes.InFlight() }

// mend sets aside what keeps asynq from forwarding a queue's due tasks.
func (g *Gate) mend(ctx context.Context, of, kind string) {
	bad, err := queue.Unmovable(ctx, g.rdb, of, delayedKey(of, kind), time.Now())
	for _, id := range bad {
		was, setErr := queue.SetAside(ctx, g.rdb, of, id, "its record is no hash")
		if was != nil {
			was.Tell(g.opts.Log, of)
		}
		if setErr != nil {
			err = setErr
		}
	}
	if err != nil {
		g.opts.Log.Debug("mending a lane", "lane", of, "err", err)
	}
}
