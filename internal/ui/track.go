package ui

import (
	"math"
	"time"
)

const (
	// trackMost is how many samples are kept: five minutes of them.
	trackMost = 300
	// rateOver is what rates are smoothed over.
	rateOver = 5 * time.Second
	// trackGap is a time without samples over which no rate is told: nobody looked.
	trackGap = 30 * time.Second
)

// sample is how something was at one moment. What it is of says what the values are.
type sample struct {
	at     time.Time
	count  int64 // of what ended, in all
	values [5]float64
}

// track is a history of samples, for plots and rates. It never changes: pages read it while
// the next one is made. One that is nil has none.
type track struct{ samples []sample }

// with is the history with one more sample, of the latest so many. Only the latest one of a
// history is continued: where it has room, both have the same samples in memory.
func (t *track) with(s sample, most int) *track {
	var last []sample
	if t != nil {
		last = t.samples[max(0, len(t.samples)+1-most):]
	}
	if len(last) == cap(last) {
		last = append(make([]sample, 0, len(last)+1+most/10), last...)
	}
	return &track{append(last, s)}
}

// rate is how many a second have ended of late; NaN as long as that cannot be told.
func (t *track) rate() float64 {
	if len(t.samples) == 0 {
		return math.NaN()
	}
	return t.rateAt(len(t.samples)-1, rateOver)
}

// rateAt is the rate at a sample, over a span before it.
func (t *track) rateAt(i int, over time.Duration) float64 {
	from := i
	for from > 0 && t.samples[i].at.Sub(t.samples[from].at) < over && t.samples[from].at.Sub(t.samples[from-1].at) < trackGap {
		from--
	}
	span := t.samples[i].at.Sub(t.samples[from].at)
	if span < 100*time.Millisecond {
		return math.NaN()
	}
	// Counts go back when Redis has lost its last second; a rate does not.
	return float64(max(0, t.samples[i].count-t.samples[from].count)) / span.Seconds()
}

// series are columns of numbers over time, for a plot; null is nothing known.
type series map[string][]*float64

// series gives the times, the rate, and values by their names.
func (t *track) series(names ...string) series {
	s := series{}
	for i := range t.samples {
		at := t.samples[i]
		s.append("t", float64(at.at.UnixMilli()))
		s.append("rate", t.rateAt(i, time.Second))
		for k, name := range names {
			s.append(name, at.values[k])
		}
	}
	return s
}

func (s series) append(name string, v float64) { s[name] = append(s[name], orNull(v)) }

// orNull is a number, or null in JSON, which has no NaN.
func orNull(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	v = math.Round(v*1000) / 1000
	return &v
}

// recent are the last values of one column, for a small plot.
func (t *track) recent(k, most int) []*float64 {
	samples := t.samples[max(0, len(t.samples)-most):]
	all := make([]*float64, len(samples))
	for i := range samples {
		all[i] = orNull(samples[i].values[k])
	}
	return all
}
