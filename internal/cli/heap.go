package cli

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// spare is how much garbage may lie in a heap of whatever size before it is collected.
	spare = 32 << 20

	// usualGC and mostGC are Go's own share of garbage in a heap, in percent, and the most
	// that is set here.
	usualGC, mostGC = 100, 1600
)

// RelaxGC lets garbage grow to 32 MiB where what lives in the heap is less, instead of to
// as much as lives there. A worker's is a few MB: to collect it each time so much has come
// would take a quarter of the worker's time. GOGC in the environment keeps it as it is.
func RelaxGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	at := usualGC
	afterEachGC(func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		// To set it stops the world: not for every little.
		if to := shareOfGarbage(live[0].Value.Uint64()); to > at*5/4 || to < at*4/5 {
			debug.SetGCPercent(to)
			at = to
		}
	})
}

func shareOfGarbage(live uint64) int {
	return int(min(max(usualGC, 100*spare/max(live, 1)), mostGC))
}

// afterEachGC calls do after every collection, or a few of them.
func afterEachGC(do func()) {
	runtime.AddCleanup(new([32]byte), func(struct{}) {
		do()
		afterEachGC(do)
	}, struct{}{})
}
