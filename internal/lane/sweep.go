package lane

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

var (
	//go:embed lua/retire.lua
	retireSrc    string
	retireScript = redis.NewScript(retireSrc)
)

const (
	sweeperKey = "weir:lanes:sweeper" // who sweeps
	retiredKey = "weir:lanes:retired" // lanes by when they were removed (s)

	sweepEvery = time.Minute
	sweepTurn  = 5 * sweepEvery / 2 // how long it stays one worker's without a round

	// idleFor is how long a lane is empty, with nothing done in it, before it is removed.
	idleFor = 5 * time.Minute

	// watched is how long a removed lane is looked after: for longer than feed takes from
	// making a lane known to a task in it, after which it would make it known again.
	watched = 10 * time.Minute

	lookedAt  = 5000 // lanes in a round
	retiredIn = 2000
)

// Sweep removes lanes that have been idle and empty for some minutes, until ctx ends: the
// governor's state, the mark that it is governed, and the queue's place in asynq's list.
// Once a minute one worker does.
//
// A task may be enqueued at the same time, and a lane's keys lie in another slot of a
// Cluster than the lists of lanes, so no script sees both. Losing that race is mended
// instead. Whoever enqueues puts the lane into the lists first, and again if it was there
// for over a minute when the task was in. A lane is noted in weir:lanes:retired before
// it leaves the lists, and looked after for ten minutes: if it has anything again, it goes
// back. A gate that takes a task of a lane that is in no list puts it back too; and to
// the wake-up of an enqueue gates listen, whatever the lists say.
//
// An asynq client of anybody else's makes its queue known once, however long it runs. So a
// queue that was not made by weir, or in which somebody else's task was seen, stays in
// asynq's list; only what is weir's own of it is removed. What the operator configured
// stays too.
//
// Each queue of a lane that has several is looked at as if it were a lane. With the one of
// the lane's name goes what it is governed by, so that one stays as long as any other holds
// anything.
func Sweep(ctx context.Context, rdb redis.UniversalClient, id string, log *slog.Logger) {
	s := newSweeper(rdb, id, log)
	first := sweepEvery/2 + rand.N(sweepEvery) // not all at once
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := s.turn(ctx); err != nil && ctx.Err() == nil {
			log.Debug("removing idle lanes", "err", err)
		}
		timer.Reset(sweepEvery)
	}
}

type sweeper struct {
	rdb redis.UniversalClient
	id  string
	log *slog.Logger

	own, governed    cursor
	seen             map[string]calm
	idleFor, watched time.Duration
}

// calm is since when a lane was found empty, with as much done in it.
type calm struct {
	since time.Time // by Redis' clock
	done  string
}

// cursor goes through a set, a part of it in each round.
type cursor struct {
	key string
	at  uint64
}

func newSweeper(rdb redis.UniversalClient, id string, log *slog.Logger) *sweeper {
	return &sweeper{
		rdb: rdb, id: id, log: log, own: cursor{key: queue.Own}, governed: cursor{key: governedKey},
		seen: make(map[string]calm), idleFor: idleFor, watched: watched,
	}
}

// turn does a round if it is this worker's turn. That two take it is harmless.
func (s *sweeper) turn(ctx context.Context) error {
	mine, err := s.rdb.SetNX(ctx, sweeperKey, s.id, sweepTurn).Result()
	if err != nil {
		return fmt.Errorf("take turns: %w", err)
	}
	if !mine {
		who, err := s.rdb.Get(ctx, sweeperKey).Result()
		if err != nil || who != s.id {
			clear(s.seen)
			return err
		}
		s.rdb.PExpire(ctx, sweeperKey, sweepTurn)
	}
	return s.round(ctx)
}

// round looks after the lanes that were removed, then removes further ones.
func (s *sweeper) round(ctx context.Context) error {
	now, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return err
	}
	if err := s.lookAfter(ctx, now); err != nil {
		return err
	}
	own, err := s.part(ctx, &s.own)
	if err != nil {
		return err
	}
	governed, err := s.part(ctx, &s.governed)
	if err != nil {
		return err
	}
	names := append(own, governed...)
	slices.Sort(names)
	idle, err := s.idle(ctx, slices.Compact(names), now)
	if err == nil {
		idle, err = s.wholly(ctx, idle)
	}
	if err != nil || len(idle) == 0 {
		return err
	}
	if err := s.retire(ctx, idle[:min(len(idle), retiredIn)], now); err != nil {
		return err
	}
	return s.lookAfter(ctx, now)
}

// part is the next part of a set.
func (s *sweeper) part(ctx context.Context, c *cursor) (names []string, err error) {
	for len(names) < lookedAt {
		var some []string
		if some, c.at, err = s.rdb.SScan(ctx, c.key, c.at, "", 1000).Result(); err != nil {
			return nil, fmt.Errorf("list %s: %w", c.key, err)
		}
		names = append(names, some...)
		if c.at == 0 {
			break
		}
	}
	return names, nil
}

// idle are those of lanes that have been empty for long, with nothing done in them.
func (s *sweeper) idle(ctx context.Context, names []string, now time.Time) (idle []string, err error) {
	empty, err := queue.Empty(ctx, s.rdb, names)
	if err != nil {
		return nil, err
	}
	for chunk := range slices.Chunk(empty, 500) {
		pipe := s.rdb.Pipeline()
		done := make([]*redis.StringCmd, len(chunk))
		for i, name := range chunk {
			done[i] = pipe.Get(ctx, queue.Processed(name))
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, name := range chunk {
			if err := done[i].Err(); err != nil && err != redis.Nil {
				return nil, fmt.Errorf("look at lane %q: %w", name, err)
			}
			before, known := s.seen[name]
			if !known || before.done != done[i].Val() {
				s.seen[name] = calm{now, done[i].Val()}
			} else if now.Sub(before.since) >= s.idleFor {
				idle = append(idle, name)
			}
		}
	}
	for _, name := range names {
		if _, is := slices.BinarySearch(empty, name); !is {
			delete(s.seen, name)
		}
	}
	return idle, nil
}

// wholly leaves out the lanes that have other queues with anything in them: those are
// removed one by one, the lane's own with what it is governed by when all are empty.
func (s *sweeper) wholly(ctx context.Context, idle []string) ([]string, error) {
	if len(idle) == 0 {
		return nil, nil
	}
	known, err := queue.Known(ctx, s.rdb)
	if err != nil {
		return nil, err
	}
	queues := queue.ByLane(known)
	var others []string
	for _, name := range idle {
		for _, of := range queues[name] {
			if of != name {
				others = append(others, of)
			}
		}
	}
	slices.Sort(others)
	empty, err := queue.Empty(ctx, s.rdb, others)
	if err != nil {
		return nil, err
	}
	busy := queue.ByLane(slices.DeleteFunc(others, func(of string) bool { _, is := slices.BinarySearch(empty, of); return is }))
	return slices.DeleteFunc(idle, func(name string) bool { return len(busy[name]) > 0 }), nil
}

// retire removes lanes, unless something has happened in them.
func (s *sweeper) retire(ctx context.Context, names []string, now time.Time) error {
	ours, err := s.ours(ctx, names)
	if err != nil {
		return err
	}
	removed := 0
	for _, name := range names {
		delete(s.seen, name)
		gone, err := s.forget(ctx, name, ours[name])
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		if ours[name] {
			// Noted first, so that whatever ends this half way, somebody looks after it.
			// Own before All: who is told that the queue is new notes it as its own.
			if err := s.rdb.ZAdd(ctx, retiredKey, redis.Z{Score: float64(now.Unix()), Member: name}).Err(); err != nil {
				return err
			}
			if err := s.rdb.SRem(ctx, queue.Own, name).Err(); err != nil {
				return err
			}
			if err := s.rdb.SRem(ctx, queue.All, name).Err(); err != nil {
				return err
			}
		}
		if err := s.rdb.SRem(ctx, governedKey, name).Err(); err != nil {
			return err
		}
		removed++
	}
	if removed > 0 {
		s.log.Debug("lanes that were idle are removed", "lanes", removed)
	}
	return nil
}

// ours says which of lanes nobody but weir enqueues in.
func (s *sweeper) ours(ctx context.Context, names []string) (map[string]bool, error) {
	members := make([]any, len(names))
	for i, name := range names {
		members[i] = name
	}
	own, err := s.rdb.SMIsMember(ctx, queue.Own, members...).Result()
	if err != nil {
		return nil, err
	}
	shared, err := s.rdb.SMIsMember(ctx, queue.Shared, members...).Result()
	if err != nil {
		return nil, err
	}
	ours := make(map[string]bool)
	for i, name := range names {
		ours[name] = own[i] && !shared[i]
	}
	return ours, nil
}

// forget removes a lane's own keys, if it is still empty and idle.
func (s *sweeper) forget(ctx context.Context, name string, ours bool) (bool, error) {
	keys := append(governor.Keys(name), queue.Processed(name), queue.Failed(name))
	counters := 0
	if ours {
		counters = 1
	}
	most := strconv.FormatInt((governor.Keep - s.idleFor).Milliseconds(), 10)
	gone, err := retireScript.Run(ctx, s.rdb, append(keys, queue.Holdings(name)...), most, counters).Bool()
	if err != nil && err != redis.Nil {
		return false, fmt.Errorf("remove lane %q: %w", name, err)
	}
	return gone, nil
}

// lookAfter puts removed lanes that have anything again back into the lists.
func (s *sweeper) lookAfter(ctx context.Context, now time.Time) error {
	retired, err := s.rdb.ZRangeWithScores(ctx, retiredKey, 0, -1).Result()
	if err != nil || len(retired) == 0 {
		return err
	}
	names := make([]string, len(retired))
	var over []any
	for i, z := range retired {
		names[i], _ = z.Member.(string)
		if now.Unix()-int64(z.Score) > int64(s.watched.Seconds()) {
			over = append(over, names[i])
		}
	}
	empty, err := queue.Empty(ctx, s.rdb, names)
	if err != nil {
		return err
	}
	var back []any
	for _, name := range names {
		if !slices.Contains(empty, name) {
			back = append(back, name)
		}
	}
	if len(back) > 0 {
		if err := s.rdb.SAdd(ctx, queue.All, back...).Err(); err != nil {
			return err
		}
		if err := s.rdb.SAdd(ctx, queue.Own, back...).Err(); err != nil {
			return err
		}
		s.log.Debug("lanes that were removed have tasks again", "lanes", len(back))
	}
	if gone := append(back, over...); len(gone) > 0 {
		return s.rdb.ZRem(ctx, retiredKey, gone...).Err()
	}
	return nil
}
