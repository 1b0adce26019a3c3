package lane

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-tasks/weir/internal/lane/governor"
)

// Need is what the tasks of a lane wait for, or calls by handlers of others.
type Need int

// What they may wait for.
const (
	NeedNothing    Need = iota // none waits
	NeedRepair                 // somebody who mends what of the lane is broken in Redis
	NeedResumption             // the operator, who has paused the lane
	NeedWorker                 // a worker that takes them
	NeedDue                    // their own time
	NeedSlot                   // a free one of some worker
	NeedService                // the end of the time that the service asked to wait
	NeedProbe                  // in an outage, the next one
	NeedAnswer                 // that of a probe
	NeedPermit                 // of the lane's limit
	NeedTurn                   // at the lane's rate
)

// Needs is what the lane's tasks wait for.
func (o *Overview) Needs() Need {
	if o.Err != nil {
		return NeedRepair
	}
	g := o.Governed
	calls := g != nil && g.Workers > 0 && g.Wants > g.InFlight
	if o.Pending == 0 && o.Later == 0 && !calls {
		return NeedNothing
	}
	switch {
	case o.Config.Paused:
		return NeedResumption
	case g == nil && o.Pending > 0 && o.Active == 0:
		return NeedWorker
	case o.Pending == 0 && !calls:
		return NeedDue
	case g == nil:
		return NeedSlot
	case g.State == governor.Paused:
		return NeedService
	case g.State == governor.Outage:
		return NeedProbe
	case g.State == governor.Probing:
		return NeedAnswer
	case g.Workers == 0:
		return NeedWorker
	case nearly(g.InFlight, g.Limit) && (g.InFlight > 0 || g.Rate == 0):
		return NeedPermit
	case g.Rate > 0:
		return NeedTurn
	case o.Pending > 0:
		return NeedSlot
	case o.Later > 0:
		return NeedDue
	}
	return NeedNothing // calls need no slot
}

// Waits is Needs in words; "" for NeedNothing.
func (o *Overview) Waits() string {
	switch o.Needs() {
	case NeedRepair:
		return fmt.Sprintf("an operator: %v; %s", o.Err, o.remedy())
	case NeedResumption:
		return "paused by the operator"
	case NeedWorker:
		return "no worker takes its tasks"
	case NeedDue:
		return fmt.Sprintf("%d for their time: a retry, or later by wish", o.Later)
	case NeedSlot:
		return "all slots of the workers are in use"
	case NeedService:
		return "the service asked to wait, " + round(o.Governed.Wait) + " more"
	case NeedProbe:
		return "outage: the next probe comes in " + round(o.Governed.Wait)
	case NeedAnswer:
		return "outage: probing"
	case NeedPermit:
		return fmt.Sprintf("limit %d is in use", o.Governed.Limit)
	case NeedTurn:
		return fmt.Sprintf("rate %.4g/s", o.Governed.Rate)
	}
	return ""
}

// nearly says that a limit is used up: some permits are always between two tasks, or rest, and
// workers report four times a second.
func nearly(inFlight, limit int) bool {
	return inFlight >= limit-max(1, limit/5)
}

// ErrQueue reports that what should be one of a lane's queues in Redis is something else.
var ErrQueue = errors.New("not a queue")

func (o *Overview) remedy() string {
	if errors.Is(o.Err, ErrQueue) {
		return "somebody else wrote to it; DEL or RENAME it with redis-cli"
	}
	return governor.Remedy(o.Name, o.Err)
}

func round(d time.Duration) string {
	if d > 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
