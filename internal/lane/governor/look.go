package governor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// View is how a lane is.
type View struct {
	Limit    int
	State    State
	Rate     float64       // per second; 0 for none
	Base     time.Duration // the usual latency
	Ratio    float64       // latency against it
	Wait     time.Duration // until the pause or the outage's next probe
	InFlight int           // and permits that rest after overload
	Wants    int           // what the workers would have in flight
	Workers  int
	Why      string        // the last change, in words
	Ago      time.Duration // when that was
	Errors   float64       // the share of calls that were refused, or not answered, in about the last 10 s
}

// Look returns how a lane is, and whether it has been governed at all in the last hour.
func Look(ctx context.Context, rdb redis.UniversalClient, lane string) (View, bool, error) {
	return parseView(lane, viewScript.Run(ctx, rdb, []string{stateKey(lane)}))
}

func parseView(lane string, cmd *redis.Cmd) (View, bool, error) {
	reply, err := cmd.Slice()
	if err != nil {
		return View{}, false, fmt.Errorf("look at lane %q: %w", lane, known(err))
	}
	if len(reply) == 0 {
		return View{}, false, nil
	}
	f := &fields{reply: reply}
	v := View{Limit: int(f.int()), State: State(f.int()), Rate: f.milli(), Base: time.Duration(f.int()) * time.Microsecond,
		Ratio: f.milli(), Wait: f.ms(), InFlight: int(f.int()), Wants: int(f.int()), Workers: int(f.int()),
		Why: f.text(), Ago: f.ms(), Errors: f.milli()}
	if f.err != nil {
		return View{}, false, fmt.Errorf("look at lane %q: %w", lane, f.err)
	}
	return v, true, nil
}

// Seen is a lane as LookAll sees it.
type Seen struct {
	View   View
	Busy   bool // it has been governed in the last hour; without, View says nothing
	Config Config
	// Err says why the lane's own record in Redis cannot be used; see OfLane.
	Err error
}

// atOnce is how many lanes are looked at in one pipeline.
const atOnce = 500

// LookAll is Look and LoadConfig for many lanes, in their order. Errors are those of Redis;
// what is wrong with one lane does not keep the others from being seen.
func LookAll(ctx context.Context, rdb redis.UniversalClient, lanes []string) ([]Seen, error) {
	if err := viewScript.Load(ctx, rdb).Err(); err != nil {
		return nil, fmt.Errorf("look at %d lanes: %w", len(lanes), err)
	}
	all := make([]Seen, 0, len(lanes))
	for chunk := range slices.Chunk(lanes, atOnce) {
		pipe := rdb.Pipeline()
		views := make([]*redis.Cmd, len(chunk))
		configs := make([]*redis.MapStringStringCmd, len(chunk))
		for i, lane := range chunk {
			views[i] = viewScript.EvalSha(ctx, pipe, []string{stateKey(lane)})
			configs[i] = pipe.HGetAll(ctx, configKey(lane))
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, lane := range chunk {
			var s Seen
			var err error
			if s.View, s.Busy, err = parseView(lane, views[i]); err != nil {
				s.Err = err
			}
			if s.Config, err = configOf(lane, configs[i]); err != nil {
				s.Err = err
			}
			if s.Err != nil && !OfLane(s.Err) {
				return nil, s.Err
			}
			all = append(all, s)
		}
	}
	return all, nil
}
