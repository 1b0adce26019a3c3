package lane

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// eager is a sweeper that takes a lane for idle at the second look.
func eager(c redis.UniversalClient) *sweeper {
	s := newSweeper(c, "sweeper", slog.New(slog.DiscardHandler))
	s.idleFor = 0
	return s
}

func (s *sweeper) rounds(t *testing.T, n int) {
	t.Helper()
	for range n {
		if err := s.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// make a lane as a producer does, with nothing in it.
func introduced(t *testing.T, c redis.UniversalClient, names ...string) {
	t.Helper()
	if err := Announce(t.Context(), c, names...); err != nil {
		t.Fatal(err)
	}
	if err := queue.Publish(t.Context(), c, names...); err != nil {
		t.Fatal(err)
	}
}

func members(t *testing.T, c redis.UniversalClient, key string) []string {
	t.Helper()
	names, err := c.SMembers(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// Of a lane that is idle and empty nothing stays but what the operator wants of it; of one
// in use everything does, whatever it is that is in it.
func TestSweepRemovesWhatIsIdleAndEmpty(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		holders := map[string]func(lane string){
			"pending":   func(l string) { c.LPush(ctx, queue.Pending(l), "x") },
			"high":      func(l string) { c.LPush(ctx, queue.High.List(l), "x") },
			"low":       func(l string) { c.LPush(ctx, queue.Low.List(l), "x") },
			"active":    func(l string) { c.LPush(ctx, queue.Active(l), "x") },
			"lease":     func(l string) { c.ZAdd(ctx, queue.Lease(l), redis.Z{Member: "x"}) },
			"scheduled": func(l string) { c.ZAdd(ctx, queue.Scheduled(l), redis.Z{Member: "x"}) },
			"retry":     func(l string) { c.ZAdd(ctx, queue.Retry(l), redis.Z{Member: "x"}) },
			"archived":  func(l string) { c.ZAdd(ctx, queue.Archived(l), redis.Z{Member: "x"}) },
			"completed": func(l string) { c.ZAdd(ctx, queue.Completed(l), redis.Z{Member: "x"}) },
			"groups":    func(l string) { c.SAdd(ctx, queue.Groups(l), "x") },
			"paused":    func(l string) { c.Set(ctx, queue.Paused(l), 1, 0) },
			"aside":     func(l string) { c.LPush(ctx, queue.Quarantine(l), "x") },
		}
		var kept []string
		for name, hold := range holders {
			introduced(t, c, name)
			hold(name)
			kept = append(kept, name)
		}
		slices.Sort(kept)
		introduced(t, c, "idle", "configured")
		if _, err := governor.Sync(ctx, c, "idle", governor.Report{Worker: "w", Wants: 1, Slots: 1, Remaining: -1}); err != nil {
			t.Fatal(err)
		}
		c.IncrBy(ctx, queue.Processed("idle"), 7)
		c.IncrBy(ctx, queue.Failed("idle"), 1)
		if err := governor.Configure(ctx, c, "configured", governor.Config{Rate: 3}); err != nil {
			t.Fatal(err)
		}
		eager(c).rounds(t, 3)
		for _, key := range []string{queue.All, queue.Own, governedKey} {
			if got := members(t, c, key); !slices.Equal(got, kept) {
				t.Errorf("%s has %v, want %v", key, got, kept)
			}
		}
		for _, name := range []string{"idle", "configured"} {
			for _, key := range append(governor.Keys(name), queue.Processed(name), queue.Failed(name)) {
				if n := c.Exists(ctx, key).Val(); n != 0 {
					t.Errorf("%s is left", key)
				}
			}
		}
		if conf, err := governor.LoadConfig(ctx, c, "configured"); err != nil || conf.Rate != 3 {
			t.Errorf("the operator's %+v, %v", conf, err)
		}
	})
}

// What is done between two looks, or reported, shows that a lane is in use, however empty
// it is found.
func TestSweepKeepsWhatIsUsed(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		introduced(t, c, "busy", "reported", "quiet")
		s := newSweeper(c, "sweeper", slog.New(slog.DiscardHandler))
		s.idleFor = 2 * time.Second
		for range 5 {
			s.rounds(t, 1)
			c.Incr(ctx, queue.Processed("busy"))
			if _, err := governor.Sync(ctx, c, "reported", governor.Report{Worker: "w", Slots: 1, Remaining: -1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(700 * time.Millisecond)
		}
		s.rounds(t, 1)
		if got := members(t, c, queue.All); !slices.Equal(got, []string{"busy", "reported"}) {
			t.Errorf("left are %v", got)
		}
	})
}

// An asynq client makes its queue known once and then relies on it: such a queue stays in
// asynq's list, also where weir was the first to make it.
func TestSweepLeavesOthersTheirQueues(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		client := asynq.NewClientFromRedisClient(c)
		enqueue := func(lane, id string) {
			if _, err := client.Enqueue(asynq.NewTask("x", nil), asynq.Queue(lane), asynq.TaskID(id)); err != nil {
				t.Fatal(err)
			}
		}
		enqueue("theirs", "1")
		introduced(t, c, "theirs", "both")
		enqueue("both", "1")
		if err := queue.Share(ctx, c, "both"); err != nil { // as the gate does with their first task
			t.Fatal(err)
		}
		inspector := asynq.NewInspectorFromRedisClient(c)
		for _, lane := range []string{"theirs", "both"} {
			if _, err := inspector.DeleteAllPendingTasks(lane); err != nil {
				t.Fatal(err)
			}
		}
		eager(c).rounds(t, 3)
		if got := members(t, c, governedKey); len(got) != 0 {
			t.Errorf("governed are %v", got)
		}
		enqueue("theirs", "2")
		enqueue("both", "2")
		if got := members(t, c, queue.All); !slices.Equal(got, []string{"both", "theirs"}) {
			t.Errorf("asynq knows %v", got)
		}
	})
}

// late is a client that lets something happen between two of the sweeper's calls.
type late struct {
	redis.UniversalClient
	before func(ctx context.Context, command, key string)
}

func (l *late) SRem(ctx context.Context, key string, members ...any) *redis.IntCmd {
	l.before(ctx, "srem", key)
	return l.UniversalClient.SRem(ctx, key, members...)
}

// A task that comes at any moment of the removal is found: the lane is in the lists again
// by the next round at the latest. So it is where the sweeper dies at that moment.
func TestSweepMendsALostRace(t *testing.T) {
	for _, at := range []string{queue.Own, queue.All, governedKey, "afterwards"} {
		for _, dies := range []bool{false, true} {
			t.Run(strings.ReplaceAll(fmt.Sprintf("%s dies %v", at, dies), ":", " "), func(t *testing.T) {
				conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
					introduced(t, c, "a", "b")
					ctx, die := context.WithCancel(t.Context())
					defer die()
					push := func() { c.LPush(t.Context(), queue.Pending("a"), "x") }
					done := false
					s := eager(&late{c, func(_ context.Context, _, key string) {
						if key == at && !done {
							done = true
							push()
							if dies {
								die()
							}
						}
					}})
					for range 2 {
						if err := s.round(ctx); err != nil && ctx.Err() == nil {
							t.Fatal(err)
						}
					}
					if at == "afterwards" {
						push()
					} else if !done {
						t.Fatal("nothing happened")
					}
					eager(c).rounds(t, 1) // another worker's
					if got := members(t, c, queue.All); !slices.Contains(got, "a") {
						t.Errorf("asynq knows %v", got)
					}
					c.Del(t.Context(), queue.Pending("a"))
					s = eager(c)
					s.watched = -time.Second
					s.rounds(t, 4)
					if n := c.ZCard(t.Context(), retiredKey).Val(); n != 0 {
						t.Errorf("%d lanes are looked after for ever", n)
					}
				})
			})
		}
	}
}

// Producers that use lanes again and again, and a sweeper that removes them as soon as they
// are empty: no task is left in a lane that nobody knows of.
func TestSweepBesideProducers(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		var all sync.WaitGroup
		lost := make([]string, 0)
		var mu sync.Mutex
		for p := range 4 {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					name := fmt.Sprintf("lane-%d", (p+n)%3)
					introduced(t, c, name)
					c.LPush(t.Context(), queue.Pending(name), "x")
					if n%5 == 0 {
						c.RPop(t.Context(), queue.Pending(name)) // a worker was quick
						c.RPop(t.Context(), queue.Pending(name))
					}
				}
			})
		}
		all.Go(func() {
			s := eager(c)
			for ctx.Err() == nil {
				s.rounds(t, 1)
				for i := range 3 {
					c.Del(t.Context(), queue.Pending(fmt.Sprintf("lane-%d", i)))
				}
			}
		})
		all.Wait()
		eager(c).rounds(t, 1)
		listed := members(t, c, queue.All)
		for i := range 3 {
			name := fmt.Sprintf("lane-%d", i)
			if c.Exists(t.Context(), queue.Pending(name)).Val() == 1 && !slices.Contains(listed, name) {
				mu.Lock()
				lost = append(lost, name)
				mu.Unlock()
			}
		}
		if len(lost) > 0 {
			t.Errorf("%v have tasks, and asynq knows %v", lost, listed)
		}
	})
}

// One worker sweeps, and another when that one is gone.
func TestSweepersTakeTurns(t *testing.T) {
	c := conntest.Mini(t)
	introduced(t, c, "idle")
	a, b := eager(c), eager(c)
	b.id = "other"
	for range 3 {
		if err := b.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Expire(t.Context(), sweeperKey, time.Hour)
		if err := a.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.seen) != 0 || len(members(t, c, queue.All)) != 0 {
		t.Errorf("%v sweeps too, left are %v", a.seen, members(t, c, queue.All))
	}
	c.Del(t.Context(), sweeperKey)
	introduced(t, c, "idle")
	if err := a.turn(t.Context()); err != nil || len(a.seen) != 1 {
		t.Errorf("%v, it has seen %v", err, a.seen)
	}
}
