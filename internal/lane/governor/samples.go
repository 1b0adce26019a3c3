package governor

import (
	"math"
	"strconv"
	"time"
)

const (
	// bucketsPerOctave is the histogram's precision: 9%.
	bucketsPerOctave = 8
	shortest         = 100 * time.Microsecond // the first bucket
	buckets          = 200                    // up to about an hour
)

// Samples are latencies: a sparse histogram and the moments, in seconds.
type Samples struct {
	N       int
	Sum     float64
	Squares float64
	counts  map[int]int
}

// Add counts one latency.
func (s *Samples) Add(d time.Duration) {
	x := d.Seconds()
	if s.counts == nil {
		s.counts = make(map[int]int)
	}
	s.counts[bucket(x)]++
	s.N++
	s.Sum += x
	s.Squares += x * x
}

func bucket(x float64) int {
	if x <= shortest.Seconds() {
		return 0
	}
	return min(int(math.Log2(x/shortest.Seconds())*bucketsPerOctave), buckets-1)
}

// String is the histogram as the script reads it.
func (s *Samples) String() string {
	var b []byte
	for i, n := range s.counts {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}
