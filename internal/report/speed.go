package report

import "time"

const (
	speedSpan = 5 * time.Second        // what the rate is smoothed over
	speedStep = 100 * time.Millisecond // between kept samples: bounds their number
)

// speed is outcomes per second over the last five seconds.
type speed struct {
	kept   []sample // oldest first; [0] is the last one at least speedSpan old, if any is
	latest sample
}

type sample struct {
	at   time.Time
	done int64
}

func (s *speed) add(now time.Time, done int64) {
	s.latest = sample{now, done}
	if n := len(s.kept); n == 0 || now.Sub(s.kept[n-1].at) >= speedStep {
		s.kept = append(s.kept, s.latest)
	}
	old := 0
	for old+1 < len(s.kept) && now.Sub(s.kept[old+1].at) >= speedSpan {
		old++
	}
	s.kept = append(s.kept[:0], s.kept[old:]...)
}

// perSecond is the rate; false as long as there is nothing to tell it from.
func (s *speed) perSecond() (float64, bool) {
	if len(s.kept) == 0 {
		return 0, false
	}
	span := s.latest.at.Sub(s.kept[0].at)
	if span < speedStep {
		return 0, false
	}
	// Counts go back when Redis has lost its last second; a rate does not.
	return float64(max(0, s.latest.done-s.kept[0].done)) / span.Seconds(), true
}

// eta is how long the rest will take at this rate; false if that is unknown.
func (s *speed) eta(c Counts) (time.Duration, bool) {
	left := c.Total - c.Done()
	rate, ok := s.perSecond()
	if c.Total < 0 || left <= 0 || !ok || rate <= 0 {
		return 0, false
	}
	secs := max(1, float64(left)/rate)
	if secs > 1e9 { // 30 years: as good as unknown, and a Duration ends at 292
		return 0, false
	}
	return time.Duration(secs * float64(time.Second)), true
}
