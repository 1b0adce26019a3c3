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
// What becomes of a task whose worker died:
//
//   - It has its outcome: it is closed.
//   - Its worker has died with it batch.MaxCrashes times: it has failed, class crashed.
//     From the last death but one on it runs alone, so that what died beside it is not
//     to blame; see batch.CountCrash. An outage of Redis counts nothing, since the
//     watch begins anew; a worker cut off from Redis counts like one that died, which
//     nobody can tell apart.
//   - It cannot be read: it is set aside, in its lane's quarantine. Of a ghost, whose
//     message is gone, what is left is removed; a batch then misses it.
//   - Any other goes back. So do plain asynq tasks, however often: they have no ledger
//     to count in.
//
// Of the workers of a lane two watch it, and one of these acts; see rank. Where more
// should act, comparing leases makes it harmless.
//
// A bad entry costs a line in the log and stops no other.
//
// It replaces asynq's recoverer for lanes: that one waits 60 to 150 s and burns
// attempts, stops at what it cannot read, and looks at the placeholder queue only.
package rescue

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

const (
	// Patience is how long a lease may stay as it is: two heartbeats and a bit.
	Patience = 11 * time.Second

	interval = time.Second

	// blink is the longest pause between two looks that is no break in the watch.
	blink = Patience / 2

	// most is how many tasks of one lane a round sees to; the next round goes on.
	most = 2000
)

// Options configure a Rescuer.
type Options struct {
	// Name is this process' in the outcomes it records.
	Name   string
	Ledger *batch.Ledger
	// Lanes names the lanes to watch, at any time.
	Lanes func() []string
	Log   *slog.Logger
}

// Rescuer watches the lanes of a worker.
type Rescuer struct {
	rdb  redis.UniversalClient
	opts Options
	id   string // tells this rescuer from others

	seen   map[string]map[string]sighting // lane -> task ID -> what was seen
	last   time.Time                      // the last look
	broken map[string]string              // lane -> why it could not be looked at
}

type sighting struct {
	lease string
	since time.Time
}

// New returns a Rescuer.
func New(rdb redis.UniversalClient, o Options) *Rescuer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Rescuer{rdb: rdb, opts: o, id: o.Name + " " + rand.Text(), seen: make(map[string]map[string]sighting), broken: make(map[string]string)}
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
				r.opts.Log.Debug("watching leases", "err", err)
			}
		}
	}
}

// round looks at every lane once. An error is one of Redis, not of an entry or a lane.
func (r *Rescuer) round(ctx context.Context, now time.Time) error {
	if now.Sub(r.last) > blink {
		clear(r.seen)
	}
	r.last = now
	lanes := r.opts.Lanes()
	maps.DeleteFunc(r.seen, func(lane string, _ map[string]sighting) bool { return !slices.Contains(lanes, lane) })
	for _, lane := range lanes {
		rank, err := r.rank(ctx, lane)
		if err == nil && rank == bystander {
			delete(r.seen, lane)
			continue
		}
		var leases map[string]string
		if err == nil {
			leases, err = queue.Leases(ctx, r.rdb, lane)
		}
		if err := r.ofLane(lane, err); err != nil {
			return err
		} else if leases == nil {
			continue
		}
		dead := r.dead(lane, leases, now)
		most := most
		if rank == takesOver {
			most = 0
		}
		for _, id := range slices.Sorted(maps.Keys(dead))[min(most, len(dead)):] {
			r.remember(lane, id, sighting{dead[id], now.Add(-Patience)})
			delete(dead, id)
		}
		if err := r.bury(ctx, lane, dead); err != nil {
			return err
		}
	}
	return nil
}

// ofLane tells, once, of a lane that cannot be looked at; others can.
func (r *Rescuer) ofLane(lane string, err error) error {
	if err == nil {
		delete(r.broken, lane)
		return nil
	}
	if !ofEntry(err) {
		return err
	}
	delete(r.seen, lane)
	if r.broken[lane] != err.Error() {
		r.broken[lane] = err.Error()
		r.opts.Log.Error("a lane's keys in Redis are not what asynq made; nobody watches over its tasks", "lane", lane, "err", err)
	}
	return nil
}

// ofEntry says that an error is of the key it was about. Any other is one of Redis, of
// the connection, or of ctx.
func ofEntry(err error) bool {
	var said redis.Error
	return errors.As(err, &said) &&
		(strings.HasPrefix(said.Error(), "WRONGTYPE") || strings.HasPrefix(said.Error(), "ERR") && strings.Contains(said.Error(), "WRONGTYPE"))
}

// dead returns the tasks whose lease has stayed as it is for Patience, and
// remembers what it saw of the others.
func (r *Rescuer) dead(lane string, leases map[string]string, now time.Time) map[string]string {
	before := r.seen[lane]
	delete(r.seen, lane)
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
		r.remember(lane, id, s)
	}
	return dead
}

func (r *Rescuer) remember(lane, id string, s sighting) {
	if r.seen[lane] == nil {
		r.seen[lane] = make(map[string]sighting)
	}
	r.seen[lane][id] = s
}
