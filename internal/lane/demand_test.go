package lane

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// How many workers of 10 slots a lane can use, and how long it takes.
func TestDemandOfALane(t *testing.T) {
	open := func(limit int) *governor.View { return &governor.View{Limit: limit, Base: time.Second, Ratio: 1} }
	state := func(s governor.State) *governor.View {
		return &governor.View{Limit: 50, State: s, Base: time.Second, Ratio: 1}
	}
	const unknown = -1
	for name, c := range map[string]struct {
		o       Overview
		took    time.Duration
		workers float64
		drain   float64
	}{
		"nothing":                               {Overview{}, 0, 0, unknown},
		"what runs needs its slots":             {Overview{Active: 25}, time.Second, 2.5, unknown},
		"little waits: no more of them":         {Overview{Active: 20, Pending: 100}, time.Second, 2, 5},
		"much waits, and nothing is in its way": {Overview{Active: 20, Pending: 5980}, time.Second, 10, 299},
		"one waits and nobody runs it":          {Overview{Pending: 1}, 0, 0.1, unknown},
		"the service is full: no more help":     {Overview{Active: 15, Pending: 60_000, Governed: open(15)}, 0, 1.5, 4000},
		"the service has room":                  {Overview{Active: 15, Pending: 60_000, Governed: open(19)}, 0, 1.9, 4000},
		"the slots are what is full":            {Overview{Active: 20, Pending: 60_000, Governed: open(20)}, 0, 4, 3000},
		"the operator's limit is full":          {Overview{Active: 20, Pending: 60_000, Governed: open(20), Config: governor.Config{Limit: 20}}, 0, 2, 3000},
		"a rate is what is in its way": {Overview{Active: 4, Pending: 60_000,
			Governed: &governor.View{Limit: 100, Rate: 4, Base: time.Second, Ratio: 1}}, 0, 0.5, 15_000},
		"an outage":                  {Overview{Active: 1, Pending: 60_000, Governed: state(governor.Outage)}, 0, 0.1, unknown},
		"a pause":                    {Overview{Pending: 60_000, Governed: state(governor.Paused)}, 0, 0, unknown},
		"the operator's pause":       {Overview{Pending: 60_000, Config: governor.Config{Paused: true}}, 0, 0, unknown},
		"slow tasks, by measurement": {Overview{Active: 20, Pending: 100}, 30 * time.Second, 6, 150},
	} {
		c.o.Name = "a"
		d := c.o.Demand(Cluster{Workers: 2, Slots: 20}, c.took)
		drain := float64(unknown)
		if d.Drain != nil {
			drain = *d.Drain
		}
		if math.Abs(d.Workers-c.workers) > 0.001 || math.Abs(drain-c.drain) > 0.001 {
			t.Errorf("%s: %v workers, drained in %v s; want %v, %v", name, d.Workers, drain, c.workers, c.drain)
		}
	}
}

// State is the operator's word before the governor's, and open where nobody has said anything.
func TestStateOfALane(t *testing.T) {
	probing := &governor.View{State: governor.Probing}
	for want, o := range map[string]Overview{
		"open": {}, "probing": {Governed: probing}, "held": {Governed: probing, Config: governor.Config{Paused: true}},
		Broken: {Config: governor.Config{Paused: true}, Err: errors.New("newer")},
	} {
		if got := o.State(); got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
		if got := o.Demand(Cluster{}, 0).State; got != want {
			t.Errorf("its demand is of one that is %s, want %s", got, want)
		}
	}
}

// The signal is the sum, rounded up, and lists the lanes that have most.
func TestSignalAddsUp(t *testing.T) {
	var busy []*Overview
	for i := range 150 {
		busy = append(busy, &Overview{Name: fmt.Sprint("lane-", i), Pending: int64(1 + i), Oldest: time.Duration(i) * time.Second})
	}
	s := signalOf(busy, Cluster{Workers: 1, Slots: 10}, nil)
	if s.Wanted != 22 || s.Backlog != 150*151/2 || s.Oldest != 149 || len(s.Lanes) != maxDemands || s.Lanes[0].Backlog != 150 || s.Drain != nil {
		t.Errorf("%d wanted for %d, the oldest %v; %d lanes, first %+v", s.Wanted, s.Backlog, s.Oldest, len(s.Lanes), s.Lanes[0])
	}
	if s := signalOf(nil, Cluster{}, nil); s.Wanted != 0 || s.Lanes == nil {
		t.Errorf("of nothing: %+v", s)
	}
}

// What waits is seen as it lies in Redis.
func TestDemandsAreRead(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		introduced(t, c, "a", "idle")
		for i := range 70 {
			id := fmt.Sprint("b:", i)
			c.LPush(ctx, queue.Pending("a"), id)
			c.HSet(ctx, queue.TaskPrefix("a")+id, "pending_since", time.Now().Add(time.Duration(i-90)*time.Second).UnixNano())
		}
		if err := governor.Configure(ctx, c, "a", governor.Config{Limit: 30}); err != nil {
			t.Fatal(err)
		}
		if _, err := governor.Sync(ctx, c, "a", governor.Report{Worker: "w", Wants: 1, Slots: 1, Remaining: -1}); err != nil {
			t.Fatal(err)
		}
		s, err := Demands(ctx, c, Cluster{Workers: 1, Slots: 10}, func(string) time.Duration { return time.Minute })
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Lanes) != 1 || s.Backlog != 70 || s.Wanted != 3 || s.Oldest < 89 || s.Oldest > 120 {
			t.Errorf("%+v", s)
		}
	})
}
