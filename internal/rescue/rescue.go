// Package rescue gives a dead worker's tasks back to their lanes.
//
// A worker says each second that it lives, to Redis, which knows by its own clock since
// when somebody has been watching and who has been silent for Silence meanwhile: what
// such a worker had, by the mark in its leases, is to go back. See pulse.go.
//
// There are tasks without such an owner: of asynq's own servers, or taken in a reply
// that was lost. A worker extends the leases of its tasks every 5 s (asynq's
// heartbeat). A task whose lease stays as it is for Patience, while this process could
// watch it all that time, goes back too. No clock is compared with another there either:
// only Redis' record with its own earlier self.
//
// What always holds: a task goes back only if its lease is still the one that was
// seen, so two rescuers do not give it back twice, and it costs no attempt. After an
// outage or a pause of Redis or of this process, the watch begins anew: the workers may
// not have been able to say anything either.
//
// What becomes of a task whose worker died:
//
//   - It has its outcome: it is closed.
//   - Its worker lives, and does not have it: it goes back, and nobody is to blame.
//     Whoever takes it closes it if it has its outcome by then.
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
// Of the workers of a lane one acts. Where more should, comparing leases makes it
// harmless.
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
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

const (
	// Patience is how long a lease may stay as it is: two heartbeats and a bit.
	Patience = 11 * time.Second

	interval = time.Second

	// blink is the longest pause between two looks at a lane that is no break in the
	// watch: less than a heartbeat, so that no living worker misses two of them.
	blink = 4 * time.Second

	// most is how many tasks of one lane a round sees to; the next round goes on.
	most = 2000
)

// Options configure a Rescuer.
type Options struct {
	// Name is this process' in the outcomes it records.
	Name   string
	Ledger *batch.Ledger
	// Mark is this worker's, in its leases; one of its own if 0.
	Mark queue.Mark
	// Beat, if set, is told when this worker said that it lives, each time Redis has it.
	Beat func(sent time.Time)
	// Lanes names the queues of lanes to watch, at any time.
	Lanes func() []string
	// Rescued, if set, is told of tasks of dead workers, and of what became of them.
	Rescued func(fate Fate, n int)
	Log     *slog.Logger
}

// Fate is what became of a task whose worker does not have it any more.
type Fate string

// The fates.
const (
	Back       Fate = "given_back" // its worker died or froze
	Lost       Fate = "lost"       // it was lost on the way to a worker that lives; given back
	Closed     Fate = "closed"     // its worker died between outcome and ack
	Crashed    Fate = "crashed"    // it has killed too many workers, and failed
	Ghost      Fate = "ghost"      // its message was gone
	Quarantine Fate = "quarantine" // it could not be read, and was set aside
)

// Fates are all there are.
var Fates = []Fate{Back, Lost, Closed, Crashed, Ghost, Quarantine}

// Rescuer watches the lanes of a worker.
type Rescuer struct {
	rdb   redis.UniversalClient
	opts  Options
	id    string // tells this rescuer from others
	pulse *pulse

	seen   map[string]*sightings // by lane
	broken map[string]string     // lane -> why it could not be looked at
}

// sightings are what was seen of a lane, up to the last look at it.
type sightings struct {
	last time.Time
	of   map[string]sighting // by task ID
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
	if o.Rescued == nil {
		o.Rescued = func(Fate, int) {}
	}
	if o.Mark == 0 {
		o.Mark = queue.NewMark()
	}
	return &Rescuer{
		rdb: rdb, opts: o, id: o.Name + " " + rand.Text(), pulse: newPulse(rdb, o.Mark, o.Beat),
		seen: make(map[string]*sightings), broken: make(map[string]string),
	}
}

// Run says that this worker lives, and watches, until ctx ends.
func (r *Rescuer) Run(ctx context.Context) {
	var beating sync.WaitGroup
	defer beating.Wait()
	beating.Go(func() { r.pulse.run(ctx) })
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.pulse.news:
		}
		if err := r.round(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.opts.Log.Debug("watching leases", "err", err)
		}
	}
}

// round looks at every lane once. An error is one of Redis, not of an entry or a lane.
func (r *Rescuer) round(ctx context.Context, now time.Time) error {
	lanes, err := queue.Delivered(ctx, r.rdb, r.opts.Lanes())
	if err != nil {
		return err
	}
	maps.DeleteFunc(r.seen, func(lane string, _ *sightings) bool { return !slices.Contains(lanes, lane) })
	for _, lane := range lanes {
		acts, err := r.acts(ctx, lane)
		if err == nil && !acts {
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
		if err := r.askAgain(ctx, dead); err != nil {
			return err
		}
		if err := r.bury(ctx, lane, dead); err != nil {
			return err
		}
	}
	return nil
}

// askAgain leaves out the tasks of workers that have come back since it was heard that
// they are dead.
func (r *Rescuer) askAgain(ctx context.Context, dead map[string]string) error {
	before := r.pulse.gone(time.Now())
	silent := func(_, lease string) bool { return before[queue.MarkOf(lease)] }
	if !anyOf(dead, silent) {
		return nil
	}
	if err := r.pulse.once(ctx); err != nil {
		return err
	}
	now := r.pulse.gone(time.Now())
	maps.DeleteFunc(dead, func(id, lease string) bool { return silent(id, lease) && !now[queue.MarkOf(lease)] })
	return nil
}

func anyOf(dead map[string]string, is func(id, lease string) bool) bool {
	for id, lease := range dead {
		if is(id, lease) {
			return true
		}
	}
	return false
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
	return errors.Is(err, queue.ErrTooLarge) || errors.As(err, &said) &&
		(strings.HasPrefix(said.Error(), "WRONGTYPE") || strings.HasPrefix(said.Error(), "ERR") && strings.Contains(said.Error(), "WRONGTYPE"))
}

// dead returns the tasks whose worker is dead, or whose lease has stayed as it is for
// Patience, up to most of them, and remembers what it saw of the others.
func (r *Rescuer) dead(lane string, leases map[string]string, now time.Time) map[string]string {
	before := r.seen[lane]
	if before == nil || now.Sub(before.last) > blink {
		before = &sightings{}
	}
	seen := &sightings{now, make(map[string]sighting)}
	r.seen[lane] = seen
	gone := r.pulse.gone(now)
	dead := make(map[string]string)
	for id, lease := range leases {
		s, known := before.of[id]
		if !known || s.lease != lease {
			s = sighting{lease, now}
		}
		if len(dead) < most && (gone[queue.MarkOf(lease)] || now.Sub(s.since) >= Patience) {
			dead[id] = lease
			continue
		}
		seen.of[id] = s
	}
	return dead
}
