package gate

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
)

// Permit is one task's place on its lane.
type Permit struct {
	lanes *lane.Set
	lane  string
	ahead any
	looks int // that have found it unclaimed
	once  sync.Once
}

// Ahead is what Options.Ahead returned for the task. It may be called on nil.
func (p *Permit) Ahead() any {
	if p == nil {
		return nil
	}
	return p.ahead
}

// Release gives the permit back with which no service was called. It may be called more than once, and on nil.
func (p *Permit) Release() {
	if p != nil {
		p.once.Do(func() { p.lanes.Return(p.lane, 1) })
	}
}

// Done is Release for a task that has called its service, and tells how that answered.
func (p *Permit) Done(r governor.Result) {
	if p != nil {
		p.once.Do(func() { p.lanes.Done(p.lane, r) })
	}
}

// Acquire takes a permit of any lane for a call that a handler makes, beside its task's
// own; see lane.Set.Acquire.
func (g *Gate) Acquire(ctx context.Context, name string) (*lane.Call, error) {
	g.mu.Lock()
	g.learn(name, true)
	g.mu.Unlock()
	return g.lanes.Acquire(ctx, name)
}

// taskKey names a task.
type taskKey struct{ queue, id string }

// Claim takes over the permit of a task that has reached its handler, who
// releases it. It is nil for a task that did not come through the gate.
func (g *Gate) Claim(queue, id string) *Permit {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := taskKey{queue, id}
	unclaimed := g.claims[key]
	if len(unclaimed) == 0 {
		return nil
	}
	p, rest := unclaimed[len(unclaimed)-1], unclaimed[:len(unclaimed)-1]
	g.setClaims(key, rest)
	return p
}

func (g *Gate) setClaims(key taskKey, unclaimed []*Permit) {
	if len(unclaimed) == 0 {
		delete(g.claims, key)
		return
	}
	g.claims[key] = unclaimed
}

// releaseUnclaimed frees the permits of tasks that asynq dropped before the
// handler: it skips one whose context has ended. It forgets those that asynq has
// given up.
func (g *Gate) releaseUnclaimed(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, unclaimed := range g.claims {
		g.setClaims(key, slices.DeleteFunc(unclaimed, func(p *Permit) bool {
			// Looks, not time: of that much may pass while this process is frozen, and the
			// handler is about to claim it.
			p.looks++
			over := p.looks > int(unclaimedAfter/look)
			if over {
				p.Release()
			}
			return over
		}))
	}
	for key, h := range g.held {
		if now.Sub(h.proof) > forgotten {
			delete(g.held, key)
		}
	}
}
