package lane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// Overview is a lane in the whole cluster, at one moment.
type Overview struct {
	Name string
	// Pending tasks wait for a permit, Later ones for their time, Active ones are run.
	Pending, Later, Active int64
	// Ended is how many attempts have ended, in all, as asynq counts them.
	Ended int64
	// Oldest is how long the first of the pending ones has waited.
	Oldest time.Duration
	// Governed is how its governor sees it; nil where it has none, or has been idle for an hour.
	Governed *governor.View
	// Config is what the operator wants; zero where nobody said.
	Config governor.Config
	// Weight is by what its part of a worker's slots goes where these are too few.
	Weight int
	// Err says why the lane's record or one of its queues in Redis cannot be used, and nil
	// where they can. None of its tasks is taken; Waits tells what helps.
	Err error
}

// InFlight is how many tasks of the lane are run, and calls of its service made by handlers
// of others.
func (o *Overview) InFlight() int64 {
	if o.Governed == nil {
		return o.Active
	}
	return max(o.Active, int64(o.Governed.InFlight))
}

// ErrUnknown says that nothing in Redis has to do with a lane.
var ErrUnknown = errors.New("no such lane")

// Names are all lanes there are, in order.
func Names(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	queues, err := rdb.SMembers(ctx, queue.All).Result()
	if err != nil {
		return nil, fmt.Errorf("list lanes: %w", err)
	}
	names, err := Announced(ctx, rdb)
	if err != nil {
		return nil, err
	}
	weights, err := Weights(ctx, rdb)
	if err != nil {
		return nil, err
	}
	names = slices.AppendSeq(append(names, queues...), maps.Keys(weights))
	slices.Sort(names)
	return slices.Compact(names), nil
}

// List returns all lanes there are, by name.
func List(ctx context.Context, rdb redis.UniversalClient) ([]*Overview, error) {
	names, err := Names(ctx, rdb)
	if err != nil {
		return nil, err
	}
	return overviews(ctx, rdb, names)
}

// Get returns one lane, or ErrUnknown.
func Get(ctx context.Context, rdb redis.UniversalClient, name string) (*Overview, error) {
	all, err := overviews(ctx, rdb, []string{name})
	if err != nil {
		return nil, err
	}
	queues, err := rdb.SIsMember(ctx, queue.All, name).Result()
	if err != nil {
		return nil, fmt.Errorf("look at lane %q: %w", name, err)
	}
	if !queues && all[0].Governed == nil && all[0].Config == (governor.Config{}) && all[0].Weight == 1 && all[0].Err == nil {
		return nil, fmt.Errorf("lane %q: %w", name, ErrUnknown)
	}
	return all[0], nil
}

func overviews(ctx context.Context, rdb redis.UniversalClient, names []string) ([]*Overview, error) {
	all, err := counted(ctx, rdb, names)
	if err != nil {
		return nil, err
	}
	return all, detailed(ctx, rdb, all)
}

// counted are lanes with what is in their queues.
func counted(ctx context.Context, rdb redis.UniversalClient, names []string) (all []*Overview, err error) {
	for chunk := range slices.Chunk(names, 500) {
		pipe := rdb.Pipeline()
		of := make([]counts, len(chunk))
		for i, name := range chunk {
			of[i] = count(ctx, pipe, name)
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, name := range chunk {
			o, err := of[i].overview(name)
			if err != nil {
				return nil, fmt.Errorf("look at lanes: %w", err)
			}
			all = append(all, o)
		}
	}
	return all, nil
}

// counts are what a pipeline is asked about a lane's queues.
type counts struct {
	active *redis.IntCmd
	later  [2]*redis.IntCmd
	ended  *redis.SliceCmd
	lists  [len(queue.Priorities)]*redis.IntCmd
}

func count(ctx context.Context, pipe redis.Pipeliner, name string) counts {
	c := counts{active: pipe.LLen(ctx, queue.Active(name)),
		later: [2]*redis.IntCmd{pipe.ZCard(ctx, queue.Scheduled(name)), pipe.ZCard(ctx, queue.Retry(name))},
		ended: pipe.MGet(ctx, queue.Processed(name))} // unlike GET, no error where it is not there
	for i, list := range queue.Lists(name) {
		c.lists[i] = pipe.LLen(ctx, list)
	}
	return c
}

// overview is what they say; a queue that is none is the lane's own trouble.
func (c *counts) overview(name string) (*Overview, error) {
	o := &Overview{Name: name, Active: c.active.Val()}
	for _, n := range c.lists {
		o.Pending += n.Val()
	}
	for _, n := range c.later {
		o.Later += n.Val()
	}
	for _, cmd := range append([]*redis.IntCmd{c.active}, append(c.lists[:], c.later[:]...)...) {
		switch err := cmd.Err(); {
		case redis.HasErrorPrefix(err, "WRONGTYPE"):
			o.Err = fmt.Errorf("%v is %w", cmd.Args()[1], ErrQueue)
		case err != nil:
			return nil, err
		}
	}
	if err := c.ended.Err(); err != nil {
		return nil, err
	}
	if text, ok := c.ended.Val()[0].(string); ok {
		o.Ended, _ = strconv.ParseInt(text, 10, 64)
	}
	return o, nil
}

// detailed adds how lanes are governed, what their operators want, and how long the oldest
// of their tasks has waited.
func detailed(ctx context.Context, rdb redis.UniversalClient, all []*Overview) error {
	seen, err := governor.LookAll(ctx, rdb, namesOf(all))
	if err != nil {
		return err
	}
	weights, err := Weights(ctx, rdb)
	if err != nil {
		return err
	}
	for i, o := range all {
		o.Config, o.Weight = seen[i].Config, max(1, weights[o.Name])
		if o.Err == nil {
			o.Err = seen[i].Err
		}
		if seen[i].Busy {
			o.Governed = &seen[i].View
		}
	}
	return aged(ctx, rdb, all)
}

func aged(ctx context.Context, rdb redis.UniversalClient, all []*Overview) error {
	now, err := rdb.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("look at lanes: %w", err)
	}
	for chunk := range slices.Chunk(all, 500) {
		since, err := queue.PendingSince(ctx, rdb, namesOf(chunk))
		if err != nil {
			return err
		}
		for i, o := range chunk {
			if !since[i].IsZero() {
				o.Oldest = max(now.Sub(since[i]), 0)
			}
		}
	}
	return nil
}

func namesOf(all []*Overview) []string {
	names := make([]string, len(all))
	for i, o := range all {
		names[i] = o.Name
	}
	return names
}
