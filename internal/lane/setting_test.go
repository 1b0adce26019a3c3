package lane

import (
	"fmt"
	"maps"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

func TestWeights(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		want := func(want map[string]int) {
			t.Helper()
			if got, err := Weights(ctx, c); !maps.Equal(got, want) || err != nil {
				t.Errorf("weights %v, %v; want %v", got, err, want)
			}
		}
		want(nil)
		for name, n := range map[string]int{"a": 3, "b": 1, "c": MaxWeight} {
			if err := SetWeight(ctx, c, name, n); err != nil {
				t.Error(err)
			}
		}
		want(map[string]int{"a": 3, "c": 100})
		for _, n := range []int{0, -1, 101} {
			if err := SetWeight(ctx, c, "a", n); err == nil {
				t.Errorf("weight %d is taken", n)
			}
		}
		// A lane that only weighs something is one, and not governed for it.
		o, err := Get(ctx, c, "a")
		if err != nil || o.Weight != 3 || o.Governed != nil {
			t.Errorf("lane a is %+v, %v", o, err)
		}
		if names, err := Announced(ctx, c); len(names) > 0 || err != nil {
			t.Errorf("governed are %v, %v", names, err)
		}
		if all, err := List(ctx, c); fmt.Sprint(namesOf(all)) != "[a c]" || err != nil {
			t.Errorf("lanes %v, %v", namesOf(all), err)
		}
		if err := SetWeight(ctx, c, "a", 1); err != nil {
			t.Error(err)
		}
		c.HSet(ctx, weight.key, "newer", "7.5", "huge", 1000)
		want(map[string]int{"c": 100})
		if _, err := Get(ctx, c, "a"); err == nil {
			t.Error("lane a is still one")
		}
	})
}

// Tasks of all priorities are in a lane's backlog, and the oldest of them counts.
func TestAnOverviewHasAllPriorities(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		now := c.Time(ctx).Val()
		for i, p := range queue.Priorities {
			id := p.String()
			c.LPush(ctx, p.List("a"), "later", id)
			c.LMove(ctx, p.List("a"), p.List("a"), "LEFT", "RIGHT")
			c.HSet(ctx, queue.TaskPrefix("a")+id, "pending_since", now.UnixNano()-int64(i+1)*1e11)
		}
		introduced(t, c, "a")
		o, err := Get(ctx, c, "a")
		if err != nil || o.Pending != 6 || o.Oldest.Seconds() < 300 || o.Oldest.Seconds() > 330 || o.Weight != 1 {
			t.Errorf("lane a is %+v, %v", o, err)
		}
		s, err := Demands(ctx, c, Cluster{}, nil)
		if err != nil || s.Backlog != 6 || s.Wanted != 1 || s.Oldest < 300 {
			t.Errorf("signal %+v, %v", s, err)
		}
	})
}
