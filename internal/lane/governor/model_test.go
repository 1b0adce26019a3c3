package governor

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// model decides as sync.lua does, in Go: much faster, for long statistics. A test holds
// the two together, step by step. Fields are those of the script's state.
type model struct {
	cfg     Config
	cfgRate float64
	reset   bool // there is no state

	limit                 float64
	slowStart             bool
	state                 State
	act                   float64
	workers               map[string]*modelWorker
	count                 int
	epoch                 int64
	ws                    float64
	h                     map[int]int
	n, ov, bad            int
	sum, sum2             float64
	peak                  int
	settle, lastL         float64
	okC, mu, base, tail   float64
	b                     [4]float64
	baseOK                float64
	meanP, rr, pPrev      float64
	hot                   bool
	hotT                  float64
	latLim                int
	serL, serPL, serP     float64
	serN                  int
	prb                   bool
	prbL, prbT, prbH      float64
	again, sure, prbO     bool
	fbN, fbOK, sd, bN, cv float64

	cutT, clean, ceil, ceilU, hold, boost, refL, refM, holdX, refE float64

	fb, preL, preT, lastOK, cool, openU, saved float64
	prober                                     int64

	R, minR, tat, pause, pEnd, okS, lastEv, nextR, rH, rB float64
	okRate, okT, okN, hdrT                                float64
	rl                                                    bool
	guess                                                 float64
	refused, after, good, win                             float64
	allBusy                                               int
	learn                                                 float64
	held                                                  bool

	// of one call
	now, interval float64
	rep           Report
	why           string
	lowest, most  float64
}

type modelWorker struct {
	has, wants, busy         int
	ends, extra, barred, saw float64
	slots                    int
}

func newModel(cfg Config) *model {
	return &model{cfg: cfg, reset: true}
}

func hypot(x, y float64) float64 { return math.Sqrt(x*x + y*y) }

func clampF(x, lo, hi float64) float64 { return math.Max(lo, math.Min(hi, x)) }

func (m *model) fresh(limit, rate float64) {
	now := m.now
	*m = model{cfg: m.cfg, rep: m.rep, now: now,
		limit: limit, slowStart: true, act: now, workers: map[string]*modelWorker{}, count: 1,
		epoch: int64(math.Floor(now * 1000)), ws: now, h: map[int]int{},
		baseOK: now, rr: 1, hold: 2, boost: 1, lastOK: now, fbOK: now, cool: 0.5, R: rate, rH: 20, rB: 1, okT: now, prbH: 15, pEnd: now}
}

func (m *model) newRound() {
	m.epoch++
	m.ws, m.h, m.n, m.ov, m.sum, m.sum2, m.peak, m.settle = m.now, map[int]int{}, 0, 0, 0, 0, 0, 0
	limit := m.limit
	if m.prb {
		limit = m.prbL
	}
	if limit < 0.9*m.lastL || limit > 1.1*m.lastL {
		m.settle, m.pPrev = 1.5*m.b[2]*math.Max(1, m.pPrev), 0
		if m.slowStart {
			m.settle *= 0.4
		}
	}
	m.lastL = limit
}

func (m *model) set(limit float64, why string) {
	if m.cfg.Limit > 0 {
		return
	}
	limit = clampF(limit, m.lowest, m.most)
	if math.Floor(limit) != math.Floor(m.limit) {
		m.why = why
	}
	m.limit = limit
}

func (m *model) sync(now float64, r Report) Grant {
	const start, leaseS = 4, 2
	m.now, m.rep = now, r
	lapsed := false
	if m.reset {
		m.fresh(start, 0)
		lapsed = r.Epoch > 0
	} else if now < m.act-leaseS {
		m.fresh(m.limit, m.R)
		lapsed = true
	}
	m.now = math.Max(m.now, m.act)
	now = m.now
	m.interval = math.Max(0.25, 0.004*float64(m.count))
	lease := math.Max(leaseS, 4*m.interval)
	before, wasHeld := m.limit, m.held
	m.why = ""

	me := m.workers[r.Worker]
	if me == nil {
		me = &modelWorker{}
		m.workers[r.Worker] = me
	}
	me.wants, me.busy, me.slots, me.ends, me.saw = r.Wants, r.InFlight, r.Slots, now+lease, now
	count, allWants, allSlots, allBusy, othersHave, extras := 0, 0, 0, 0, 0, 0
	for id, w := range m.workers {
		if w.ends <= now {
			delete(m.workers, id)
			continue
		}
		count, allWants, allSlots = count+1, allWants+w.wants, allSlots+w.slots
		if w.saw > now-2.5*m.interval {
			allBusy += w.busy
		}
		if id != r.Worker {
			othersHave += w.has
			if w.extra > 0 {
				extras++
			}
		}
	}
	m.count = count
	m.lowest = math.Max(1, float64(m.cfg.Min))
	m.most = float64(allSlots)
	if m.cfg.Max > 0 {
		m.most = float64(m.cfg.Max)
	}
	m.most = math.Max(m.lowest, m.most)
	if now-m.act > 30 {
		m.limit, m.slowStart = math.Max(math.Min(m.limit, start), m.limit/2), true
	}
	if now-m.act > lease {
		lapsed = true
	}
	if lapsed {
		m.learn, m.lastOK = now+2*m.interval, now
		m.newRound()
	}
	m.act = now

	m.countReport()
	m.allBusy = allBusy
	m.quota()
	m.decideState(allBusy)

	limit := 0.0
	if m.cfg.Limit > 0 {
		m.limit, m.prb = float64(m.cfg.Limit), false
	}
	if m.cfg.Max > 0 {
		m.limit = math.Min(m.limit, m.most)
	}
	m.limit = math.Max(m.limit, m.lowest)
	switch {
	case m.state == Open && m.prb:
		limit = m.prbL
	case m.state == Open:
		limit = m.limit
	case m.state == Probing:
		limit = 1
	}

	permits := 0
	switch {
	case m.cfg.Paused:
	case now < m.learn:
		permits = min(r.InFlight, r.Wants)
	case m.state == Probing:
		permits = m.probe()
	default:
		permits = min(max(m.share(me, int(math.Floor(limit+1e-9)), allWants, othersHave, extras), 0), r.Wants)
	}
	me.has = max(permits, r.InFlight)

	tokens, rate := -1, 0.0
	if m.R > 0 {
		part := 1.0
		whole := math.Floor(limit + 1e-9)
		switch {
		case now >= m.learn && whole > 0 && float64(allWants) > whole:
			part = math.Min(1, float64(permits)/whole)
		case allWants > 0:
			part = float64(r.Wants) / float64(allWants)
		}
		rate = m.R * part
		burst := math.Max(1, m.R*2*m.interval)
		if m.cfg.Burst > 0 {
			burst = float64(m.cfg.Burst)
		}
		need := math.Max(1, math.Ceil(m.R*m.interval*1.2*part))
		if r.Wants < r.Slots {
			need = math.Min(need, float64(r.Wants))
		}
		if part == 0 || m.R*m.interval < 1 && r.InFlight >= permits {
			need = 0
		}
		m.tat = math.Max(m.tat, now)
		if now < m.pEnd {
			m.tat = math.Max(m.tat, m.pEnd+math.Max(0, burst/m.R-m.interval))
		}
		have := math.Floor((now-m.tat)*m.R + burst + 1e-9)
		if have < need && r.InFlight < permits {
			m.rl = true
		}
		k := clampF(have, 0, need)
		if now < m.pause || m.cfg.Paused {
			k = 0
		}
		m.tat += k / m.R
		tokens = int(k)
	}

	state, wait := m.state, 0.0
	switch {
	case m.cfg.Paused:
		state = Held
	case m.state == Outage:
		wait = m.openU - now
	case now < m.pause:
		state, wait = Paused, m.pause-now
	}
	m.held = m.cfg.Paused
	if m.held != wasHeld {
		m.why = "resumed by the operator"
		if m.held {
			m.why = "paused by the operator"
		}
	}
	ms := func(x float64) int64 { return int64(math.Floor(x*1000 + 0.5)) }
	g, err := parseGrant([]any{int64(permits), m.epoch, ms(m.settle), int64(tokens), ms(m.R), ms(rate), ms(wait),
		int64(math.Floor(m.limit)), int64(state), int64(math.Floor(m.base * 1e6)), ms(m.rr), ms(m.interval), ms(lease),
		m.why, int64(math.Floor(before))})
	if err != nil {
		panic(err)
	}
	return g
}

func (m *model) countReport() {
	r, now := m.rep, m.now
	if r.Epoch == m.epoch && r.Samples.N+r.Overloads > 0 {
		for b, k := range r.Samples.counts {
			m.h[b] += k
		}
		m.n += r.Samples.N
		m.ov += r.Overloads
		m.bad += r.Overloads
		m.sum += r.Samples.Sum
		m.sum2 += r.Samples.Squares
	}
	m.okN += float64(r.Answered)
	m.okS += float64(r.Answered)
	m.okC += float64(r.Answered)
	if r.Answered > 0 {
		m.lastOK, m.bad = now, 0
	}
	if now-m.okT >= 1 {
		m.okRate += 0.5 * (m.okN/(now-m.okT) - m.okRate)
		m.okT, m.okN = now, 0
	}
}

func (m *model) capRate() {
	if m.cfg.Rate > 0 {
		m.R = math.Min(m.cfg.Rate, m.R)
	}
}

func (m *model) quota() {
	r, now := m.rep, m.now
	if m.cfgRate != m.cfg.Rate {
		m.cfgRate, m.R, m.minR = m.cfg.Rate, m.cfg.Rate, m.cfg.Rate
	}
	if m.R > 0 {
		m.minR = math.Min(m.minR, m.R)
		if r.Unused > 0 {
			m.tat = math.Max(now, m.tat-float64(r.Unused)/m.R)
		}
	}
	after, reset := r.RetryAfter.Seconds(), r.Reset.Seconds()
	switch {
	case r.Remaining >= 0 && reset > 0.05:
		m.hdrT = now
		others := 0
		if m.win = math.Max(m.win, reset); m.win >= 10 && reset < 1 {
			others = m.allBusy
		}
		if r.Remaining <= others {
			m.pause = math.Max(m.pause, now+reset)
			break
		}
		even := 0.98 * float64(r.Remaining-others) / reset
		if m.R == 0 {
			m.R = even
		} else {
			m.R += 0.5 * (even - m.R)
		}
		m.capRate()
	case after > 0:
		if now-r.Age.Seconds() >= m.pEnd && now >= m.pEnd {
			m.learnRate(after)
		} else if m.lastEv == 0 {
			m.okS = 0
		}
		m.pause = math.Max(m.pause, now+after*(1+0.05*math.Mod(math.Floor(now*1e6), 1000)/1000))
		m.pEnd = m.pause
	case m.R > 0 && (m.cfg.Rate == 0 || m.R < m.cfg.Rate) && m.rl && now-m.hdrT > 60 && now > m.nextR && now > m.pause &&
		m.R < 3*math.Max(1, math.Max(m.okRate, m.okS/math.Max(0.001, now-m.pEnd))):
		most := 0.32
		if m.after <= 1 && m.R < 10 {
			most = 0.08
		}
		step, every := math.Min(most, 0.02*m.rB), math.Max(math.Max(1.25, 8/m.R), m.after/2)
		if m.guess > 0 {
			step, every = m.guess, 1
		} else if m.rB == 1 {
			m.good = m.R
		}
		m.R *= 1 + step
		m.capRate()
		m.rB, m.nextR = m.rB*2, now+every
	}
}

func (m *model) learnRate(after float64) {
	now, refused := m.now, m.R
	first := math.Max(clampF(5*after, 3, 60), math.Min(60, 40/math.Max(0.2, m.R)))
	least := 0.7
	switch {
	case after <= 1 && m.R < 10 && m.okS < 20 && m.guess == 0:
		least = 0.8
	case m.R >= 10 && now-m.pEnd < 2:
		least = 0.6
	}
	m.guess = 0
	switch average, paused := m.okS/(now+after-m.pEnd), math.Max(after, m.pEnd-m.lastEv); {
	case m.lastEv == 0:
		last := 0.0
		if now-m.okT >= m.interval {
			last = m.okN / (now - m.okT)
		}
		m.R, first, m.guess = 0.7*math.Max(m.okRate, last), 1, 0.32
		if m.okRate == 0 {
			m.guess = 1
		}
		if after >= 5 && now-m.pEnd <= after && m.okS >= 30 {
			m.R, first = 0.98*(m.okS+float64(m.allBusy))/(now+after-m.pEnd), 20
		}
		m.capRate()
		m.R = math.Max(0.5, m.R)
	case paused >= 5 && m.minR >= average:
		m.R = 0.98 * average
	case m.good > 0 && m.R > m.good && m.R < 1.4*m.good:
		m.R = m.good + 0.1*(m.R-m.good)
		m.good = m.R
	default:
		m.R, m.good = clampF(math.Sqrt(average*m.R), least*m.R, 0.95*m.R), 0
	}
	m.R = math.Max(0.2, m.R)
	if refused > 0.75*m.refused && refused < 1.25*m.refused {
		m.rH = math.Min(120, 1.5*math.Max(m.rH, first))
	} else {
		m.rH = first
	}
	m.refused, m.after = refused, math.Max(after, m.after/2)
	m.minR, m.lastEv, m.okS, m.nextR, m.rB = m.R, now, 0, now+after+m.rH, 1
	m.why = fmt.Sprintf("the service asked to wait %.0f s; rate %.1f -> %.1f/s", after, refused, m.R)
}

func (m *model) decideState(allBusy int) {
	switch {
	case m.state == Outage:
		if m.now >= m.openU {
			m.state = Probing
			m.newRound()
		}
	case m.state == Probing:
		if m.n > 0 || m.rep.Answered > 0 {
			m.state, m.slowStart, m.cool = Open, true, 0.5
			m.fbOK = m.now
			m.ceil, m.ceilU, m.okC = math.Max(1, 0.9*m.saved), m.now+5, 150
			m.set(math.Min(4, m.saved/2), "")
			m.why = fmt.Sprintf("recovered, ramp to %.0f", m.ceil)
			m.newRound()
		} else if m.ov > 0 || m.now-m.ws > math.Max(2, 4*m.mu) {
			m.trip()
		}
	case m.now >= m.pause && !m.cfg.Paused:
		m.peak = max(m.peak, allBusy)
		m.decide()
	default:
		m.ws, m.peak = m.now, 0
	}
}

func (m *model) trip() {
	if m.state == Open {
		m.saved = m.limit
		if !m.calm() && m.now-m.preT < 60 {
			m.saved = math.Max(m.limit, m.preL)
		}
		m.why = fmt.Sprintf("outage: %d of %d failed", m.ov, m.n+m.ov)
	}
	m.state, m.openU = Outage, m.now+math.Max(m.rep.RetryAfter.Seconds(), m.cool)
	m.cool, m.prb = math.Min(3, m.cool*2), false
	m.newRound()
}

func (m *model) dead() bool {
	longest := 4 * m.mu
	if m.bN < 30 { // hardly known
		longest = 8 * m.mu
	}
	return m.now-m.lastOK > math.Max(2, math.Max(longest, m.tail))
}

// quiet is for how long nothing but overload makes an outage.
func (m *model) quiet() float64 {
	if m.base == 0 {
		return 2
	}
	return math.Max(0.5, 3*m.base)
}

func (m *model) closes(elapsed float64, reacts bool) bool {
	all := m.n + m.ov
	longest := math.Max(1, 4*m.base+2*m.interval)
	means := 3.0
	if m.slowStart {
		means = 1.5
	}
	few := 1.0
	if all < 10 {
		few = 5
	}
	enough := 3
	if m.limit <= 10 && m.fb < 0.01 && float64(m.ov) >= 0.15*float64(all) {
		enough = 1
	}
	if m.prb && float64(m.n) >= m.tell() && !m.prbO && elapsed >= m.settle+m.interval {
		return true
	}
	soon := 2 * m.interval
	if m.ceil > 0 && m.limit > m.ceil && m.fb < 0.01 {
		enough, soon = 1, m.interval
	}
	return m.ov >= enough && reacts && elapsed >= soon && (m.fb < 0.01 || m.ov*4 >= all) ||
		all == 0 && m.base > 0 && m.dead() ||
		float64(all) >= m.needed() && elapsed >= m.settle+math.Max(m.interval, means*m.meanP) ||
		m.ov >= 3 && elapsed >= longest ||
		elapsed >= math.Max(8, 4*longest)*few
}

// tell is how many samples tell whether half the load is answered sooner: more where times
// vary, but no more than come in two seconds.
func (m *model) tell() float64 {
	return math.Max(10, math.Min(math.Min(40, 48*m.sd*m.sd), 2*m.prbL/m.mu))
}

// needed samples: for the noise of the quantiles to be a tenth.
func (m *model) needed() float64 {
	n := 1.5 * m.limit
	switch {
	case m.base == 0:
		return 6
	case m.prb && m.prbO:
		n = 4 / m.fb
	case !m.slowStart && (m.ceil == 0 || m.limit <= m.ceil):
		n = math.Max(n, 121*m.sd*m.sd)
	}
	return clampF(n, 12, 150)
}

func (m *model) quantile(keys []int, q float64) float64 {
	rank, c := q*float64(m.n), 0.0
	for _, b := range keys {
		k := float64(m.h[b])
		if c+k >= rank {
			return 1e-4 * math.Exp2((float64(b)+(rank-c)/k)/8)
		}
		c += k
	}
	return 0
}

// quantiles are three of the round, and bounds of the last one: two errors of its rank
// above and below.
type quantiles struct {
	p    [4]float64 // the last is the upper bound
	slow float64
}

func (m *model) quantiles() quantiles {
	keys, noise := slices.Sorted(maps.Keys(m.h)), 0.87/math.Sqrt(float64(m.n))
	q := func(r float64) float64 { return m.quantile(keys, r) }
	return quantiles{[4]float64{q(0.25), q(0.5), q(0.75), q(math.Min(1, 0.75+noise))}, q(0.75 - noise)}
}

func (m *model) rebase(p [4]float64, mean float64) {
	m.b, m.base, m.baseOK, m.mu = p, p[1], m.now, mean
}

// slower is the time waited, against the time served.
func (m *model) slower(p [4]float64) float64 {
	return math.Max(0.1, 1+middle(p[0]-m.b[0], p[1]-m.b[1], p[2]-m.b[2])/m.mu)
}

// ratio is that, or what the slowest quarter says beyond doubt: where most are answered
// from a cache, the others see no queue.
func (m *model) ratio(q quantiles) float64 {
	mean := m.sum / float64(m.n)
	return math.Max(m.slower(q.p), math.Min(1+(q.slow-m.b[3])/m.mu, mean/m.mu))
}

func (m *model) decide() {
	elapsed, all := m.now-m.ws, float64(m.n+m.ov)
	usual, ov := all*m.fb, float64(m.ov)
	reacts := m.limit > 1 && ov > 2*usual+2*math.Sqrt(usual)+0.5
	if !m.closes(elapsed, reacts) {
		return
	}
	if all == 0 {
		if m.dead() && (m.bad >= 3 || m.peak >= 3 && float64(m.peak) >= 0.5*m.limit) {
			m.trip()
		} else {
			m.newRound()
		}
		return
	}
	m.rl = false
	share := ov / all
	if share >= 0.9 && (m.bad >= 3 && m.now-m.lastOK > m.quiet() || m.dead()) {
		m.trip()
		return
	}
	q := m.quantiles()
	if m.prb {
		if m.doubtful(q.p, elapsed, reacts) {
			return
		}
		m.probed(q.p)
	} else {
		if share < 0.15 && (share <= m.fb || !m.slowStart && (m.ceil == 0 || m.limit <= m.ceil) &&
			(!reacts || m.limit <= 12 || !m.calm() && m.now-m.cutT > 3)) {
			m.fbN++
			m.fb += math.Max(0.1, 1/(m.fbN+3)) * (share - m.fb)
		}
		if m.fb < 0.02 {
			m.fbOK = m.now
		}
		if reacts {
			m.cutOverload(elapsed, share)
		} else if m.n >= 10 || m.base == 0 && m.n > 0 {
			m.byLatency(q)
		}
	}
	if m.fb >= 0.02 && m.now-m.fbOK > 10 && m.limit >= 8 && !m.prb {
		m.prb, m.prbO, m.prbL = true, true, math.Floor(0.6*m.limit)
	}
	m.newRound()
	if m.again {
		m.again, m.settle = false, 1.5*m.b[2]
	}
}

// fell is the ratio below which latency at half the load has fallen.
func (m *model) fell() float64 {
	return math.Min(0.8, math.Exp(-2.5*m.sd*math.Sqrt(1/float64(m.n)+1/m.bN)))
}

// doubtful says that latency at half the load may have fallen: more replies will tell, unless
// there is overload to react to.
func (m *model) doubtful(p [4]float64, elapsed float64, reacts bool) bool {
	if reacts || m.prbO || m.n < 10 || m.n >= 40 || elapsed >= 60 {
		return false
	}
	r := m.slower(p)
	return r < 0.8 && r >= m.fell()
}

// probed ends a round at half the load. Where latency fell with it, the baseline had a
// queue in it: half again.
func (m *model) probed(p [4]float64) {
	m.prb = false
	m.probedOverload()
	m.prbT = m.now
	if m.n < 10 {
		return
	}
	r := m.slower(p)
	fell := r < m.fell()
	m.prbH = math.Min(120, 2*m.prbH)
	if fell {
		m.prbH = 15
	}
	for k := range p {
		if !fell {
			p[k] = m.b[k] + math.Min(1, float64(m.n)/30)*(p[k]-m.b[k])
		}
	}
	m.rebase(p, m.sum/float64(m.n))
	m.bN = float64(m.n) + m.bN
	if fell {
		m.bN = float64(m.n)
	}
	m.sure = true
	if fell && m.limit > m.lowest {
		m.set(math.Max(m.limit*r, m.prbL), "the baseline had a queue in it")
		m.refL, m.serL, m.slowStart = 0, 0, false
		if m.prbL > 1 {
			m.prb, m.prbL = true, math.Max(1, math.Floor(m.prbL/2))
		}
	}
}

func (m *model) probedOverload() {
	if !m.prbO {
		return
	}
	m.prbO = false
	all := float64(m.n + m.ov)
	share := float64(m.ov) / all
	m.fbOK = m.now
	if all*m.fb < 3 {
		return
	}
	if share < 0.4*m.fb {
		m.fb = share
		m.set(0.85*m.limit, "its overload was not the background")
		m.ceil, m.hold = m.limit, math.Min(m.hold, 8)
		m.ceilU, m.okC = m.now+m.hold, 0
		m.slowStart, m.boost = false, 1
	} else {
		m.fb += 0.5 * (share - m.fb)
	}
}

func middle(a, b, c float64) float64 {
	return a + b + c - math.Max(a, math.Max(b, c)) - math.Min(a, math.Min(b, c))
}

// calm says that the last cut is long ago.
func (m *model) calm() bool { return m.now-m.preT > 2 && m.okC > 60 }

func (m *model) cutOverload(elapsed, share float64) {
	before, limit := m.limit, m.limit
	rest, most := math.Max(2*m.interval, m.base), 0.5
	if m.base == 0 {
		rest, most = 1, 0.75
	}
	cut := clampF((float64(m.ov)-m.fb*float64(m.n+m.ov))/math.Max(1, elapsed/rest)/m.limit, 0.03, most)
	if m.calm() {
		m.cutT, m.preL = m.now, 0
	}
	m.preL = math.Max(m.preL, m.limit)
	m.preT = m.now
	limit *= 1 - cut
	if m.ceil > 0 && before > 0.9*m.ceil && before < math.Max(1.3*m.ceil, m.ceil+1.6) {
		limit = math.Min(limit, math.Max(m.ceil, m.clean))
		if before > 1.01*m.ceil {
			m.hold = math.Min(8, m.hold*2)
		}
	} else {
		m.hold = 2
	}
	m.set(limit, fmt.Sprintf("overload %.1f%%", 100*share))
	m.ceil, m.ceilU, m.okC, m.clean = m.limit, m.now+math.Min(3, m.hold), 0, 0
	m.slowStart, m.boost, m.serL, m.hot = false, 1, 0, false
}

func (m *model) byLatency(q quantiles) {
	n, p := float64(m.n), q.p
	mean := m.sum / n
	m.cv = math.Max(math.Sqrt(math.Max(0, m.sum2/n-mean*mean))/mean, 0.95*m.cv)
	noise := m.cv / math.Sqrt(n)
	m.meanP = math.Min(mean, 5)
	m.tail = mean + 3*m.cv*mean
	if m.base == 0 { // young samples are biased low: they tell no more than how long to wait
		m.rebase(p, mean)
		m.bN, m.again = 2, true
		return
	}
	sd := (p[2] - p[0]) / 1.349 / mean
	if m.sd == 0 {
		m.sd = sd
	}
	m.sd += 0.3 * (sd - m.sd)
	se := math.Min(0.2, 1.25*sd/math.Sqrt(n))
	wide := hypot(se, 1.25*m.sd/math.Sqrt(m.bN))
	se = math.Min(0.25, wide)
	young := m.slowStart || m.bN < 30 && m.fb >= 0.01
	if young && (m.bN <= 2 || m.ratio(q) <= 1.15*math.Exp(wide)) {
		w := n / (m.bN + n)
		for k, q := range p {
			m.b[k] += w * (q - m.b[k])
		}
		m.mu += w * (mean - m.mu)
		m.bN = math.Min(300, m.bN+n)
	}
	for k, q := range p {
		switch d := (q - m.b[k]) / m.mu; {
		case d < -math.Max(0.15, 1-math.Exp(-2*se)):
			m.b[k] += 0.4 * (q - m.b[k])
		case young:
		case d < 0:
			m.b[k] += 0.1 * (q - m.b[k])
		case d < 0.07:
			m.b[k] += 0.05 * (q - m.b[k])
		}
	}
	m.base = m.b[1]
	rr := m.ratio(q)
	if !m.slowStart {
		m.mu += 0.1 * (mean/math.Max(1, rr) - m.mu)
	}
	m.rr, m.pPrev = rr, rr
	lo, hi := 1.08*math.Exp(0.5*se), 1.12*math.Exp(1.5*se)
	once := math.Min(2, hi*hi)
	if m.slowStart {
		once = math.Max(2, math.Exp(3*math.Min(wide, 0.6)))
	}
	if rr < 1.07 {
		m.baseOK, m.latLim = m.now, 0
	}
	if rr <= hi {
		m.hot = false
		if !young {
			m.bN = math.Min(300, m.bN+n)
		}
		m.sure = m.sure || float64(m.peak) >= 12
	}
	switch {
	case rr > hi && rr < once && !m.hot:
		m.hot = true
	case rr > hi:
		m.cutLatency(p, rr, hi)
	case rr < lo || m.slowStart || m.now-m.hotT > 20:
		if rr < 1.05 || m.limit >= m.serL {
			m.serL = 0
		}
		if float64(m.peak) >= 0.8*math.Floor(m.limit) && m.gains(mean, noise) {
			m.grow()
		}
	default:
		m.latLim++
		m.boost, m.slowStart = 1, false
	}
	small := m.latLim > 0 && m.limit < 5.5 && m.mu < 0.5 && m.now-m.prbT > m.prbH
	refused := m.limit >= 3 && m.limit <= m.ceil && m.fb < 0.01
	if m.limit >= 2 && (m.latLim > 3 && m.now-m.baseOK > 60 || !m.sure && (m.latLim > 0 || refused) || small) {
		m.prb, m.prbL = true, math.Max(1, math.Floor(m.limit/2))
	}
}

func (m *model) cutLatency(p [4]float64, rr, hi float64) {
	m.latLim++
	m.hotT = m.now
	if m.serL == 0 {
		m.serL, m.serPL, m.serP, m.serN = m.limit, m.limit, rr, 0
	} else if m.limit <= 0.8*m.serPL || m.limit <= 2 {
		if rr > 0.9*m.serP {
			m.serN++
		} else {
			m.serN = 0
		}
		m.serPL, m.serP = m.limit, rr
	}
	if m.serN >= 2 || m.serN >= 1 && m.limit <= 2 {
		m.rebase(p, m.sum/float64(m.n))
		m.set(math.Max(m.limit, 0.7*m.serL), "the service is slower, whatever the limit")
		m.serL = 0
		return
	}
	if float64(m.peak) > 0.5*m.limit {
		if m.ceil > m.limit {
			m.ceil = 0
		}
		m.slowStart = false
		m.set(m.limit*clampF(hi/rr, 0.6, 0.97), fmt.Sprintf("latency %.1fx baseline (%.0f ms)", rr, m.base*1000))
	}
	m.boost = 1
}

func (m *model) gains(mean, noise float64) bool {
	switch {
	case m.n < 30: // says nothing of a mean
	case m.refL == 0 || m.limit < 0.7*m.refL:
		m.refL, m.refM, m.refE = m.limit, mean, noise
	case m.limit <= 1.1*m.refL:
		m.refM += 0.3 * (mean - m.refM)
	case m.limit >= 1.5*m.refL:
		slower, gain := mean/m.refM, m.limit/m.refL
		if m.n >= 60 && slower > (1+0.65*(gain-1))*math.Exp(1.5*hypot(noise, m.refE)) {
			m.holdX = clampF(2*m.holdX, 15, 120)
			m.ceil = math.Max(math.Max(1, 0.9*m.refL), math.Min(m.limit*m.mu/mean, 0.9*m.limit))
			m.ceilU, m.okC = m.now+m.holdX, 150
			m.set(m.ceil, fmt.Sprintf("no gain: latency x%.2f for load x%.2f", slower, gain))
			m.slowStart, m.boost = false, 1
			return false
		}
		if slower < 1+0.4*(gain-1) {
			m.refL, m.refM, m.refE = m.limit, mean, noise
		}
	}
	return true
}

func (m *model) grow() {
	switch {
	case m.ceil > 0 && m.limit < m.ceil:
		to := m.limit*1.25 + 1
		if m.slowStart {
			to = m.limit * 2
		}
		if to >= m.ceil {
			m.slowStart = false
		}
		m.set(math.Min(m.ceil, to), "grows to its ceiling")
	case m.ceil > 0 && (m.now < m.ceilU || m.okC < math.Min(150, 20*m.hold)):
	case m.slowStart && m.preT > 0:
		m.set(m.limit*1.5, "slow start")
	case m.slowStart:
		m.set(m.limit*2, "slow start")
	default:
		if float64(m.peak) >= math.Floor(m.limit) {
			m.clean = m.limit
		}
		faster := clampF((m.now-m.ws)/2, 1, 3)
		if m.limit <= m.ceil {
			faster = 1
		}
		m.set(m.limit+math.Max(1, m.limit*math.Min(0.25, 0.05*m.boost*faster)), "probes upwards")
		m.boost *= 1.5
		if m.ceil > 0 && m.limit > math.Max(1.5*m.ceil, m.ceil+2.5) {
			m.ceil, m.hold = 0, 2
			m.slowStart = m.holdX == 0
		}
	}
}

func (m *model) share(me *modelWorker, whole, allWants, othersHave, extras int) int {
	wants, free := m.rep.Wants, whole-othersHave
	if allWants <= whole {
		me.extra = 0
		return min(wants, free)
	}
	given := 0
	for _, w := range m.workers {
		given += whole * w.wants / allWants
	}
	mine := whole * wants / allWants
	switch {
	case me.extra > 0 && m.now-me.extra > 2:
		me.extra, me.barred = 0, m.now+0.2
	case mine < wants && m.now > me.barred && extras < whole-given && free > mine:
		if me.extra == 0 {
			me.extra = m.now
		}
		mine++
	default:
		me.extra = 0
	}
	return min(mine, free)
}

func (m *model) probe() int {
	for id, w := range m.workers {
		if id != m.rep.Worker && w.has > w.busy {
			return 0
		}
	}
	if m.rep.Wants == 0 || m.prober == m.epoch {
		return 0
	}
	m.prober = m.epoch
	return m.rep.InFlight + 1
}
