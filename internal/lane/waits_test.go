package lane

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/lane/governor"
)

// Of a lane whose limit is what holds it, nobody says that slots are missing: a few permits
// are between two tasks whenever somebody looks.
func TestWhatALaneWaitsFor(t *testing.T) {
	seen := make(map[Need]bool)
	for _, c := range []struct {
		o     Overview
		need  Need
		words string
	}{
		{Overview{Pending: 5, Governed: &governor.View{Workers: 4, Limit: 20, InFlight: 17, Wants: 400}}, NeedPermit, "limit 20 is in use"},
		{Overview{Pending: 5, Governed: &governor.View{Workers: 4, Limit: 1, Wants: 400}}, NeedPermit, "limit 1 is in use"},
		{Overview{Pending: 5, Governed: &governor.View{Workers: 4, Limit: 40, InFlight: 5, Wants: 400, Rate: 50}}, NeedTurn, "rate 50/s"},
		{Overview{Pending: 5, Governed: &governor.View{Workers: 4, Limit: 400, InFlight: 100, Wants: 400}}, NeedSlot, "all slots of the workers are in use"},
		{Overview{Governed: &governor.View{Workers: 4, Limit: 400, InFlight: 1, Wants: 4}}, NeedNothing, ""},
		{Overview{Later: 5, Governed: &governor.View{Workers: 4, Limit: 400, InFlight: 1, Wants: 4}}, NeedDue, "5 for their time: a retry, or later by wish"},
		{Overview{Pending: 5, Active: 1}, NeedSlot, "all slots of the workers are in use"},
		{Overview{Pending: 5, Governed: &governor.View{Limit: 400}}, NeedWorker, "no worker takes its tasks"},
		{Overview{Pending: 5}, NeedWorker, "no worker takes its tasks"},
		{Overview{Pending: 5, Config: governor.Config{Paused: true}}, NeedResumption, "paused by the operator"},
		{Overview{Pending: 5, Governed: &governor.View{Workers: 4, State: governor.Paused, Wait: 2500 * time.Millisecond}}, NeedService, "the service asked to wait, 2.5s more"},
		{Overview{Pending: 5, Governed: &governor.View{Workers: 4, State: governor.Outage, Wait: 12 * time.Second}}, NeedProbe, "outage: the next probe comes in 12s"},
		{Overview{Pending: 5, Governed: &governor.View{Workers: 4, State: governor.Probing, Wants: 1}}, NeedAnswer, "outage: probing"},
		{Overview{Later: 3, Governed: &governor.View{}}, NeedDue, "3 for their time: a retry, or later by wish"},
		{Overview{Pending: 5, Err: fmt.Errorf("asynq:{a}:pending is %w", ErrQueue)}, NeedRepair,
			"an operator: asynq:{a}:pending is not a queue; somebody else wrote to it; DEL or RENAME it with redis-cli"},
		{Overview{Governed: &governor.View{Workers: 1, Limit: 3, InFlight: 3, Wants: 5}}, NeedPermit, "limit 3 is in use"}, // calls by handlers
		{Overview{Active: 5}, NeedNothing, ""},
	} {
		seen[c.need] = true
		if need, words := c.o.Needs(), c.o.Waits(); need != c.need || words != c.words {
			t.Errorf("%+v: %d, %q; want %d, %q", c.o, need, words, c.need, c.words)
		}
	}
	for need := NeedNothing; need <= NeedTurn; need++ {
		if !seen[need] {
			t.Errorf("need %d has no case", need)
		}
	}
}
