package lane

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
)

// What is not named stays, 0 takes it away, and what is refused changes nothing.
func TestAChangeLeavesWhatItDoesNotName(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		number := func(n int) *int { return &n }
		rate := 10.0
		for _, step := range []struct {
			change Change
			want   governor.Config
		}{
			{Change{Max: number(9), Rate: &rate, Burst: number(3)}, governor.Config{Max: 9, Rate: 10, Burst: 3}},
			{Change{Min: number(2), Pause: true}, governor.Config{Max: 9, Min: 2, Rate: 10, Burst: 3, Paused: true}},
			{Change{Rate: new(float64)}, governor.Config{Max: 9, Min: 2, Paused: true}}, // a burst goes with its rate
			{Change{Resume: true, Weight: number(5)}, governor.Config{Max: 9, Min: 2}},
			{Change{Max: number(0), Min: number(0)}, governor.Config{}},
		} {
			if err := step.change.Apply(t.Context(), rdb, "svc"); err != nil {
				t.Fatal(err)
			}
			if got, err := governor.LoadConfig(t.Context(), rdb, "svc"); err != nil || got != step.want {
				t.Errorf("got %+v, %v, want %+v", got, err, step.want)
			}
		}
		var refused *RefusedError
		for _, bad := range []Change{{Max: number(1), Min: number(2)}, {Burst: number(1)}, {Weight: number(101)}, {Limit: number(-1)}} {
			if err := bad.Apply(t.Context(), rdb, "svc"); !errors.As(err, &refused) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		weights, err := Weights(t.Context(), rdb)
		if got, _ := governor.LoadConfig(t.Context(), rdb, "svc"); err != nil || got != (governor.Config{}) || weights["svc"] != 5 {
			t.Errorf("after refusals: %+v, weight %d, %v", got, weights["svc"], err)
		}
	})
}

// A reset is of what was learned alone, also where the configuration is broken.
func TestAResetLeavesABrokenConfiguration(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		rdb.HSet(t.Context(), "weir:{svc}:flow:config", "max", "plenty")
		rdb.HSet(t.Context(), "weir:{svc}:flow", "learned", "much")
		if err := (&Change{Reset: true}).Apply(t.Context(), rdb, "svc"); err != nil {
			t.Fatal(err)
		}
		if left := rdb.HGet(t.Context(), "weir:{svc}:flow:config", "max").Val(); left != "plenty" {
			t.Errorf("of the configuration is left %q", left)
		}
		if n := rdb.Exists(t.Context(), "weir:{svc}:flow").Val(); n != 0 {
			t.Error("what was learned is left")
		}
	})
}
