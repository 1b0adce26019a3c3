package governor

import (
	"context"
	"flag"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestMain(m *testing.M) { conntest.Main(m) }

var (
	full = flag.Bool("full", false, "every scenario with six seeds through the script, and 200 services")
	only = flag.String("scenario", "", "only those whose name begins so")
	seed = flag.Uint64("seed", 0, "only this one")
)

// byModel is a governor for simulate: the model of the script.
func byModel(cfg Config) govern {
	m := newModel(cfg)
	return func(now float64, r Report) Grant { return m.sync(now+float64(origin.Unix()), r) }
}

// byScript is one: the script itself, on the run's own lane.
func byScript(t testing.TB, rdb redis.UniversalClient, lane string, cfg Config) govern {
	t.Helper()
	ctx := context.Background()
	if cfg != (Config{}) {
		if err := Configure(ctx, rdb, lane, cfg); err != nil {
			t.Fatal(err)
		}
	}
	return func(now float64, r Report) Grant {
		g, err := syncAt(ctx, rdb, lane, r, now+float64(origin.Unix()))
		if err != nil {
			panic(err)
		}
		return g
	}
}

// syncAt is Sync at a time of the test's.
func syncAt(ctx context.Context, rdb redis.UniversalClient, lane string, r Report, now float64) (Grant, error) {
	reply, err := syncScript.Run(ctx, rdb, syncKeys(lane), append(r.args(), float(now))...).Slice()
	if err != nil {
		return Grant{}, known(err)
	}
	return parseGrant(reply)
}

// each runs f for all i below n, as many at once as there are processors.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func chosen() []checked {
	i := 0
	return slices.DeleteFunc(scenarios(), func(c checked) bool {
		i++
		return !strings.HasPrefix(c.name, *only) || raced && !*full && i%6 != 1
	})
}

func seeds(n int) []uint64 {
	if *seed > 0 {
		return []uint64{*seed}
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}

// Noise is what the random order of things makes of the same scenario.
const (
	goodputNoise  = 0.02
	rejectedNoise = 0.002
	loadNoise     = 0.10
)

// hold runs scenarios and holds them to what they are expected to do.
func hold(t *testing.T, all []checked, seeds []uint64, g func(run int, c checked) govern) {
	t.Helper()
	got := make([]metrics, len(all)*len(seeds))
	each(len(got), func(i int) {
		c := all[i/len(seeds)]
		got[i] = simulate(c.scenario, seeds[i%len(seeds)], g(i, c))
	})
	for i, c := range all {
		var goodput, rejected, load, converge string
		for j, s := range seeds {
			m := got[i*len(seeds)+j]
			goodput += fmt.Sprintf(" %.0f", 100*m.goodput)
			rejected += fmt.Sprintf(" %.2f", 100*m.rejected)
			load += fmt.Sprintf(" %.2f", m.load)
			converge += fmt.Sprintf(" %v", m.converge)
			if m.goodput < c.goodput-goodputNoise || m.rejected > c.rejected+rejectedNoise || m.load > c.load+loadNoise {
				t.Errorf("%s, seed %d: goodput %.3f, rejected %.4f, load %.2f; want %.2f, %.4f, %.2f", c.name, s,
					m.goodput, m.rejected, m.load, c.goodput, c.rejected, c.load)
			}
		}
		t.Logf("| %-50s |%s |%s |%s |%s |", c.name, goodput, rejected, load, converge)
	}
}

func TestScenariosByTheModel(t *testing.T) {
	n := 1
	if *full {
		n = 6
	}
	hold(t, chosen(), seeds(n), func(_ int, c checked) govern { return byModel(c.cfg) })
}

// pair gives the script and its model the same reports; they must answer the same.
func pair(t *testing.T, rdb redis.UniversalClient, lane string, c checked, steps *atomic.Int64) govern {
	model, script := byModel(c.cfg), byScript(t, rdb, lane, c.cfg)
	differed := false
	return func(now float64, r Report) Grant {
		a, b := model(now, r), script(now, r)
		steps.Add(1)
		if a != b && !differed {
			differed = true
			t.Errorf("%s, at %.3f s: the model says\n%+v, the script\n%+v", c.name, now, a, b)
		}
		return b
	}
}

// The script is driven through all scenarios. With -full that is their whole length with
// six seeds, and they are held to what they are expected to do; else their beginning, and
// what comes after is the model's, which the script is seen to decide as.
func TestScenariosByTheScript(t *testing.T) {
	rdb := conntest.Server(t).Client()
	var steps atomic.Int64
	if *full {
		hold(t, chosen(), seeds(6), func(run int, c checked) govern {
			return pair(t, rdb, fmt.Sprintf("sim-%d", run), c, &steps)
		})
	} else {
		all := append(chosen(), configured()...)
		each(len(all), func(i int) {
			c := all[i]
			c.length = beginning
			for j := range c.steps { // what happens later, happens
				c.steps[j] = math.Min(c.steps[j], beginning)
			}
			simulate(c.scenario, 1, pair(t, rdb, fmt.Sprintf("sim-%d", i), c, &steps))
		})
	}
	t.Logf("%d steps", steps.Load())
}

// beginning is so much of a scenario (s).
const beginning = 20

func TestScenariosByTheScriptInMiniredis(t *testing.T) {
	rdb := conntest.Mini(t)
	var steps atomic.Int64
	for i, c := range chosen() {
		if i%6 == 3 {
			c.length = 4
			simulate(c.scenario, 2, pair(t, rdb, fmt.Sprintf("sim-%d", i), c, &steps))
		}
	}
	t.Logf("%d steps", steps.Load())
}

// configured are scenarios in which the operator has a say.
func configured() []checked {
	var all []checked
	for _, cfg := range []Config{{Limit: 10}, {Max: 20, Min: 6}, {Rate: 50}, {Rate: 200, Burst: 10}, {Paused: true}} {
		for _, c := range scenarios() {
			if c.name[:2] == "a " || c.name[:2] == "c " || c.name[:2] == "b " {
				c.cfg = cfg
				c.name = fmt.Sprintf("%s, %+v", c.name, cfg)
				all = append(all, c)
			}
		}
	}
	return all
}
