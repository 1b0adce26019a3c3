package lane

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// More lanes than one pipeline takes are each seen with what is theirs.
func TestManyLanesAreSeen(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		const lanes = 1100
		governed := func(i int) bool { return i%3 == 0 && i > lanes-100 } // few, so that no lease ends meanwhile
		for i := range lanes {
			name := fmt.Sprintf("host-%04d", i)
			c.SAdd(t.Context(), queue.All, name)
			if governed(i) {
				if _, err := governor.Sync(t.Context(), c, name, governor.Report{Worker: "w", Wants: 1, InFlight: i % 5, Slots: 10}); err != nil {
					t.Fatal(err)
				}
			}
			if i%7 == 0 {
				if err := governor.Configure(t.Context(), c, name, governor.Config{Max: i + 1}); err != nil {
					t.Fatal(err)
				}
			}
		}
		all, err := List(t.Context(), c)
		if err != nil || len(all) != lanes {
			t.Fatalf("%d lanes, %v", len(all), err)
		}
		for i, o := range all {
			if o.Name != fmt.Sprintf("host-%04d", i) {
				t.Fatalf("lane %d is %s", i, o.Name)
			}
			if is := o.Governed != nil; is != governed(i) || is && o.Governed.InFlight != i%5 {
				t.Errorf("%s: governed %+v", o.Name, o.Governed)
			}
			if configured := i%7 == 0; configured && o.Config.Max != i+1 || !configured && o.Config != (governor.Config{}) {
				t.Errorf("%s: configured %+v", o.Name, o.Config)
			}
		}
	})
}

// What is wrong with one lane's record is told of that lane, and the others are seen.
func TestBrokenLanesDoNotHideOthers(t *testing.T) {
	c, ctx := conntest.Server(t).Client(), t.Context()
	broken := map[string]func() error{
		"a-number":  func() error { return c.HSet(ctx, "weir:{a-number}:flow:config", "rate", "abc").Err() },
		"b-type":    func() error { return c.Set(ctx, "weir:{b-type}:flow:config", "1", 0).Err() },
		"c-newer":   func() error { return c.HSet(ctx, "weir:{c-newer}:flow:config", "format", "9").Err() },
		"d-garbage": func() error { return c.Set(ctx, "weir:{d-garbage}:flow", "garbage", 0).Err() },
		"e-type":    func() error { return c.LPush(ctx, "weir:{e-type}:flow", "1").Err() },
	}
	for name, damage := range broken {
		c.SAdd(ctx, queue.All, name)
		if err := damage(); err != nil {
			t.Fatal(err)
		}
	}
	c.SAdd(ctx, queue.All, "healthy")
	if err := governor.Configure(ctx, c, "healthy", governor.Config{Max: 3}); err != nil {
		t.Fatal(err)
	}
	all, err := List(ctx, c)
	if err != nil || len(all) != len(broken)+1 {
		t.Fatalf("%d lanes, %v", len(all), err)
	}
	for _, o := range all {
		if _, is := broken[o.Name]; is != (o.Err != nil) || is && !strings.Contains(o.Waits(), "producer lane "+o.Name) {
			t.Errorf("%s: %v; waits for %q", o.Name, o.Err, o.Waits())
		}
	}
	if _, err := Demands(ctx, c, Cluster{}, nil); err != nil {
		t.Error(err)
	}
}
