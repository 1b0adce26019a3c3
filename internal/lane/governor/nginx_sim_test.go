package governor

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// likeNginx is nginx as the integration test has it: it answers in 0.1 s and refuses at once;
// but its limits change every 10 s.
type likeNginx struct {
	scenario
	rates   []float64 // answers a second, at best, of each phase
	good    float64   // goodput in the second halves of the phases, at least
	refused float64   // of all requests, at most
}

const nginxPhase = 10.0

func nginxes() []likeNginx {
	phases := func(each ...float64) func(float64) float64 {
		return func(t float64) float64 { return each[min(int(t/nginxPhase), len(each)-1)] }
	}
	like := func(name string, good, refused float64, rates []float64, v service) likeNginx {
		v.mean, v.rejectLat = about(.102), 0.002
		v.time = func(r *rand.Rand, _ float64) float64 { return 0.1 + 0.002*r.ExpFloat64() }
		return likeNginx{scenario{name: name, workers: 4, slots: 125, length: nginxPhase * float64(len(rates)), timeout: 5,
			steps: []float64{nginxPhase, 2 * nginxPhase}, service: func() *service { v := v; return &v }}, rates, good, refused}
	}
	conns := phases(20, 10, 40)
	return []likeNginx{
		like("limit_conn 20, 10, 40", .95, .0125, []float64{200, 100, 400},
			service{capacity: func(t float64) int { return int(conns(t)) }, rejects: true}),
		like("limit_req 150, 75, 300 a second", .96, .0250, []float64{150, 75, 300},
			service{capacity: always(-1), quota: 150, quotaOf: phases(150, 75, 300), plain: true}),
		like("429, Retry-After; 150, 75, 150", .74, .0090, []float64{150, 75, 150},
			service{capacity: always(-1), quota: 150, quotaOf: phases(150, 75, 150)}),
		like("429 from the first; 20 a second, 4 at once", .60, .0300, []float64{20, 20, 20},
			service{capacity: always(-1), quota: 20, burst: 4}),
	}
}

// count runs it and returns goodput and the share that was refused.
func (n likeNginx) count(seed uint64, g govern) (good, refused float64) {
	all, bad := 0.0, 0.0
	n.log = func(t float64, ok bool) {
		phase := min(int(t/nginxPhase), len(n.rates)-1)
		all++
		switch {
		case !ok:
			bad++
		case t >= nginxPhase*(float64(phase)+0.5):
			good += 1 / (n.rates[phase] * nginxPhase / 2)
		}
	}
	simulate(n.scenario, seed, g)
	return good / float64(len(n.rates)), bad / all
}

// Means of many runs: in one of them a limit may change just after it was looked at.
func TestServicesLikeNginx(t *testing.T) {
	const runs = 24
	for _, n := range nginxes() {
		var good, refused float64
		for seed := range uint64(runs) {
			g, r := n.count(seed+1, byModel(Config{}))
			good, refused = good+g/runs, refused+r/runs
		}
		t.Logf("%s: goodput %.1f%%, %.2f%% refused", n.name, 100*good, 100*refused)
		if good < n.good || good > 1.02 || refused > n.refused {
			t.Errorf("%s: goodput %.3f, refused %.4f; want %.2f, %.4f", n.name, good, refused, n.good, n.refused)
		}
	}
}

func TestServicesLikeNginxByTheScript(t *testing.T) {
	rdb := conntest.Server(t).Client()
	var steps atomic.Int64
	for i, n := range nginxes() {
		n.count(1, pair(t, rdb, fmt.Sprintf("nginx-%d", i), checked{scenario: n.scenario}, &steps))
	}
	t.Logf("%d steps", steps.Load())
}
