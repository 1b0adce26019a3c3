package lane

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane/governor"
)

const (
	// drainIn is in which time the workers wanted would work off what waits.
	drainIn = time.Minute

	// usualTook is taken for how long a task of a lane takes of which nobody has measured it.
	usualTook = time.Second

	// usualSlots is taken for a worker's slots while there is none.
	usualSlots = 50

	// maxDemands is how many lanes a Signal lists.
	maxDemands = 100
)

// Cluster is the workers that live.
type Cluster struct {
	Workers int
	Slots   int // of all together
}

// Demand is what a lane's work asks for.
type Demand struct {
	Lane     string  `json:"lane"`
	Backlog  int64   `json:"backlog"`   // tasks that could run now
	InFlight int64   `json:"in_flight"` // those that do, and calls by handlers
	Oldest   float64 `json:"oldest_seconds"`
	// Drain is in how many seconds the backlog is worked off as things are; null where
	// nobody can tell: a lane that stands still, or whose tasks' time is not known.
	Drain *float64 `json:"drain_seconds"`
	// Workers are those that this lane can use, in fractions of one: as many slots as work
	// its backlog off in a minute, but never more than its service takes.
	Workers float64 `json:"workers_wanted"`
	// State is what its tasks meet, see Overview.State.
	State string `json:"state"`
}

// Signal says how many workers there should be.
type Signal struct {
	Wanted  int      `json:"workers_wanted"`
	Workers int      `json:"workers"` // those there are
	Slots   int      `json:"slots"`   // of all of them
	Backlog int64    `json:"backlog"`
	Oldest  float64  `json:"oldest_seconds"`
	Drain   *float64 `json:"drain_seconds"` // of the lane that takes longest
	Lanes   []Demand `json:"lanes"`         // those with work, the largest backlogs first, at most 100
}

// Demands looks at all lanes. took tells how long a lane's tasks take, 0 where that is not
// known; it may be nil.
func Demands(ctx context.Context, rdb redis.UniversalClient, c Cluster, took func(lane string) time.Duration) (*Signal, error) {
	lanes, err := all(ctx, rdb)
	if err != nil {
		return nil, err
	}
	if err := counted(ctx, rdb, lanes); err != nil {
		return nil, err
	}
	busy := slices.DeleteFunc(lanes, func(o *Overview) bool { return o.Pending+o.Active == 0 })
	if err := detailed(ctx, rdb, busy); err != nil {
		return nil, fmt.Errorf("see how many workers are wanted: %w", err)
	}
	return signalOf(busy, c, took), nil
}

// signalOf adds lanes up.
func signalOf(busy []*Overview, c Cluster, took func(lane string) time.Duration) *Signal {
	s := &Signal{Workers: c.Workers, Slots: c.Slots, Lanes: []Demand{}}
	sum := 0.0
	for _, o := range busy {
		var measured time.Duration
		if took != nil {
			measured = took(o.Name)
		}
		d := o.Demand(c, measured)
		sum += d.Workers
		s.Backlog += d.Backlog
		s.Oldest = max(s.Oldest, d.Oldest)
		if d.Drain != nil && (s.Drain == nil || *d.Drain > *s.Drain) {
			s.Drain = d.Drain
		}
		s.Lanes = append(s.Lanes, d)
	}
	s.Wanted = int(math.Ceil(sum - 1e-9))
	slices.SortStableFunc(s.Lanes, func(a, b Demand) int { return cmp.Compare(b.Backlog, a.Backlog) })
	s.Lanes = s.Lanes[:min(len(s.Lanes), maxDemands)]
	return s
}

// Demand is what the lane asks for, of workers like those there are. measured is how long
// its tasks take, or 0.
func (o *Overview) Demand(c Cluster, measured time.Duration) Demand {
	d := Demand{Lane: o.Name, Backlog: o.Pending, InFlight: o.InFlight(), Oldest: o.Oldest.Seconds(), State: o.State()}
	if g := o.Governed; measured == 0 && g != nil && g.Base > 0 {
		measured = time.Duration(float64(g.Base) * max(g.Ratio, 1))
	}
	each := cmp.Or(measured, usualTook).Seconds()
	room := o.room(c, each)
	need := max(float64(o.Active), float64(o.Pending+o.Active)*each/drainIn.Seconds())
	if o.Pending > 0 {
		need = max(need, 1)
	}
	perWorker := float64(usualSlots)
	if c.Workers > 0 && c.Slots > 0 {
		perWorker = float64(c.Slots) / float64(c.Workers)
	}
	d.Workers = math.Round(1000*max(min(need, room), float64(o.Active))/perWorker) / 1000
	if o.Pending > 0 && o.Active > 0 && measured > 0 && room > 0 {
		rate := float64(o.Active) / each
		if g := o.Governed; g != nil && g.Rate > 0 {
			rate = min(rate, g.Rate)
		}
		drain := math.Round(1000*float64(o.Pending)/rate) / 1000
		d.Drain = &drain
	}
	return d
}

// room is how many tasks of the lane its service can take at once, as far as is known: more
// workers help no further.
func (o *Overview) room(c Cluster, each float64) float64 {
	g := o.Governed
	switch {
	case o.Config.Paused || o.Err != nil:
		return 0
	case g == nil && o.Config.Limit > 0:
		return float64(o.Config.Limit)
	case g == nil:
		return math.Inf(1) // nothing is in its way but slots
	case g.State != governor.Open:
		return 0
	}
	room := float64(g.Limit)
	if g.Limit >= c.Slots && o.Config.Limit == 0 && o.Config.Max == 0 {
		room = 2 * room // it would have grown, had there been slots
	}
	if g.Rate > 0 {
		room = min(room, math.Ceil(1.25*g.Rate*each))
	}
	return room
}
