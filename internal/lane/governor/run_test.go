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
	return slices.DeleteFunc(scenarios(), func(c checked) bool { return !strings.HasPrefix(c.name, *only) })
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
func hold(t *testing.T, seeds []uint64, g func(lane string, c checked) govern) {
	all := chosen()
	got := make([]metrics, len(all)*len(seeds))
	each(len(got), func(i int) {
		c, s := all[i/len(seeds)], seeds[i%len(seeds)]
		got[i] = simulate(c.scenario, s, g(fmt.Sprintf("sim-%d", i), c))
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
	hold(t, seeds(6), func(_ string, c checked) govern { return byModel(c.cfg) })
}

func TestScenariosByTheScript(t *testing.T) {
	rdb := conntest.Server(t).Client()
	n := 1
	if *full {
		n = 6
	}
	hold(t, seeds(n), func(lane string, c checked) govern { return byScript(t, rdb, lane, c.cfg) })
}

// Model and script are given the same reports and must answer the same.
func TestScriptDecidesAsItsModel(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		for i, c := range chosen() {
			c.length = math.Min(c.length, 75)
			if i%3 != 0 && !*full {
				continue
			}
			model, script := byModel(c.cfg), byScript(t, rdb, fmt.Sprintf("pair-%d", i), c.cfg)
			steps, bad := 0, 0
			simulate(c.scenario, 1, func(now float64, r Report) Grant {
				a, b := model(now, r), script(now, r)
				steps++
				if d := differ(a, b); d != "" && bad < 3 {
					bad++
					t.Errorf("%s, step %d, %.3f s: model and script differ:\n%s", c.name, steps, now, d)
				}
				return b
			})
			t.Logf("%s: %d steps", c.name, steps)
		}
	})
}
