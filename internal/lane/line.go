package lane

import "github.com/weir-tasks/weir/internal/lane/governor"

// Line is a lane as --json and the web UI have it. Rates are per second, times in
// milliseconds.
type Line struct {
	Lane     string    `json:"lane"`
	State    string    `json:"state"`
	Weight   int       `json:"weight"`
	Shards   int       `json:"shards"` // over how many queues new tasks are spread
	Queues   int       `json:"queues"` // how many its tasks are in, or may be
	Governed bool      `json:"governed"`
	Limit    int       `json:"limit"`
	Active   int64     `json:"in_flight"`
	Pending  int64     `json:"pending"`
	Later    int64     `json:"later"`
	Workers  int       `json:"workers"`
	Rate     float64   `json:"rate"`
	BaseMS   float64   `json:"base_ms"`
	Ratio    float64   `json:"latency_ratio"`
	Errors   float64   `json:"errors"` // the share of calls that were refused, or not answered
	PauseMS  int64     `json:"pause_ms"`
	Why      string    `json:"why"`
	Waits    string    `json:"waits"`
	Oldest   int64     `json:"oldest_ms"`
	Drain    *float64  `json:"drain_seconds"`
	Wanted   float64   `json:"workers_wanted"`
	Config   *Settings `json:"config,omitempty"`
}

// Settings are what an operator has set of a lane.
type Settings struct {
	Max    int     `json:"max,omitempty"`
	Min    int     `json:"min,omitempty"`
	Limit  int     `json:"limit,omitempty"`
	Rate   float64 `json:"rate,omitempty"`
	Burst  int     `json:"burst,omitempty"`
	Paused bool    `json:"paused,omitempty"`
}

// Line is the overview as one JSON object.
func (o *Overview) Line(cluster Cluster) Line {
	d := o.Demand(cluster, 0)
	l := Line{Lane: o.Name, State: governor.Open.String(), Weight: o.Weight, Shards: o.Shards, Queues: max(o.Shards, len(o.Queues)), Active: o.InFlight(), Pending: o.Pending, Later: o.Later, Waits: o.Waits(),
		Oldest: o.Oldest.Milliseconds(), Drain: d.Drain, Wanted: d.Workers}
	if o.Err != nil {
		l.State = "broken"
	}
	if o.Config != (governor.Config{}) {
		s := Settings(o.Config)
		l.Config = &s
	}
	if g := o.Governed; g != nil {
		l.Governed, l.State, l.Limit, l.Workers, l.Rate = true, g.State.String(), g.Limit, g.Workers, g.Rate
		l.BaseMS, l.Ratio, l.PauseMS, l.Why, l.Errors = float64(g.Base.Microseconds())/1000, g.Ratio, g.Wait.Milliseconds(), g.Why, g.Errors
	}
	if o.Config.Paused { // the governor of an idle lane has not heard of it
		l.State = governor.Held.String()
	}
	return l
}
