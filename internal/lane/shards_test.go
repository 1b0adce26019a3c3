package lane

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

func TestShardsOfALane(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		for _, n := range []int{0, -1, queue.MaxShards + 1} {
			if err := (&Change{Shards: &n}).Apply(ctx, c, "a"); err == nil {
				t.Errorf("%d shards are taken", n)
			}
		}
		if _, err := Get(ctx, c, "a"); err == nil {
			t.Error("there is a lane a")
		}
		twelve, one := 12, 1
		if err := (&Change{Shards: &twelve}).Apply(ctx, c, "a"); err != nil {
			t.Error(err)
		}
		if o, err := Get(ctx, c, "a"); err != nil || o.Shards != 12 || o.Weight != 1 || o.Line(Cluster{}).Shards != 12 || o.Line(Cluster{}).Queues != 12 {
			t.Errorf("lane a is %+v, %v", o, err)
		}
		if names, err := Announced(ctx, c); len(names) > 0 || err != nil {
			t.Errorf("governed are %v, %v", names, err)
		}
		if all, err := Shards(ctx, c); fmt.Sprint(all) != "map[a:12]" || err != nil {
			t.Errorf("shards %v, %v", all, err)
		}
		if err := (&Change{Shards: &one}).Apply(ctx, c, "a"); err != nil {
			t.Error(err)
		}
		if all, err := List(ctx, c); len(all) > 0 || err != nil {
			t.Errorf("lanes %v, %v", namesOf(all), err)
		}
	})
}

// A lane has what all its queues have, those too that no new tasks go to.
func TestAnOverviewAddsQueuesUp(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		now := c.Time(ctx).Val()
		introduced(t, c, "b")
		queues := queue.Shards("a", 3)
		for i, of := range queues {
			if err := queue.Publish(ctx, c, of); err != nil {
				t.Fatal(err)
			}
			id := fmt.Sprint("t", i)
			c.LPush(ctx, queue.Priorities[i].List(of), id)
			c.HSet(ctx, queue.TaskPrefix(of)+id, "pending_since", now.UnixNano()-int64(i+1)*1e11)
			c.LPush(ctx, queue.Active(of), "r1", "r2")
			c.ZAdd(ctx, queue.Retry(of), redis.Z{Member: "later"})
			c.Set(ctx, queue.Processed(of), 10, 0)
		}
		o, err := Get(ctx, c, "a")
		if err != nil || o.Pending != 3 || o.Active != 6 || o.Later != 3 || o.Ended != 30 || o.Shards != 1 ||
			o.Oldest < 300*time.Second || o.Oldest > 330*time.Second {
			t.Errorf("lane a is %+v, %v", o, err)
		}
		if l := o.Line(Cluster{}); l.Shards != 1 || l.Queues != 3 {
			t.Errorf("it is told to be spread over %d queues and to be in %d", l.Shards, l.Queues)
		}
		slices.Sort(queues)
		if !slices.Equal(o.Queues, queues) {
			t.Errorf("it has queues %v, want %v", o.Queues, queues)
		}
		all, err := List(ctx, c)
		if err != nil || len(all) != 2 || all[0].Pending != 3 || all[1].Pending != 0 || !slices.Equal(all[1].Queues, []string{"b"}) {
			t.Errorf("lanes %v, %v", namesOf(all), err)
		}
		s, err := Demands(ctx, c, Cluster{}, nil)
		if err != nil || s.Backlog != 3 || len(s.Lanes) != 1 || s.Lanes[0].Lane != "a" {
			t.Errorf("signal %+v, %v", s, err)
		}
		if err := Announce(ctx, c, "a", queues[1]); err != nil { // as workers did that knew no shards
			t.Fatal(err)
		}
		if s, err := Demands(ctx, c, Cluster{}, nil); err != nil || s.Backlog != 3 || len(s.Lanes) != 1 {
			t.Errorf("with a queue that was announced as a lane, the signal is %+v, %v", s, err)
		}
		for i, name := range queues {
			c.Del(ctx, queue.Active(name))
			c.Set(ctx, queue.Active(name), "x", 0)
			if o, err := Get(ctx, c, "a"); err != nil || o.Pending != 3 || (o.State() == Broken) != (i == len(queues)-1) {
				t.Errorf("with %d broken queues of %d it is %+v, %v", i+1, len(queues), o, err)
			}
		}
	}
	conntest.Both(t, check)
	t.Run("cluster", func(t *testing.T) { check(t, conntest.Cluster(t, 3).Client()) })
}

// A lane's own queue, and what the lane is governed by, stay as long as any of its queues
// holds anything; then all are removed.
func TestSweepLooksAtAllQueuesOfALane(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		queues := queue.Shards("a", 3)
		introduced(t, c, "a", "b")
		if err := queue.Publish(ctx, c, queues...); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b"} {
			if _, err := governor.Sync(ctx, c, name, governor.Report{Worker: "w", Wants: 1, Slots: 1, Remaining: -1}); err != nil {
				t.Fatal(err)
			}
		}
		c.LPush(ctx, queue.Pending(queues[1]), "x")
		s := eager(c)
		s.rounds(t, 3)
		want := []string{"a", queues[1]}
		slices.Sort(want)
		for _, key := range []string{queue.All, queue.Own} {
			if got := members(t, c, key); !slices.Equal(got, want) {
				t.Errorf("%s has %v, want %v", key, got, want)
			}
		}
		if got := members(t, c, governedKey); !slices.Equal(got, []string{"a"}) {
			t.Errorf("governed are %v", got)
		}
		if n := c.Exists(ctx, governor.Keys("a")[0]).Val(); n != 1 {
			t.Error("the governor of a lane with tasks has forgotten it")
		}
		c.Del(ctx, queue.Pending(queues[1]))
		s.rounds(t, 3)
		for _, key := range []string{queue.All, queue.Own, governedKey} {
			if got := members(t, c, key); len(got) > 0 {
				t.Errorf("%s has %v", key, got)
			}
		}
	})
}
