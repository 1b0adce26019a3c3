package gate

import (
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/lane"
)

// Permit is one task's place on its lane.
type Permit struct {
	lanes  *lane.Set
	lane   string
	handed time.Time
	once   sync.Once
}

// Release gives the permit back. It may be called more than once, and on nil.
func (p *Permit) Release() {
	if p != nil {
		p.once.Do(func() { p.lanes.Return(p.lane, 1) })
	}
}

func claimKey(lane, id string) string { return lane + "\x00" + id }

// Claim takes over the permit of a task that has reached its handler, who
// releases it. It is nil for a task that did not come through the gate.
func (g *Gate) Claim(lane, id string) *Permit {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := claimKey(lane, id)
	p := g.claims[key]
	delete(g.claims, key)
	return p
}

// releaseUnclaimed frees the permits of tasks that asynq dropped before the
// handler: it skips one whose context has ended. It forgets those that asynq has
// given up.
func (g *Gate) releaseUnclaimed(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, p := range g.claims {
		if now.Sub(p.handed) > unclaimedAfter {
			delete(g.claims, key)
			p.Release()
		}
	}
	for key, h := range g.held {
		if now.Sub(h.proof) > forgotten {
			delete(g.held, key)
		}
	}
}
