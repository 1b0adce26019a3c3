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
		ctx := t.Context()
		governed := func(i int) bool { return i >= lanes-100 && i%10 == 0 }
		config := func(i int) (c governor.Config) {
			if i%7 == 0 {
				c.Max = i + 1
			}
			if governed(i) {
				c.Limit = i / 10
			}
			return c
		}
		for i := range lanes {
			name := fmt.Sprintf("host-%04d", i)
			c.SAdd(ctx, queue.All, name)
			if want := config(i); want != (governor.Config{}) {
				if err := governor.Configure(ctx, c, name, want); err != nil {
					t.Fatal(err)
				}
			}
			if governed(i) {
				report := governor.Report{Worker: "w", Wants: 1, InFlight: i / 10 % 5, Slots: 10}
				if _, err := governor.Sync(ctx, c, name, report); err != nil {
					t.Fatal(err)
				}
			}
		}
		all, err := List(ctx, c)
		if err != nil || len(all) != lanes {
			t.Fatalf("%d lanes, %v", len(all), err)
		}
		for i, o := range all {
			if o.Name != fmt.Sprintf("host-%04d", i) {
				t.Fatalf("lane %d is %s", i, o.Name)
			}
			if is := o.Governed != nil; is != governed(i) || is && o.Governed.Limit != i/10 {
				t.Errorf("%s: governed %+v", o.Name, o.Governed)
			} else if is && o.Governed.Workers > 0 && o.Governed.InFlight != i/10%5 { // the lease may have ended
				t.Errorf("%s: governed %+v", o.Name, o.Governed)
			}
			if o.Config != config(i) {
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
		"f-pending": func() error { return c.Set(ctx, queue.Lists("f-pending")[0], "1", 0).Err() },
		"g-active":  func() error { return c.HSet(ctx, queue.Active("g-active"), "1", "1").Err() },
		"h-retry":   func() error { return c.LPush(ctx, queue.Retry("h-retry"), "1").Err() },
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
		if _, is := broken[o.Name]; is != (o.Err != nil) || is && !strings.Contains(o.Waits(), "producer lane "+o.Name) &&
			!strings.Contains(o.Waits(), "redis-cli") && !strings.Contains(o.Waits(), "update this weir") {
			t.Errorf("%s: %v; waits for %q", o.Name, o.Err, o.Waits())
		}
	}
	if _, err := Demands(ctx, c, Cluster{}, nil); err != nil {
		t.Error(err)
	}
}
