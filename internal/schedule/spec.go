package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Missed says what becomes of runs that nobody could begin in time.
type Missed string

// What may become of missed runs.
const (
	Skip Missed = "skip" // none is run
	Once Missed = "once" // the last one is
	All  Missed = "all"  // the last Most are
)

// grace is how late a run may begin that is not missed. A lock that ends by itself and a
// daemon that starts again take less.
const grace = time.Minute

// parser takes crontab's five fields, seconds before them if one likes, and @hourly, @every
// 90s and so on.
var parser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// spec is when a schedule is due.
type spec struct {
	cron cron.Schedule
	zone *time.Location
}

func parse(expr, zone string) (*spec, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return nil, fmt.Errorf("time zone %q: must be UTC or a name such as Europe/Berlin", zone)
	}
	if strings.Contains(expr, "TZ=") {
		return nil, fmt.Errorf("cron expression %q: give the time zone by --tz", expr)
	}
	s, err := parser.Parse(expr)
	if err != nil {
		return nil, fmt.Errorf("cron expression %q: %w; it has five fields: minute hour day month weekday, or is @hourly, @every 90s ...", expr, err)
	}
	p := &spec{s, loc}
	if p.next(time.Now()).IsZero() {
		return nil, fmt.Errorf("cron expression %q: there is no such time", expr)
	}
	return p, nil
}

// next is the first due time after t; zero if there is none in the next years.
func (s *spec) next(t time.Time) time.Time { return s.cron.Next(t.In(s.zone)).UTC() }

// every is the period of an @every; 0 of anything else.
func (s *spec) every() time.Duration {
	if c, ok := s.cron.(cron.ConstantDelaySchedule); ok {
		return c.Delay
	}
	return 0
}

// last are the last n due times, in order, from one that is due up to now; and whether
// there were more before. It takes a time that grows with n, not with how long that is.
func (s *spec) last(due, now time.Time, n int) (times []time.Time, more bool) {
	for back := time.Minute; ; back *= 4 {
		from := now.Add(-back)
		all := !from.After(due)
		t := due
		if p := s.every(); !all && p > 0 {
			t = due.Add((from.Sub(due) + p - 1) / p * p)
		} else if !all {
			t = s.next(from)
		}
		times = times[:0]
		for ; !t.After(now) && !t.IsZero(); t = s.next(t) {
			times = append(times, t)
		}
		if all || len(times) > n {
			cut := max(0, len(times)-n)
			return times[cut:], cut > 0 || !all
		}
	}
}

// plan is what to do with what is due.
type plan struct {
	run     time.Time // zero: nothing
	next    time.Time // the first due time that is not decided
	skipped bool      // due times that are not run
}

// decide is the plan of a schedule whose first undecided time is due. late is how late a
// run may be that is not missed.
func (s *spec) decide(due, now time.Time, missed Missed, most int, late time.Duration) plan {
	limit := now.Add(-late)
	switch {
	case due.After(now):
		return plan{next: due}
	case !due.Before(limit):
		return plan{run: due, next: s.next(due)}
	case missed == Skip:
		return plan{next: s.after(due, limit.Add(-1)), skipped: true}
	case missed == Once:
		most = 1
	}
	times, more := s.last(due, limit.Add(-1), most)
	return plan{times[0], s.next(times[0]), more}
}

// after is the first due time after t, from one that is due.
func (s *spec) after(due, t time.Time) time.Time {
	if due.After(t) {
		return due
	}
	if p := s.every(); p > 0 {
		return due.Add((t.Sub(due)/p + 1) * p)
	}
	return s.next(t)
}
