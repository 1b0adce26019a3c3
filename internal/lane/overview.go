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
	// Queues are those that its tasks are in, or may be: more than Shards where these were
	// more before.
	Queues []string
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
	// Shards is over how many queues new tasks are spread.
	Shards int
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

// all are all lanes there are, by name: only that and their queues are known of them yet.
func all(ctx context.Context, rdb redis.UniversalClient) (lanes []*Overview, err error) {
	queues, err := queue.Known(ctx, rdb)
	if err != nil {
		return nil, err
	}
	names, err := Announced(ctx, rdb)
	if err != nil {
		return nil, err
	}
	for _, s := range []setting{weight, shards} {
		set, err := s.all(ctx, rdb)
		if err != nil {
			return nil, err
		}
		names = slices.AppendSeq(names, maps.Keys(set))
	}
	of := queue.ByLane(queues)
	for _, name := range queue.Lanes(append(names, queues...)) {
		lanes = append(lanes, named(name, of[name]))
	}
	return lanes, nil
}

// named is a lane of some queues; one that has none would have that of its name.
func named(name string, queues []string) *Overview {
	if len(queues) == 0 {
		queues = []string{name}
	}
	return &Overview{Name: name, Queues: queues}
}

// List returns all lanes there are, by name.
func List(ctx context.Context, rdb redis.UniversalClient) ([]*Overview, error) {
	lanes, err := all(ctx, rdb)
	if err != nil {
		return nil, err
	}
	if err := counted(ctx, rdb, lanes); err != nil {
		return nil, err
	}
	return lanes, detailed(ctx, rdb, lanes)
}

// Get returns one lane, or ErrUnknown.
func Get(ctx context.Context, rdb redis.UniversalClient, name string) (*Overview, error) {
	queues, err := queue.Known(ctx, rdb)
	if err != nil {
		return nil, fmt.Errorf("look at lane %q: %w", name, err)
	}
	of := queue.ByLane(queues)[name]
	o := named(name, of)
	if err := counted(ctx, rdb, []*Overview{o}); err != nil {
		return nil, err
	}
	if err := detailed(ctx, rdb, []*Overview{o}); err != nil {
		return nil, err
	}
	if len(of) == 0 && o.Governed == nil && o.Config == (governor.Config{}) && o.Weight == 1 && o.Shards == 1 && o.Err == nil {
		return nil, fmt.Errorf("lane %q: %w", name, ErrUnknown)
	}
	return o, nil
}

// counted adds what is in the lanes' queues.
func counted(ctx context.Context, rdb redis.UniversalClient, lanes []*Overview) error {
	for chunk := range slices.Chunk(lanes, 500) {
		pipe := rdb.Pipeline()
		of := make([][]counts, len(chunk))
		for i, o := range chunk {
			for _, name := range o.Queues {
				of[i] = append(of[i], count(ctx, pipe, name))
			}
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, o := range chunk {
			broken := 0
			for _, c := range of[i] {
				is, err := o.add(&c)
				if err != nil {
					return fmt.Errorf("look at lanes: %w", err)
				}
				if is != nil {
					broken++
				}
				if broken == len(of[i]) { // the tasks of others are taken
					o.Err = is
				}
			}
		}
	}
	return nil
}

// counts are what a pipeline is asked about a queue.
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

// add adds what a queue holds, and tells how it is none.
func (o *Overview) add(c *counts) (broken, err error) {
	o.Active += c.active.Val()
	for _, n := range c.lists {
		o.Pending += n.Val()
	}
	for _, n := range c.later {
		o.Later += n.Val()
	}
	for _, cmd := range append([]*redis.IntCmd{c.active}, append(c.lists[:], c.later[:]...)...) {
		switch err := cmd.Err(); {
		case redis.HasErrorPrefix(err, "WRONGTYPE"):
			broken = fmt.Errorf("%v is %w", cmd.Args()[1], ErrQueue)
		case err != nil:
			return nil, err
		}
	}
	if err := c.ended.Err(); err != nil {
		return nil, err
	}
	if text, ok := c.ended.Val()[0].(string); ok {
		n, _ := strconv.ParseInt(text, 10, 64)
		o.Ended += n
	}
	return broken, nil
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
	spread, err := Shards(ctx, rdb)
	if err != nil {
		return err
	}
	for i, o := range all {
		o.Config, o.Weight, o.Shards = seen[i].Config, max(1, weights[o.Name]), max(1, spread[o.Name])
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
		var of []*Overview // each queue
		var queues []string
		for _, o := range chunk {
			for _, name := range o.Queues {
				of, queues = append(of, o), append(queues, name)
			}
		}
		since, err := queue.PendingSince(ctx, rdb, queues)
		if err != nil {
			return err
		}
		for i, o := range of {
			if !since[i].IsZero() {
				o.Oldest = max(o.Oldest, now.Sub(since[i]))
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
