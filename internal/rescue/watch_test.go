package rescue

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestWatchScriptUsesWhatItsHeaderNames(t *testing.T) {
	t.Parallel()
	header, body, _ := strings.Cut(watchSrc, "\nlocal ")
	for _, arg := range []string{"KEYS[1]", "KEYS[2]", "ARGV[1]", "ARGV[2]"} {
		if !strings.Contains(header, arg) || !strings.Contains(body, arg) {
			t.Errorf("%s is not in both", arg)
		}
	}
}

func TestTwoWatchALaneAndOneActs(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		all := []*Rescuer{New(c, Options{}), New(c, Options{}), New(c, Options{})}
		want := func(r int, want rank) {
			t.Helper()
			if got, err := all[r].rank(t.Context(), "a"); got != want || err != nil {
				t.Errorf("rescuer %d has rank %v, %v; want %v", r, got, err, want)
			}
		}
		for range 2 {
			want(0, acts)
			want(1, takesOver)
			want(2, bystander)
		}
		if ttl := c.PTTL(t.Context(), "weir:{a}:rescuer").Val(); ttl <= 0 || ttl > watchHeld {
			t.Errorf("a place is kept for %v", ttl)
		}
		c.Del(t.Context(), "weir:{a}:rescuer") // its time is over
		want(1, acts)
		want(0, takesOver)
		want(2, bystander)
	})
}

// The one that takes over has watched all the time.
func TestARescuerThatDiesIsTakenOverFrom(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		lanes := func() []string { return []string{"a"} }
		first, second := r.rescuer(lanes), r.rescuer(lanes)
		r.active("a", "1")
		now := time.Now()
		for s := range 20 {
			at := now.Add(time.Duration(s) * time.Second)
			if s < 10 {
				if err := first.round(r.ctx, at); err != nil {
					t.Fatal(err)
				}
			}
			if s == 13 { // it died at 9, and its place is free 3 s later
				r.FastForward(watchHeld + time.Second)
			}
			if err := second.round(r.ctx, at); err != nil {
				t.Fatal(err)
			}
			if s == 12 {
				r.want(t, 0)
			}
			if s == 13 {
				r.want(t, 1)
			}
		}
	})
}
