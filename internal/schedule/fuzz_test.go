package schedule

import (
	"testing"
	"time"
)

// A cron expression is refused, or its due times go on for ever and in order, in any zone,
// and what is to be done after years of absence is decided at once.
func FuzzCron(f *testing.F) {
	for _, c := range [][2]string{
		{"0 * * * *", "UTC"}, {"*/7 1-5,8 1,31 2 1-5", "Europe/Berlin"}, {"@every 1s", ""}, {"@every -5s", "UTC"}, {"@every 876000h", "UTC"}, {"@every 1ns", "UTC"},
		{"0 0 30 2 *", "UTC"}, {"0 0 29 2 *", "UTC"}, {"30 2 * * *", "America/New_York"}, {"@reboot", "UTC"}, {"@hourly", "Local"}, {"TZ=UTC * * * * *", "UTC"},
		{"* * * * * *", "UTC"}, {"0-59/0 * * * *", "UTC"}, {"99999999999999999999 * * * *", "UTC"}, {"* * * * *", "../../etc/passwd"}, {"", "\x00"}, {"0 0 * * 7", "Asia/Kolkata"},
	} {
		f.Add(c[0], c[1], int64(1_795_000_000), int64(90_000))
	}
	f.Fuzz(func(t *testing.T, expr, zone string, due, missed int64) {
		if len(expr) > 1000 || len(zone) > 100 {
			return
		}
		s, err := parse(expr, zone)
		if err != nil {
			return
		}
		const year = 365 * 24 * 3600
		last := time.Unix(1_700_000_000+(due%(10*year)+10*year)%(10*year), 0).UTC()
		from := s.next(last)
		for range 3 {
			next := s.next(last)
			if next.IsZero() {
				return
			}
			if !next.After(last) {
				t.Fatalf("%q in %q: after %v comes %v", expr, zone, last, next)
			}
			last = next
		}
		now := from.Add(time.Duration((missed%(2*year)+2*year)%(2*year)) * time.Second)
		for _, policy := range []Missed{Skip, Once, All} {
			began := time.Now()
			p := s.decide(from, now, policy, 3, 0)
			if !p.run.IsZero() && p.run.After(now) || p.next.IsZero() && p.run.IsZero() {
				t.Errorf("%q in %q, due %v, at %v: %+v", expr, zone, from, now, p)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%q in %q, due %v, at %v: that took %v", expr, zone, from, now, took)
			}
		}
	})
}
