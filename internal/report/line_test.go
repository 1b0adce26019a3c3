package report

import (
	"testing"
	"time"
)

func TestPlainLines(t *testing.T) {
	f := newFixture(Options{})
	c := Counts{Read: 1250, OK: 0, Active: 50, Total: 5000, Retries: 3}
	// Four updates a second for 5.25 s, 100 outcomes each.
	for range 21 {
		f.Update(c)
		f.clock.add(250 * time.Millisecond)
		c.OK += 100
	}
	c.Failed = 10
	f.Update(c)
	same(t, f.take(), "batch http-1a2b: 2000/5000 done (40.0%), 400/s, in flight 50, ok 2000, failed 0, retries 3, eta 7s\n")

	f.clock.add(4 * time.Second)
	f.Update(c)
	same(t, f.take(), "")
	f.clock.add(time.Second)
	c.Cancelled = 1
	f.Update(c)
	same(t, f.take(), "batch http-1a2b: 2111/5000 done (42.2%), 0.20/s, in flight 50, ok 2100, failed 10, cancelled 1, retries 3, eta 4h0m\n")
}

func TestPlainLineUnknownTotal(t *testing.T) {
	f := newFixture(Options{Every: time.Second})
	f.clock.add(time.Second)
	f.Update(Counts{Read: 70, OK: 20, Active: 50, Total: -1})
	same(t, f.take(), "batch http-1a2b: 20 done, 70 read, in flight 50, ok 20, failed 0, retries 0\n")
	f.clock.add(time.Second)
	f.Update(Counts{Read: 90, OK: 40, Active: 50, Total: -1})
	same(t, f.take(), "batch http-1a2b: 40 done, 90 read, 20.0/s, in flight 50, ok 40, failed 0, retries 0\n")
}

func TestNotes(t *testing.T) {
	f := newFixture(Options{})
	f.Note("redis: %s, retrying in %s\n", "connection\x1b[31m refused", time.Second)
	f.Note("two\nlines\n")
	same(t, f.take(), "redis: connection?[31m refused, retrying in 1s\ntwo\nlines\n")
}

func TestQuietPrintsNothing(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		f := newFixture(Options{Quiet: true, Terminal: terminal})
		f.Outcome(okOutcome(0), 0)
		f.clock.add(time.Minute)
		f.Update(Counts{Read: 1, OK: 1, Total: 2})
		f.Note("hello")
		f.Summary(Counts{Read: 7}, "failed")
		same(t, f.take(), "")
	}
	New(Options{}).Summary(Counts{}, "done") // no Out: no panic
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{percent(9999, 10000), "99.9%"},
		{percent(99999, 100000), "99.9%"},
		{percent(10000, 10000), "100.0%"},
		{percent(0, 0), "100.0%"},
		{percent(1, 3), "33.3%"},
		{perSecond(0), "0/s"},
		{perSecond(0.05), "0.05/s"},
		{perSecond(49.75), "49.8/s"},
		{perSecond(99.96), "100/s"},
		{perSecond(39800.4), "39800/s"},
		{coarse(9 * time.Second), "9s"},
		{coarse(200 * time.Second), "3m20s"},
		{coarse(2*time.Hour + 5*time.Minute), "2h5m"},
		{coarse(100 * time.Hour), "4d4h"},
		{took(20149 * time.Millisecond), "20.1s"},
		{took(59990 * time.Millisecond), "59.9s"},
		{took(60 * time.Second), "1m0s"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestSpeed(t *testing.T) {
	var s speed
	now := newClock().Now()
	if _, ok := s.perSecond(); ok {
		t.Error("a rate of nothing")
	}
	// A resumed batch: what was there before is not speed.
	s.add(now, 10_000)
	if _, ok := s.perSecond(); ok {
		t.Error("a rate of one sample")
	}
	check := func(want float64) {
		t.Helper()
		if v, ok := s.perSecond(); !ok || v < want*0.98 || v > want*1.02 {
			t.Errorf("rate %v %v, want %v", v, ok, want)
		}
	}
	for i := range 10_000 { // 100 s at 1000/s, asked far too often
		now = now.Add(10 * time.Millisecond)
		s.add(now, 10_000+int64(i+1)*10)
	}
	check(1000)
	if len(s.kept) > 55 {
		t.Errorf("%d samples kept", len(s.kept))
	}
	for range 40 { // stands still for 10 s
		now = now.Add(250 * time.Millisecond)
		s.add(now, 110_000)
	}
	check(0)
	if _, ok := s.eta(Counts{OK: 1, Total: 2}); ok {
		t.Error("an eta while nothing moves")
	}
	now = now.Add(time.Second)
	s.add(now, 109_000) // lost by Redis
	check(0)
	now = now.Add(time.Minute) // a caller that is rarely there
	s.add(now, 115_000)
	check(6000.0 / 61)
}
