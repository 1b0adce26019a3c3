package governor

import (
	"math"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Whatever a worker reports, the script takes it and keeps the lane within its bounds; and
// so it does afterwards.
func FuzzReport(f *testing.F) {
	f.Add("w", int64(0), 10, 3, 20, 5, 0.1, 0.02, int64(0), int64(0), -1, int64(0))
	f.Add("w {x} \x00", int64(-7), math.MaxInt32, -1, math.MinInt32, 1<<30, 1e300, 1e-300, int64(math.MaxInt64), int64(-1), 1<<40, int64(time.Hour))
	f.Add("", int64(1)<<60, 0, 0, 0, 0, 0.0, 0.0, int64(time.Second), int64(time.Millisecond), 0, int64(1))
	c := conntest.Mini(f)
	f.Fuzz(func(t *testing.T, worker string, epoch int64, wants, inFlight, slots, answered int, took, spread float64,
		retryAfter, age int64, remaining int, reset int64) {
		c.FlushAll(t.Context())
		r := Report{
			Worker: worker, Epoch: epoch, Wants: abs(wants), InFlight: abs(inFlight), Slots: abs(slots), Answered: abs(answered), Refused: abs(slots),
			RetryAfter: time.Duration(retryAfter), Age: time.Duration(age), Remaining: remaining, Reset: time.Duration(reset),
		}
		for _, latency := range []float64{took, took + spread} {
			r.Samples.Add(time.Duration(min(math.Abs(latency), 1e6) * float64(time.Second)))
		}
		now := 1e9
		for _, r := range []Report{r, r, {Worker: "other", Wants: 5, Slots: 5, Remaining: -1}} {
			g, err := syncAt(t.Context(), c, "x", r, now)
			if err != nil {
				t.Fatalf("%+v: %v", r, err)
			}
			if g.Permits < 0 || g.Limit < 0 || g.Wait < 0 || g.Interval <= 0 || g.Lease <= 0 || g.Rate < 0 || g.Share < 0 || g.Tokens < -1 {
				t.Errorf("%+v gets %+v", r, g)
			}
			now += g.Interval.Seconds()
		}
		if _, _, err := Look(t.Context(), c, "x"); err != nil {
			t.Error(err)
		}
	})
}

// abs is n without its sign: no worker counts below 0, nor beyond a million.
func abs(n int) int { return int(math.Abs(float64(n))) % 1_000_000 }
