package queue

import (
	"strings"
	"testing"
)

func TestMarksAreExact(t *testing.T) {
	t.Parallel()
	for _, m := range []Mark{1, 2, 3, 1<<markBits - 1, 0x5a5a5} {
		for _, sec := range []int64{1_800_000_000, 1_763_722_030, 1<<32 - 1} {
			z := float64(sec) + m.of()
			if !m.Owns(z) || (m - 1).Owns(z) || int64(z) != sec || strings.Contains(m.Lease(sec), "e") {
				t.Errorf("mark %d in %d: %s", m, sec, m.Lease(sec))
			}
		}
	}
}
