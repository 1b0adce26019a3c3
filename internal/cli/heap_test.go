package cli

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGarbageIsBoundedByWhatLivesOrALittleMore(t *testing.T) {
	t.Setenv("GOGC", "")
	RelaxGC()
	at := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	await := func(what string, ok func(percent uint64) bool) {
		t.Helper()
		for began := time.Now(); !ok(at()); runtime.GC() {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("%s: GOGC is %d", what, at())
			}
		}
	}
	await("a small heap", func(percent uint64) bool { return percent > 3*usualGC })
	big := make([]*[1 << 20]byte, 100)
	for i := range big {
		big[i] = new([1 << 20]byte)
	}
	await("a big one", func(percent uint64) bool { return percent == usualGC })
	runtime.KeepAlive(big)
	big = nil
	await("a small one again", func(percent uint64) bool { return percent > 3*usualGC })
}

func TestTheShareOfGarbage(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 1600, 1 << 20: 1600, 4 << 20: 800, 16 << 20: 200, 32 << 20: 100, 1 << 40: 100} {
		if got := shareOfGarbage(live); got != want {
			t.Errorf("%d bytes: %d%%, want %d%%", live, got, want)
		}
	}
}
