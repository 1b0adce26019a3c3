package queue

import (
	"strconv"
	"testing"
)

// A lease that weir wrote has its worker's mark; any other has none, or that of a lease
// that is the same number.
func FuzzMark(f *testing.F) {
	for _, lease := range []string{"", "1795000000", "1795000000.5", "-0.25", "NaN", "inf", "1e309", "9223372036854775808.5", "0x1p-20", "1795000000.0000009536743"} {
		f.Add(lease, uint32(1), int64(1_795_000_000))
	}
	f.Fuzz(func(t *testing.T, lease string, mark uint32, seconds int64) {
		if m := MarkOf(lease); m != 0 {
			if end, err := strconv.ParseFloat(lease, 64); err != nil || !m.Owns(end) || m >= 1<<markBits {
				t.Errorf("lease %q has the mark %d", lease, m)
			}
		}
		m := Mark(mark % (1 << markBits))
		seconds &= 1<<32 - 1
		if got := MarkOf(m.Lease(seconds)); got != m {
			t.Errorf("mark %d in second %d: %q has %d", m, seconds, m.Lease(seconds), got)
		}
	})
}
