package simulation

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

var (
	seeds       = flag.Uint64("seeds", defaultSeeds, "simulate this many seeds, from -first on")
	first       = flag.Uint64("first", 1, "the first seed")
	oneSeed     = flag.Uint64("seed", 0, "simulate this seed only, and show what happens")
	profileName = flag.String("profile", "all", "what kinds of faults may be drawn: "+strings.Join(slices.Sorted(maps.Keys(profiles)), ", "))
	logLevel    = slog.LevelWarn
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *oneSeed != 0 {
		*first, *seeds, logLevel = *oneSeed, 1, slog.LevelDebug
	}
	// miniredis makes a Lua state for each script: half of all time, and nearly all garbage.
	// The scripts' calls and values take a fraction of what is the default.
	lua.CallStackSize, lua.RegistrySize = 64, 1024
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(256 << 20)
	debug.SetTraceback("all") // a bubble that does not end panics: with what is left in it
	conntest.Main(m)
}

func TestSimulation(t *testing.T) {
	if profiles[*profileName] == nil {
		t.Fatalf("there is no profile %q", *profileName)
	}
	var all tally
	began := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for i := range *seeds {
			t.Run(fmt.Sprint(*first+i), func(t *testing.T) {
				t.Parallel()
				simulateSeed(t, *first+i, &all)
			})
		}
	})
	t.Logf("%d seeds in %v: %s", *seeds, time.Since(began).Round(time.Second), &all)
}

func simulateSeed(t *testing.T, seed uint64, all *tally) {
	o := draw(seed, *profileName)
	w := newWorld(seed, o)
	defer w.watchdog()()
	defer func() {
		if v := recover(); v != nil {
			panic(fmt.Sprintf("seed %d, profile %s: %v\n%s", seed, *profileName, v, o))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w.simulate(t)
		w.counts["virtual seconds"] = int(time.Since(w.began).Seconds())
	})
	all.add(w.counts)
	if len(w.violated) > 0 || *oneSeed != 0 {
		report(t, w)
	}
}

// report says what happened in a seed, and what should not have.
func report(t *testing.T, w *world) {
	const most = 400
	lines := w.timeline
	if len(lines) > most && *oneSeed == 0 {
		lines = append(slices.Clone(lines[:most/2]), "...")
		lines = append(lines, w.timeline[len(w.timeline)-most/2:]...)
	}
	say := t.Logf
	if len(w.violated) > 0 {
		say = t.Errorf
	}
	lines = append(lines, w.again()...)
	say("seed %d, profile %s; repeat it with: go test ./integration_test/simulation -run Simulation -seed %d -profile %q\n%s\n%s\n%d violated:\n%s",
		w.seed, *profileName, w.seed, *profileName, w.o, strings.Join(lines, "\n"), len(w.violated), strings.Join(w.violated, "\n"))
}

// tally sums up what happened in all seeds.
type tally struct {
	mu sync.Mutex
	of map[string]int
}

func (y *tally) add(counts map[string]int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.of == nil {
		y.of = make(map[string]int)
	}
	for what, n := range counts {
		y.of[what] += n
	}
}

func (y *tally) String() string {
	var s []string
	for _, what := range slices.Sorted(maps.Keys(y.of)) {
		s = append(s, fmt.Sprintf("%s %d", what, y.of[what]))
	}
	return strings.Join(s, ", ")
}
