package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDecide(t *testing.T) {
	t.Parallel()
	hourly, second := "0 * * * *", "@every 1s"
	for _, c := range []struct {
		name, cron string
		due, now   string
		missed     Missed
		most       int
		late       time.Duration
		run, next  string // "" is none
		skipped    bool
	}{
		{"not yet", hourly, "2026-11-22 03:00:00", "2026-11-22 02:59:59", All, 9, grace, "", "2026-11-22 03:00:00", false},
		{"due", hourly, "2026-11-22 03:00:00", "2026-11-22 03:00:00", Skip, 9, grace, "2026-11-22 03:00:00", "2026-11-22 04:00:00", false},
		{"late, and not missed", hourly, "2026-11-22 03:00:00", "2026-11-22 03:01:00", Skip, 9, grace, "2026-11-22 03:00:00", "2026-11-22 04:00:00", false},
		{"missed: skip", hourly, "2026-11-22 03:00:00", "2026-11-22 05:30:00", Skip, 9, grace, "", "2026-11-22 06:00:00", true},
		{"missed: once", hourly, "2026-11-22 03:00:00", "2026-11-22 05:30:00", Once, 9, grace, "2026-11-22 05:00:00", "2026-11-22 06:00:00", true},
		{"missed: all", hourly, "2026-11-22 03:00:00", "2026-11-22 05:30:00", All, 9, grace, "2026-11-22 03:00:00", "2026-11-22 04:00:00", false},
		{"missed: all, of too many", hourly, "2026-01-01 00:00:00", "2026-11-22 05:30:00", All, 2, grace, "2026-11-22 04:00:00", "2026-11-22 05:00:00", true},
		{"after a failover of 10 s", second, "2026-11-22 03:00:00", "2026-11-22 03:00:10", Once, 1, grace, "2026-11-22 03:00:00", "2026-11-22 03:00:01", false},
		{"after a year: once", second, "2026-11-22 03:00:00", "2027-11-22 03:00:00", Once, 1, grace, "2027-11-22 02:58:59", "2027-11-22 02:59:00", true},
		{"after a year: skip", "@every 7s", "2026-11-22 03:00:00", "2026-11-22 03:10:00", Skip, 1, grace, "", "2026-11-22 03:09:06", true},
		{"while one went on: once", second, "2026-11-22 03:00:00", "2026-11-22 03:00:05", Once, 1, 0, "2026-11-22 03:00:04", "2026-11-22 03:00:05", true},
		{"while one went on: skip", second, "2026-11-22 03:00:00", "2026-11-22 03:00:05", Skip, 1, 0, "", "2026-11-22 03:00:05", true},
	} {
		s, err := parse(c.cron, "UTC")
		if err != nil {
			t.Fatal(err)
		}
		p := s.decide(at(c.due), at(c.now), c.missed, c.most, c.late)
		run := ""
		if !p.run.IsZero() {
			run = p.run.Format(time.DateTime)
		}
		if run != c.run || p.next.Format(time.DateTime) != c.next || p.skipped != c.skipped {
			t.Errorf("%s: run %q, next %v, skipped %v", c.name, run, p.next, p.skipped)
		}
	}
}

// Decided step by step, whatever the policy, the runs are due times, in order, each once;
// those that nobody missed are all there.
func TestDecideLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{"@every 7s", "*/13 * * * * *", "* * * * *", "0 0 1 * *"} {
		for _, missed := range []Missed{Skip, Once, All} {
			s, err := parse(expr, "Europe/Berlin")
			if err != nil {
				t.Fatal(err)
			}
			start := at("2026-03-28 22:00:00") // the clocks go forward that night
			next, now, ran := s.next(start), start, map[string]bool{}
			last := start
			for i := range 400 {
				now = now.Add(time.Duration(1+i%50) * time.Second)
				for !next.After(now) {
					p := s.decide(next, now, missed, 1000, grace)
					if !p.next.After(next) {
						t.Fatalf("%s %s: it stays at %v", expr, missed, next)
					}
					if !p.run.IsZero() {
						if ran[p.run.String()] || !p.run.After(last) {
							t.Fatalf("%s %s: %v again", expr, missed, p.run)
						}
						ran[p.run.String()], last = true, p.run
					}
					next = p.next
				}
			}
			want := 0
			for at := s.next(start); !at.After(now); at = s.next(at) {
				want++
			}
			if len(ran) != want {
				t.Errorf("%s %s: %d runs of %d", expr, missed, len(ran), want)
			}
		}
	}
}

func TestTimeZonesAndTheirChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ expr, zone, from, want string }{
		{"0 3 * * *", "Europe/Berlin", "2026-07-01 00:00:00", "2026-07-01 01:00:00"},
		{"0 3 * * *", "Europe/Berlin", "2026-12-01 00:00:00", "2026-12-01 02:00:00"},
		{"30 2 * * *", "Europe/Berlin", "2026-03-28 12:00:00", "2026-03-30 00:30:00"}, // no such time on the 29th
	} {
		s, err := parse(c.expr, c.zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.next(at(c.from)); !got.Equal(at(c.want)) {
			t.Errorf("%v: %v", c, got)
		}
	}
}

func TestWhatIsNoSchedule(t *testing.T) {
	t.Parallel()
	good := Schedule{Name: "s", Cron: "@daily", Zone: "UTC", Missed: Once, Most: 1}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Schedule){
		"name":                 func(s *Schedule) { s.Name = "A b" },
		"five fields":          func(s *Schedule) { s.Cron = "* * *" },
		"no such time":         func(s *Schedule) { s.Cron = "0 0 31 2 *" },
		"by --tz":              func(s *Schedule) { s.Cron = "CRON_TZ=UTC * * * * *" },
		"Mars/Base":            func(s *Schedule) { s.Zone = "Mars/Base" },
		"Local":                func(s *Schedule) { s.Zone = "Local" },
		"skip, once or all":    func(s *Schedule) { s.Missed = "never" },
		"from 1 to":            func(s *Schedule) { s.Most = MaxMost + 1 },
		"cron expression \"\"": func(s *Schedule) { s.Cron = "" },
	} {
		s := good
		change(&s)
		if err := s.validate(); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
