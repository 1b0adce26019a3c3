package governor

import (
	"math"
	"math/rand/v2"
)

// expected is what a scenario is held to, with any seed.
type expected struct {
	goodput  float64 // at least
	rejected float64 // at most
	load     float64 // mean, at most
}

type checked struct {
	scenario
	expected
}

func always(n int) func(float64) int { return func(float64) int { return n } }

func about(s float64) func(float64) float64 { return func(float64) float64 { return s } }

func lognormal(mean, sigma float64) func(*rand.Rand, float64) float64 {
	mu := math.Log(mean) - sigma*sigma/2
	return func(r *rand.Rand, _ float64) float64 { return math.Exp(mu + sigma*r.NormFloat64()) }
}

// bimodal is 50 ms, and 1.5 s for a share p.
func bimodal(p float64) func(*rand.Rand, float64) float64 {
	return func(r *rand.Rand, _ float64) float64 {
		if r.Float64() < p {
			return 1.5 * math.Exp(0.3*r.NormFloat64())
		}
		return 0.05 * math.Exp(0.3*r.NormFloat64())
	}
}

// stepped is a capacity that changes.
func stepped(first int, changes ...float64) func(float64) int {
	return func(t float64) int {
		c := first
		for i := 0; i+1 < len(changes); i += 2 {
			if t >= changes[i] {
				c = int(changes[i+1])
			}
		}
		return c
	}
}

// queueing is a service of 100 ms that queues what is above its capacity.
func queueing(capacity func(float64) int, change ...func(*service)) func() *service {
	return func() *service {
		v := &service{capacity: capacity, time: lognormal(.1, .5), mean: about(.1), thrash: 0.02, queueMax: 1000}
		for _, f := range change {
			f(v)
		}
		return v
	}
}

// rejecting answers 503 above its capacity.
func rejecting(v *service) { v.rejects, v.queueMax, v.thrash = true, 0, 0 }

// scenarios are each held to about the worst of six seeds.
func scenarios() []checked {
	var all []checked
	add := func(e expected, s scenario) {
		for _, d := range []struct {
			to *float64
			v  float64
		}{{&s.timeout, 5}, {&s.warm, 10}, {&s.length, 120}} {
			if *d.to == 0 {
				*d.to = d.v
			}
		}
		if s.slots == 0 {
			s.slots = 50
		}
		if s.workers == 0 {
			s.workers = 16
		}
		all = append(all, checked{s, e})
	}
	add(expected{.97, 0, 1.25}, scenario{name: "a queue of 40", service: queueing(always(40))})
	add(expected{.96, 0, 1.27}, scenario{name: "a2 queue of 40, 64 workers", workers: 64, service: queueing(always(40))})
	add(expected{.95, 0, 1.40}, scenario{name: "a3 queue of 4, 1 s", timeout: 30, length: 180, warm: 20,
		service: queueing(always(4), func(v *service) { v.time, v.mean = lognormal(1, .5), about(1) })})
	add(expected{.96, .0047, .95}, scenario{name: "b 503 above 60",
		service: queueing(always(60), rejecting, func(v *service) { v.time, v.mean = lognormal(.08, .4), about(.08) })})
	add(expected{.96, .0013, math.Inf(1)}, scenario{name: "c quota 100/s, 429 with Retry-After", length: 240,
		service: queueing(always(-1), func(v *service) { v.quota, v.burst = 100, 100 })})
	add(expected{.93, .0049, math.Inf(1)}, scenario{name: "c2 quota 3000/30 s, 429 with Retry-After", length: 300, warm: 30,
		service: queueing(always(-1), func(v *service) { v.quota, v.window = 100, 30 })})
	add(expected{1, .0016, math.Inf(1)}, scenario{name: "c3 the same with X-RateLimit headers", length: 300, warm: 30,
		service: queueing(always(-1), func(v *service) { v.quota, v.window, v.headers = 100, 30, true })})
	add(expected{.95, 0, 1.30}, scenario{name: "d queue of 40, 20, 80", steps: []float64{60, 120}, length: 180,
		service: queueing(stepped(40, 60, 20, 120, 80))})
	add(expected{.88, .0098, .92}, scenario{name: "d2 503 above 60, 30, 120", steps: []float64{60, 120}, length: 180,
		service: queueing(stepped(60, 60, 30, 120, 120), rejecting)})
	outage := stepped(40, 60, 0, 90, 40)
	add(expected{.93, .0033, 1.15}, scenario{name: "d3 outage of 30 s, 503", steps: []float64{90}, length: 150,
		service: queueing(outage)})
	add(expected{.93, .0023, 1.15}, scenario{name: "d4 outage of 30 s, hanging", steps: []float64{90}, length: 150,
		service: queueing(outage, func(v *service) { v.hangs = true })})
	add(expected{.97, 0, 1.5}, scenario{name: "e queue drifts 60, 15, 60", length: 240,
		service: queueing(func(t float64) int { return int(37.5 + 22.5*math.Cos(2*math.Pi*t/240)) })})
	slower := func(t float64) float64 {
		if t > 80 {
			return 0.25
		}
		return 0.1
	}
	add(expected{.97, 0, 1.22}, scenario{name: "e2 2.5 times slower, queue of 40", steps: []float64{80}, length: 240,
		service: queueing(always(40), func(v *service) {
			usual := v.time
			v.mean, v.time = slower, func(r *rand.Rand, t float64) float64 { return usual(r, t) * slower(t) / 0.1 }
		})})
	twoModes := func(p float64) func() *service {
		return queueing(always(200), func(v *service) {
			v.time, v.mean = bimodal(p), about(1.046*(p*1.5+(1-p)*.05))
		})
	}
	add(expected{.88, 0, 1.05}, scenario{name: "f 50 ms, 10% of them 1.5 s, queue of 200", timeout: 15, service: twoModes(.1)})
	add(expected{.90, 0, 1.20}, scenario{name: "f2 50 ms, 50% of them 1.5 s, queue of 200", timeout: 15, service: twoModes(.5)})
	add(expected{.87, 0, 2}, scenario{name: "f3 60% cached, queue of 40 behind",
		service: queueing(always(40), func(v *service) { v.hits = .6 })})
	add(expected{1, 0, math.Inf(1)}, scenario{name: "g no limit", service: queueing(always(-1))})
	add(expected{.96, 0, 1.28}, scenario{name: "h 5% are 404, queue of 40",
		service: queueing(always(40), func(v *service) { v.appErrors = .05 })})
	add(expected{.84, .0313, 1.25}, scenario{name: "h2 3% are 503, queue of 40",
		service: queueing(always(40), func(v *service) { v.overloads = .03 })})
	add(expected{.96, 0, .50}, scenario{name: "i light load, then a burst", length: 180, steps: []float64{120},
		service: queueing(always(40)), arrival: func(t float64) float64 {
			if t < 120 {
				return 60
			}
			return 500
		}})
	uneven := make([]int, 16)
	for i := range uneven {
		uneven[i] = 10
		if i%4 == 0 {
			uneven[i] = 100
		}
	}
	add(expected{.98, 0, 1.27}, scenario{name: "j uneven workers, queue of 40", slotsOf: uneven, service: queueing(always(40))})
	add(expected{.97, 0, 1.24}, scenario{name: "k half of the workers die", kill: map[float64]int{60: 8}, steps: []float64{60},
		service: queueing(always(40))})
	add(expected{.96, 0, 1.25}, scenario{name: "l Redis away 60 to 70 s, queue of 40, 20 from 63 s", away: [2]float64{60, 70},
		steps: []float64{63, 70}, service: queueing(stepped(40, 63, 20))})
	return all
}
