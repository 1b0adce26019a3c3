package queue

import (
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestLeasesListsActiveTasks(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		if got, err := Leases(q.ctx, q.c, "x"); err != nil || len(got) != 0 {
			t.Errorf("of an empty lane: %v, %v", got, err)
		}
		for _, id := range []string{"b:1", "b:2", "b:3"} {
			q.add("x", id)
		}
		q.take("x", 2_000_000_001)
		q.take("x", 2_000_000_002)
		q.c.ZRem(q.ctx, Lease("x"), "b:2")                                              // an orphan
		q.c.ZAdd(q.ctx, Lease("x"), redis.Z{Score: 2_000_000_003, Member: "not-there"}) // a lease of nothing
		got, err := Leases(q.ctx, q.c, "x")
		if want := map[string]string{"b:1": "2000000001", "b:2": "", "not-there": "2000000003"}; err != nil || !maps.Equal(got, want) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	})
}

func TestGiveBackComparesTheLease(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "b:1")
		q.add("x", "b:2")
		q.take("x", 2_000_000_001)
		for _, seen := range []string{"", "2000000000", "2000000002", "2e+9", "x"} {
			if back, err := GiveBack(q.ctx, q.c, "x", "b:1", seen); back || err != nil {
				t.Errorf("seen with %q: %v, %v", seen, back, err)
			}
		}
		if back, err := GiveBack(q.ctx, q.c, "x", "b:2", ""); back || err != nil {
			t.Errorf("one that is pending: %v, %v", back, err)
		}
		if got := q.where("x"); got != "pending b:2, active b:1" {
			t.Errorf("%s", got)
		}
		leases, err := Leases(q.ctx, q.c, "x")
		if err != nil {
			t.Fatal(err)
		}
		if back, err := GiveBack(q.ctx, q.c, "x", "b:1", leases["b:1"]); !back || err != nil {
			t.Errorf("as seen: %v, %v", back, err)
		}
		if back, err := GiveBack(q.ctx, q.c, "x", "b:1", leases["b:1"]); back || err != nil {
			t.Errorf("a second time: %v, %v", back, err)
		}
		if left, _ := Leases(q.ctx, q.c, "x"); len(left) != 0 || q.c.ZCard(q.ctx, Lease("x")).Val() != 0 {
			t.Errorf("its lease is still there: %v", left)
		}
		// It is at the head: run next, and asynq knows it as pending.
		if id := q.take("x", someLease); id != "b:1" {
			t.Errorf("next is %s", id)
		}
	})
}

// Redis 7.2 writes a score that ends in many zeros as 1.8e+9, which is in January 2027.
func TestGiveBackOfARoundLease(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "b:1")
		q.take("x", 1_800_000_000)
		leases, err := Leases(q.ctx, q.c, "x")
		if err != nil {
			t.Fatal(err)
		}
		if back, err := GiveBack(q.ctx, q.c, "x", "b:1", leases["b:1"]); !back || err != nil {
			t.Errorf("seen with %q: %v, %v", leases["b:1"], back, err)
		}
	})
}

func TestGiveBackOfATaskWithoutALease(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "b:1")
		q.take("x", someLease)
		q.c.ZRem(q.ctx, Lease("x"), "b:1")
		if back, err := GiveBack(q.ctx, q.c, "x", "b:1", ""); !back || err != nil {
			t.Errorf("%v, %v", back, err)
		}
		if got := q.where("x"); got != "pending b:1" {
			t.Errorf("%s", got)
		}
	})
}

func TestOneOfManyGivesBack(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "b:1")
		q.take("x", 2_000_000_001)
		var backs atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if back, err := GiveBack(q.ctx, q.c, "x", "b:1", "2000000001"); err != nil {
					t.Error(err)
				} else if back {
					backs.Add(1)
				}
			})
		}
		all.Wait()
		if n := q.c.LLen(q.ctx, Pending("x")).Val(); backs.Load() != 1 || n != 1 {
			t.Errorf("given back %d times, %d pending", backs.Load(), n)
		}
	})
}

// A task whose hash is gone would go round for ever, and its
// ID would never be free again.
func TestGiveBackRemovesAGhost(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "b:1")
		q.c.Del(q.ctx, TaskPrefix("x")+"b:1")
		q.take("x", 2_000_000_001) // which makes a hash of a state and nothing else
		if back, err := GiveBack(q.ctx, q.c, "x", "b:1", "2000000001"); back || err != nil {
			t.Errorf("%v, %v", back, err)
		}
		if keys := q.keys("asynq:{x}:*"); len(keys) != 0 {
			t.Errorf("left are %v", keys)
		}
		q.add("x", "b:1")
	})
}
