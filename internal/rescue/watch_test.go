package rescue

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestOfManyRescuersOneActs(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		first, second := New(c, Options{}), New(c, Options{})
		want := func(r *Rescuer, want bool) {
			t.Helper()
			if got, err := r.acts(t.Context(), "a"); got != want || err != nil {
				t.Errorf("it acts: %v, %v; want %v", got, err, want)
			}
		}
		for range 2 {
			want(first, true)
			want(second, false)
		}
		if ttl := c.PTTL(t.Context(), "weir:{a}:rescuer").Val(); ttl <= 0 || ttl > watchHeld {
			t.Errorf("a place is kept for %v", ttl)
		}
		c.Del(t.Context(), "weir:{a}:rescuer") // its time is over
		want(second, true)
		want(first, false)
	})
}
