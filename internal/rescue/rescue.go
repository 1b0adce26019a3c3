// Package rescue gives a dead worker's tasks back to their lanes.
//
// A worker extends the leases of its tasks every 5 s (asynq's heartbeat). A task
// whose lease stays as it is for Patience, while this process could watch it all
// that time, belongs to a worker that died, froze or was cut off from Redis. No
// clock is compared with another: only Redis' record with its own earlier self.
//
// What always holds: a task goes back only if its lease is still the one that was
// watched, so two rescuers do not give it back twice, and it costs no attempt.
// After an error of Redis, and after a pause of Redis or of this process, the watch
// begins anew: the workers may not have been able to extend anything either.
//
// It replaces asynq's recoverer for lanes: that one waits 60 to 150 s and burns
// attempts, and looks at the placeholder queue only.
package rescue

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

const (
	// Patience is how long a lease may stay as it is: two heartbeats and a bit.
	Patience = 11 * time.Second

	interval = time.Second

	// blink is the longest pause between two looks that is no break in the watch.
	blink = Patience / 2
)

// Rescuer watches the lanes of a worker.
type Rescuer struct {
	rdb   redis.UniversalClient
	lanes func() []string
	log   *slog.Logger

	seen map[string]map[string]sighting // lane -> task ID -> what was seen
	last time.Time                      // the last look
}

type sighting struct {
	lease string
	since time.Time
}

// New returns a Rescuer of the lanes that lanes names at any time.
func New(rdb redis.UniversalClient, lanes func() []string, log *slog.Logger) *Rescuer {
	return &Rescuer{rdb: rdb, lanes: lanes, log: log, seen: make(map[string]map[string]sighting)}
}

// Run watches until ctx ends.
func (r *Rescuer) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.round(ctx, time.Now()); err != nil {
			clear(r.seen)
			if ctx.Err() == nil {
				r.log.Debug("watching leases", "err", err)
			}
		}
	}
}

// round looks at every lane once.
func (r *Rescuer) round(ctx context.Context, now time.Time) error {
	if now.Sub(r.last) > blink {
		clear(r.seen)
	}
	r.last = now
	lanes := r.lanes()
	maps.DeleteFunc(r.seen, func(lane string, _ map[string]sighting) bool { return !slices.Contains(lanes, lane) })
	for _, lane := range lanes {
		leases, err := queue.Leases(ctx, r.rdb, lane)
		if err != nil {
			return err
		}
		var back []string
		for id, lease := range r.dead(lane, leases, now) {
			first, err := queue.GiveBack(ctx, r.rdb, lane, id, lease)
			if err != nil {
				return err
			}
			if first {
				back = append(back, id)
			}
		}
		if len(back) > 0 {
			r.log.Warn("a worker died or froze; its tasks are given back", "lane", lane, "tasks", len(back), "one", back[0])
			_ = queue.Wake(ctx, r.rdb, lane)
		}
	}
	return nil
}

// dead returns the tasks whose lease has stayed as it is for Patience, and
// remembers what it saw of the others.
func (r *Rescuer) dead(lane string, leases map[string]string, now time.Time) map[string]string {
	before, after := r.seen[lane], make(map[string]sighting, len(leases))
	dead := make(map[string]string)
	for id, lease := range leases {
		s, known := before[id]
		if !known || s.lease != lease {
			s = sighting{lease, now}
		}
		if now.Sub(s.since) >= Patience {
			dead[id] = lease
			continue
		}
		after[id] = s
	}
	if len(after) == 0 {
		delete(r.seen, lane)
	} else {
		r.seen[lane] = after
	}
	return dead
}
