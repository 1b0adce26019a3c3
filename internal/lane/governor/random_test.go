package governor

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

var services = flag.String("services", "", "these of the services nobody thought of: 1001-1200, or 17 and what was decided of it")

// which services: the first n, or those of the flag.
func which(t *testing.T, n int) (from uint64, count int) {
	if *services == "" {
		return 1, n
	}
	var to uint64
	if k, _ := fmt.Sscanf(*services, "%d-%d", &from, &to); k == 1 {
		to = from
	}
	if from == 0 || to < from {
		t.Fatalf("-services %s: want a number, or the first and the last: 1001-1200", *services)
	}
	return from, int(to - from + 1)
}

// anyService is a scenario that nobody thought of: a service of some capacity, latency and
// manners, and its workers.
func anyService(seed uint64) scenario {
	r := rand.New(rand.NewPCG(seed, 0xda3e39cb94b95bdb))
	logUniform := func(lo, hi float64) float64 { return lo * math.Exp(r.Float64()*math.Log(hi/lo)) }
	chance := func(p float64) bool { return r.Float64() < p }
	mean, sigma := logUniform(0.02, 2), 0.1+0.9*r.Float64()
	capacity := logUniform(1, 300)
	sc := scenario{workers: 1 + r.IntN(32), slots: 10 + r.IntN(90), length: 180, warm: 30,
		timeout: math.Max(5, 20*mean)}
	v := service{time: lognormal(mean, sigma), mean: about(mean), thrash: 0.1 * r.Float64(), queueMax: 1000}
	name := fmt.Sprintf("%d workers of %d, %.0f ms (sigma %.1f), capacity %d", sc.workers, sc.slots, mean*1000, sigma, max(1, int(capacity)))
	if chance(0.15) {
		slow, share := 3+9*r.Float64(), 0.05+0.3*r.Float64()
		usual := v.time
		factor := 1 - share + share*slow
		v.time = func(r *rand.Rand, t float64) float64 {
			if r.Float64() < share {
				return usual(r, t) * slow
			}
			return usual(r, t)
		}
		v.mean = about(mean * factor)
		sc.timeout *= slow
		name += fmt.Sprintf(", %.0f%% take %.0f times that", 100*share, slow)
	}
	if chance(0.4) {
		v.rejects, v.queueMax, v.thrash = true, 0, 0
		name += ", 503 above it"
	} else if chance(0.3) {
		v.queueMax = int(capacity*(0.5+2*r.Float64())) + 1
		name += fmt.Sprintf(", queues %d", v.queueMax)
	}
	c := max(1, int(capacity))
	v.capacity = always(c)
	switch {
	case chance(0.3):
		at, to := 60+60*r.Float64(), max(1, int(capacity*logUniform(0.4, 2.5)))
		v.capacity, sc.steps = stepped(c, at, float64(to)), []float64{at}
		name += fmt.Sprintf(", %d from %.0f s", to, at)
	case chance(0.1):
		at := 60 + 30*r.Float64()
		v.capacity, sc.steps = stepped(c, at, 0, at+20, float64(c)), []float64{at + 20}
		v.hangs = chance(0.5)
		name += fmt.Sprintf(", away %.0f to %.0f s", at, at+20)
	}
	if chance(0.15) {
		v.quota = math.Max(2, capacity/v.mean(0)*(0.2+0.7*r.Float64()))
		v.burst = math.Max(1, v.quota*(0.2+2*r.Float64()))
		name += fmt.Sprintf(", quota %.0f/s burst %.0f", v.quota, v.burst)
	}
	if chance(0.2) {
		v.appErrors = 0.2 * r.Float64()
	}
	if chance(0.1) {
		v.hits = 0.6 * r.Float64()
		name += fmt.Sprintf(", %.0f%% cached", 100*v.hits)
	}
	sc.name = name
	sc.service = func() *service { v := v; return &v }
	return sc
}

// held is what percentiles over many services are held to. The aim is 0.97, 0.85, 0.03 and 2.
type held struct{ median, low, rejected, load float64 }

func TestServicesNobodyThoughtOf(t *testing.T) {
	n, want := 60, held{0.94, 0.70, 0.06, 4}
	switch {
	case raced:
		n, want = 10, held{0.90, 0.60, 0.15, 6}
	case *full:
		n, want = 200, held{0.97, 0.85, 0.03, 2}
	}
	from, n := which(t, n)
	scs, got := make([]scenario, n), make([]metrics, n)
	each(n, func(i int) {
		number := from + uint64(i)
		scs[i] = anyService(number)
		g := byModel(Config{})
		if n == 1 {
			g = told(t, g)
		}
		got[i] = simulate(scs[i], number, g)
	})
	of := func(f func(metrics) float64) []float64 {
		all := make([]float64, n)
		for i, m := range got {
			all[i] = f(m)
		}
		slices.Sort(all)
		return all
	}
	goodput := of(func(m metrics) float64 { return m.goodput })
	rejected := of(func(m metrics) float64 { return m.rejected })
	load := of(func(m metrics) float64 { return m.load })
	for i, m := range got {
		if n < 10 || m.goodput < percentile(goodput, 0.05) || m.rejected > percentile(rejected, 0.95) || m.load > percentile(load, 0.95) {
			t.Logf("%d: goodput %.2f, rejected %.3f, load %.2f: %s", from+uint64(i), m.goodput, m.rejected, m.load, scs[i].name)
		}
	}
	if n < 10 {
		return // too few for percentiles
	}
	for _, p := range []struct {
		what     string
		is, want float64
		atLeast  bool
	}{
		{"goodput, median", percentile(goodput, 0.5), want.median, true},
		{"goodput, 5th percentile", percentile(goodput, 0.05), want.low, true},
		{"rejected, 95th percentile", percentile(rejected, 0.95), want.rejected, false},
		{"in flight over capacity, 95th percentile", percentile(load, 0.95), want.load, false},
	} {
		t.Logf("%s: %.3f", p.what, p.is)
		if p.atLeast && p.is < p.want || !p.atLeast && p.is >= p.want {
			t.Errorf("%s: %.3f, want %.2f", p.what, p.is, p.want)
		}
	}
	t.Logf("in flight over capacity, median: %.3f", percentile(load, 0.5))
}

// told is a governor that logs what it decides.
func told(t *testing.T, g govern) govern {
	return func(now float64, r Report) Grant {
		grant := g(now, r)
		if grant.Why != "" {
			t.Logf("%7.2f s: limit %d -> %d, rate %.2f/s, %s: %s", now, grant.From, grant.Limit, grant.Rate, grant.State, grant.Why)
		}
		return grant
	}
}
