package governor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// lab is a lane in a Redis and a clock of the test's.
type lab struct {
	t   *testing.T
	ctx context.Context
	rdb redis.UniversalClient
	now float64

	epoch int64 // of the state that a test has set
}

func onBoth(t *testing.T, f func(l *lab)) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		f(&lab{t: t, ctx: context.Background(), rdb: rdb, now: 1e9})
	})
}

// sync reports a worker that wants all its 10 slots.
func (l *lab) sync(worker string, change ...func(*Report)) Grant {
	l.t.Helper()
	r := Report{Worker: worker, Wants: 10, Slots: 10, Remaining: -1}
	for _, f := range change {
		f(&r)
	}
	g, err := syncAt(l.ctx, l.rdb, "x", r, l.now)
	if err != nil {
		l.t.Fatal(err)
	}
	return g
}

func (l *lab) configure(c Config) {
	l.t.Helper()
	if err := Configure(l.ctx, l.rdb, "x", c); err != nil {
		l.t.Fatal(err)
	}
}

func knows(epoch int64) func(*Report) { return func(r *Report) { r.Epoch = epoch } }
func has(n int) func(*Report)         { return func(r *Report) { r.InFlight = n } }

func TestNewLaneBeginsWithFour(t *testing.T) {
	onBoth(t, func(l *lab) {
		a, b := l.sync("a"), l.sync("b")
		if a.Permits != 4 || b.Permits != 0 || a.Limit != 4 || a.State != Open || a.Tokens != -1 {
			t.Errorf("a %+v, b %+v", a, b)
		}
		l.now += 0.25
		if a = l.sync("a"); a.Permits != 2 {
			t.Errorf("with another worker a keeps %d", a.Permits)
		}
		if b = l.sync("b"); b.Permits != 2 {
			t.Errorf("b has %d", b.Permits)
		}
	})
}

func TestDeadWorkersLeaseEnds(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.sync("dead")
		l.now++
		if g := l.sync("b"); g.Permits != 0 {
			t.Errorf("b has %d of a dead worker's permits", g.Permits)
		}
		l.now += 1.1
		if g := l.sync("b"); g.Permits != 4 {
			t.Errorf("after its lease b has %d", g.Permits)
		}
	})
}

func TestLostStateMakesNoBurst(t *testing.T) {
	onBoth(t, func(l *lab) {
		g := l.sync("a")
		if err := Reset(l.ctx, l.rdb, "x"); err != nil {
			t.Fatal(err)
		}
		l.now++
		a, b := l.sync("a", knows(g.Epoch), has(9)), l.sync("b", has(7))
		if a.Permits != 9 || b.Permits != 7 || a.Epoch <= g.Epoch {
			t.Errorf("at once: a %+v, b %+v", a, b)
		}
		l.now += 0.6
		a, b = l.sync("a", knows(a.Epoch), has(9)), l.sync("b", has(7))
		if a.Permits != 0 || b.Permits != 0 { // 16 are in flight, the limit is 4
			t.Errorf("later: a %+v, b %+v", a, b)
		}
	})
}

func TestClockOfAnotherRedis(t *testing.T) {
	onBoth(t, func(l *lab) {
		g := l.sync("a")
		l.now -= 3600
		if g = l.sync("a", knows(g.Epoch), has(3)); g.Permits != 3 {
			t.Errorf("an hour back: %+v", g)
		}
		l.now += 0.6
		if g = l.sync("a", knows(g.Epoch), has(3)); g.Permits != 4 || g.Wait != 0 {
			t.Errorf("and on: %+v", g)
		}
		l.now += 3 * 365 * 86400
		if g = l.sync("a", knows(g.Epoch), has(2)); g.Permits != 2 {
			t.Errorf("years on: %+v", g)
		}
	})
}

func TestRetryAfterHoldsTheLaneInAllWorkers(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.sync("a")
		l.now += 0.25
		told := l.sync("a", func(r *Report) { r.RetryAfter, r.Age, r.Answered = 30*time.Second, 100*time.Millisecond, 50 })
		if told.State != Paused || told.Wait < 30*time.Second || told.Wait > 32*time.Second || told.Tokens != 0 || told.Why == "" {
			t.Errorf("%+v", told)
		}
		l.now += 1
		if g := l.sync("b"); g.State != Paused || g.Wait > 31*time.Second || g.Wait < 28*time.Second || g.Why != "" {
			t.Errorf("b: %+v", g)
		}
	})
}

func TestOutageHasOneProbe(t *testing.T) {
	onBoth(t, func(l *lab) {
		g := l.sync("a")
		l.sync("b")
		for range 10 { // a lane nobody knows is given 2 s
			l.now += 0.25
			g = l.sync("a", knows(g.Epoch), func(r *Report) { r.Overloads = 3 })
		}
		if g.State != Outage && g.State != Probing {
			t.Fatalf("%+v", g)
		}
		most := 0
		for range 40 {
			l.now += 0.25
			probes := 0
			for _, w := range []string{"a", "b", "c"} {
				probes += l.sync(w, knows(g.Epoch)).Permits
			}
			most = max(most, probes)
		}
		if most != 1 {
			t.Errorf("%d probes at once", most)
		}
		for range 20 { // it answers
			l.now += 0.25
			g = l.sync("a", knows(g.Epoch), func(r *Report) { r.Samples.Add(time.Millisecond); r.Answered = 1 })
			if g.State == Open {
				break
			}
		}
		if g.State != Open || !strings.Contains(g.Why, "recovered") {
			t.Errorf("%+v", g)
		}
	})
}

func TestOperator(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.sync("a")
		step := func(c Config) Grant {
			l.configure(c)
			l.now += 0.25
			return l.sync("a")
		}
		if g := step(Config{Limit: 7}); g.Permits != 7 || g.Limit != 7 {
			t.Errorf("a limit: %+v", g)
		}
		if g := step(Config{Paused: true}); g.Permits != 0 || g.State != Held || g.Why != "paused by the operator" {
			t.Errorf("paused: %+v", g)
		}
		if v, ok, err := Look(l.ctx, l.rdb, "x"); err != nil || !ok || v.State != Held || v.Why != "paused by the operator" {
			t.Errorf("paused: %+v %v %v", v, ok, err)
		}
		if g := step(Config{}); g.Permits == 0 || g.State != Open || g.Why != "resumed by the operator" {
			t.Errorf("resumed: %+v", g)
		}
		if g := step(Config{Max: 3}); g.Permits != 3 {
			t.Errorf("max: %+v", g)
		}
		if g := step(Config{Min: 9}); g.Permits != 9 {
			t.Errorf("min: %+v", g)
		}
		if g := step(Config{Rate: 100, Burst: 2}); g.Tokens != 2 || g.Rate != 100 {
			t.Errorf("a rate: %+v", g)
		}
		if g := step(Config{}); g.Tokens != -1 || g.Rate != 0 {
			t.Errorf("no rate: %+v", g)
		}
		got, err := Configured(l.ctx, l.rdb)
		if err != nil || !slices.Equal(got, []string{"x"}) {
			t.Errorf("%v %v", got, err)
		}
		if err := Unconfigure(l.ctx, l.rdb, "x"); err != nil {
			t.Fatal(err)
		}
		if c, err := LoadConfig(l.ctx, l.rdb, "x"); err != nil || c != (Config{}) {
			t.Errorf("%+v %v", c, err)
		}
	})
}

// The rate is the whole lane's: what all workers are leased over time.
func TestRateIsSharedByAllWorkers(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.configure(Config{Rate: 40})
		tokens := 0
		for range 80 { // 20 s
			for _, w := range []string{"a", "b", "c"} {
				tokens += max(0, l.sync(w).Tokens)
			}
			l.now += 0.25
		}
		if tokens < 780 || tokens > 840 {
			t.Errorf("%d tokens in 20 s at 40/s", tokens)
		}
	})
}

func TestWhereTokensAreFewTheyAreForWhoHasAPermitFree(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.configure(Config{Rate: 2, Limit: 10})
		l.sync("a")
		if g := l.sync("b"); g.Tokens != 0 {
			t.Fatalf("%+v", g) // a has the first
		}
		l.now += 0.5
		if g := l.sync("a", has(5)); g.Permits != 5 || g.Tokens != 0 {
			t.Errorf("with all permits in flight %+v", g)
		}
		if g := l.sync("b"); g.Permits != 5 || g.Tokens != 1 {
			t.Errorf("with permits free %+v", g)
		}
	})
}

// A service that still answers what it has begun, and refuses all else, is in an outage
// only after the limit was cut for long.
func TestRampGoesToTheLimitBeforeTheCuts(t *testing.T) {
	onBoth(t, func(l *lab) {
		g := l.sync("a")
		busy := 0
		step := func(replies, overloads int) {
			l.now += 0.5
			g = l.sync("a", knows(g.Epoch), has(busy), func(r *Report) {
				r.Wants, r.Slots, r.Answered, r.Overloads = 200, 200, replies, overloads
				for range replies {
					r.Samples.Add(50 * time.Millisecond)
				}
			})
			busy = g.Permits
		}
		for g.Limit < 100 {
			step(150, 0)
		}
		before := g.Limit
		for range 16 { // 8 s
			step(1, 10)
		}
		after := g.Limit
		for range 6 {
			step(0, 3)
		}
		if after > before/2 || g.State != Outage && g.State != Probing {
			t.Fatalf("limit %d, then %d: %+v", before, after, g)
		}
		for range 20 {
			if step(1, 0); g.State == Open {
				break
			}
		}
		if want := fmt.Sprintf("recovered, ramp to %.0f", 0.9*float64(before)); !strings.HasPrefix(g.Why, want[:len(want)-1]) {
			t.Errorf("%q, want about %q", g.Why, want)
		}
	})
}

func TestNewLanesFirstCutMayBeOfThreeQuarters(t *testing.T) {
	onBoth(t, func(l *lab) {
		a := l.sync("a")
		l.now += 0.25
		l.sync("a", func(r *Report) { r.Answered = 1 })
		l.now += 0.25
		if a = l.sync("a", knows(a.Epoch), has(3), func(r *Report) { r.Overloads = 3 }); a.Limit != 1 {
			t.Errorf("%+v", a)
		}
	})
}

// set changes fields of the lane's state, on top of one that knows its service: of 0.1 s, with the
// last decision two seconds ago. Each is a number.
func (l *lab) set(change map[string]float64) {
	l.t.Helper()
	l.epoch = l.sync("a").Epoch
	fields := map[string]float64{"ss": 0, "base": .1, "b1": .1, "b2": .1, "b3": .1, "b4": .1, "mu": .1, "bN": 300,
		"sd": .1, "meanP": .1, "sure": 1, "okC": 500, "lastOK": l.now, "ws": l.now - 2, "peak": 100}
	maps.Copy(fields, change)
	var args []any
	for k, v := range fields {
		args = append(args, k, v)
	}
	err := redis.NewScript(`
		local codec = rawget(_G, 'cmsgpack')
		local s = (codec and codec.unpack or cjson.decode)(redis.call('GET', KEYS[1]))
		for i = 1, #ARGV, 2 do
			assert(s[ARGV[i]], ARGV[i])
			s[ARGV[i]] = tonumber(ARGV[i + 1])
		end
		return redis.call('SET', KEYS[1], (codec and codec.pack or cjson.encode)(s))`).
		Run(l.ctx, l.rdb, []string{stateKey("x")}, args...).Err()
	if err != nil {
		l.t.Fatal(err)
	}
}

// saw is a report of so many replies after 0.1 s, of slow after 0.2 s, and of overloads.
func (l *lab) saw(fast, slow, overloads int) Grant {
	l.t.Helper()
	g := l.sync("a", knows(l.epoch), func(r *Report) {
		r.Wants, r.Slots, r.Answered, r.Overloads = 100, 100, fast+slow, overloads
		for range fast {
			r.Samples.Add(100 * time.Millisecond)
		}
		for range slow {
			r.Samples.Add(200 * time.Millisecond)
		}
	})
	l.epoch = g.Epoch
	return g
}

func TestFirstLookAboveACeilingIsSmallAlsoWhereRoundsAreLong(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 40, "ceil": 40, "ws": l.now - 6})
		if g := l.saw(100, 0, 0); g.Limit != 42 {
			t.Errorf("%+v", g)
		}
	})
}

func TestFirstRefusalAboveACeilingEndsTheLook(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 42, "ceil": 40, "ws": l.now - 0.3})
		if g := l.saw(30, 0, 1); g.Limit > 40 || g.Kind() != "overload" {
			t.Errorf("%+v", g)
		}
	})
}

func TestOneRoundBeyondThreeErrorsCuts(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 20, "mu": .12})
		if g := l.saw(0, 40, 0); g.Limit >= 20 || g.Kind() != "latency" || g.Ratio >= 2 {
			t.Errorf("%+v", g)
		}
	})
}

// Of a few replies with two latencies far apart most may be slow.
func TestOneRoundOfFewRepliesDoesNotEndSlowStart(t *testing.T) {
	onBoth(t, func(l *lab) {
		for hot, cut := range []bool{false, true} { // the first and the second
			l.set(map[string]float64{"L": 8, "ss": 1, "bN": 14, "sd": 1.5, "mu": .08, "hot": float64(hot)})
			if g := l.saw(0, 14, 0); g.Limit < 8 != cut || g.Ratio < 2 {
				t.Errorf("cut %v: %+v", cut, g)
			}
		}
	})
}

// What refuses above four may queue three before.
func TestLimitThatWasNeverLargeIsMeasuredAtHalf(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 4, "ceil": 4, "ceilU": l.now + 9, "sure": 0, "peak": 4})
		if g := l.saw(30, 0, 0); g.Permits != 2 || g.Limit != 4 {
			t.Errorf("%+v", g)
		}
	})
}

// At half the load half the latency, which varies much: 20 replies do not tell, 40 do.
func TestProbeThatDoesNotTellGoesOn(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 4, "prb": 1, "prbL": 2, "sd": 1, "bN": 20, "mu": .2, "base": .2, "b1": .2, "b2": .2, "b3": .2, "b4": .2})
		if g := l.saw(20, 0, 0); g.Permits != 2 || g.Limit != 4 {
			t.Errorf("%+v", g)
		}
		if g := l.saw(20, 0, 0); g.Limit != 2 || g.Why != "the baseline had a queue in it" {
			t.Errorf("%+v", g)
		}
	})
}

// A probe that does not tell yet is no reason to flood a service that refuses.
func TestOverloadEndsAProbeThatDoesNotTell(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 40, "prb": 1, "prbL": 20, "sd": 1, "bN": 20, "mu": .2, "base": .2, "b1": .2, "b2": .2, "b3": .2, "b4": .2})
		l.saw(12, 0, 0)
		for i := range 12 {
			l.now += 0.25
			if g := l.saw(i%3/2, 0, 3); g.Limit < 40 {
				return
			} else if i == 11 {
				t.Errorf("refused for 3 s: %+v", g)
			}
		}
	})
}

func TestLimitOfOneIsNotCut(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 1})
		if g := l.saw(30, 0, 1); g.Limit != 2 {
			t.Errorf("%+v", g)
		}
	})
}

// With a fifth more of the slow ones the slowest quarter is all slow.
func TestSlowestQuarterSaysNoMoreThanTheMean(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 20, "mu": .12})
		if g := l.saw(60, 40, 0); g.Ratio > 1.2 {
			t.Errorf("%+v", g)
		}
	})
}

func TestProbeWithFewRepliesIsOneToo(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 4, "prb": 1, "prbL": 2, "latLim": 5, "ws": l.now - 60})
		l.saw(3, 0, 0)
		l.now++
		l.set(map[string]float64{"L": 4, "latLim": 5, "b1": .09, "b2": .09, "b3": .09})
		if g := l.saw(15, 0, 0); g.Permits < 4 {
			t.Errorf("the next one begins at once: %+v", g)
		}
	})
}

func TestRampForgetsWhatWasBeforeCutsOfLongAgo(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 10, "preL": 80, "preT": l.now - 61, "okC": 10, "lastOK": l.now - 5})
		if g := l.saw(0, 0, 5); g.State != Outage {
			t.Fatalf("%+v", g)
		}
		l.now++
		l.sync("a")
		if g := l.sync("a", func(r *Report) { r.Answered = 1 }); g.Why != "recovered, ramp to 9" {
			t.Errorf("%+v", g)
		}
	})
}

func TestRateThatHoldsNothingBackDoesNotGrow(t *testing.T) {
	onBoth(t, func(l *lab) {
		for answered, want := range map[float64]float64{4: 35, 20: 35 * 1.02} {
			l.set(map[string]float64{"L": 50, "R": 35, "rl": 1, "okRate": answered, "okT": l.now, "nextR": 0})
			l.now += 0.25
			if g := l.saw(1, 0, 0); g.Rate != want {
				t.Errorf("rate %v, want %v, with %v answers a second", g.Rate, want, answered)
			}
		}
	})
}

func TestRateOfFewASecondGrowsBySmallSteps(t *testing.T) {
	onBoth(t, func(l *lab) {
		for after, want := range map[float64]float64{1: 5.4, 30: 6.6} {
			l.set(map[string]float64{"L": 50, "R": 5, "rB": 64, "after": after, "rl": 1, "okRate": 5, "okT": l.now, "nextR": 0})
			l.now += 0.25
			if g := l.saw(1, 0, 0); g.Rate != want {
				t.Errorf("rate %v, want %v, after a pause of %v s", g.Rate, want, after)
			}
		}
	})
}

// What a refusal that asks for a wait makes of the rate.
func TestRefusalTeachesARate(t *testing.T) {
	for _, c := range []struct {
		name     string
		state    map[string]float64 // beside R, and the last pause's end
		ended    float64            // so many seconds ago
		after    time.Duration
		from, to float64
	}{
		{"tried a little above what held", map[string]float64{"R": 120, "good": 100, "okS": 1100}, 10, time.Second, 101, 103},
		{"tried far above it", map[string]float64{"R": 200, "good": 100, "okS": 1650}, 10, time.Second, 150, 190},
		{"what held does not", map[string]float64{"R": 100, "good": 100, "okS": 990}, 10, time.Second, 90, 95},
		{"again at once", map[string]float64{"R": 100, "okS": 40}, 1, time.Second, 60, 60},
		{"the first of a window of 30 s, 3 s after the first request", map[string]float64{"R": 0, "lastEv": 0, "okS": 3000, "okRate": 1500}, 3, 27 * time.Second, 97, 99},
		{"the first request of a lane", map[string]float64{"R": 0, "lastEv": 0}, 1, time.Minute, 0.5, 0.5},
		{"the first, after a few answers", map[string]float64{"R": 0, "lastEv": 0, "okS": 10, "okRate": 10}, 1, time.Minute, 7, 7},
		{"the first of a lane that has long been used", map[string]float64{"R": 0, "lastEv": 0, "okS": 3000, "okRate": 100}, 300, 27 * time.Second, 69, 71},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(l *lab) {
				state := map[string]float64{"minR": 0, "lastEv": l.now - c.ended - 1, "pEnd": l.now - c.ended, "okT": l.now}
				maps.Copy(state, c.state)
				l.set(state)
				g := l.sync("a", func(r *Report) { r.RetryAfter = c.after })
				if g.Rate < c.from || g.Rate > c.to {
					t.Errorf("%.2f/s, want %v to %v: %s", g.Rate, c.from, c.to, g.Why)
				}
			})
		})
	}
}

func TestRateThatIsRefusedAgainIsTriedMoreRarely(t *testing.T) {
	onBoth(t, func(l *lab) {
		for before, raised := range map[float64]bool{100: false, 200: true} { // what was refused before 80
			l.set(map[string]float64{"L": 50, "R": 80, "good": 0, "refused": before, "lastEv": l.now - 60, "pEnd": l.now - 59,
				"pause": 0, "okS": 4500, "rH": 20, "rB": 1})
			taught := l.sync("a", func(r *Report) { r.RetryAfter = time.Second })
			l.now += 10
			l.set(map[string]float64{"L": 50, "rl": 1, "okRate": 80, "okT": l.now})
			l.now += 0.25
			if g := l.saw(1, 0, 0); g.Rate > taught.Rate != raised {
				t.Errorf("refused at %v/s, then at 80: %v/s, ten seconds later %v", before, taught.Rate, g.Rate)
			}
			l.now += 60
		}
	})
}

// After the state was lost, a refusal of a request from before tells of no rate, nor what was
// answered until then.
func TestTailOfALostStateTeachesNoRate(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"R": 0, "lastEv": 0, "okS": 500, "pEnd": l.now, "okT": l.now})
		if g := l.sync("a", func(r *Report) { r.RetryAfter, r.Age = time.Second, 2*time.Second }); g.Rate != 0 || g.State != Paused {
			t.Errorf("%+v", g)
		}
		l.now += 2
		if g := l.sync("a", func(r *Report) { r.RetryAfter, r.Answered = 27*time.Second, 60 }); g.Rate < 2 || g.Rate > 3 {
			t.Errorf("60 in a window of 28 s: %+v", g)
		}
	})
}

func TestStateOfAnEarlierVersionIsGoneOnWith(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"L": 10, "R": 100, "lastEv": l.now - 10, "pEnd": l.now - 9})
		err := redis.NewScript(`
			local codec = rawget(_G, 'cmsgpack')
			local s = (codec and codec.unpack or cjson.decode)(redis.call('GET', KEYS[1]))
			for _, k in ipairs({'clean', 'cutT', 'prbT', 'prbH', 'eN', 'eO', 'good', 'win'}) do s[k] = nil end
			return redis.call('SET', KEYS[1], (codec and codec.pack or cjson.encode)(s))`).
			Run(l.ctx, l.rdb, []string{stateKey("x")}).Err()
		if err != nil {
			t.Fatal(err)
		}
		l.sync("a", func(r *Report) { r.Remaining, r.Reset = 50, time.Second })
		if g := l.sync("a", func(r *Report) { r.RetryAfter = time.Second }); g.Limit != 10 || g.Rate <= 0 || g.State != Paused {
			t.Errorf("%+v", g)
		}
	})
}

// At the end of a window requests under way may be of what the last answer says is left.
func TestEndOfAWindowLeavesRoomForWhatIsUnderWay(t *testing.T) {
	onBoth(t, func(l *lab) {
		left := func(n int, reset time.Duration) Grant {
			return l.sync("a", has(8), func(r *Report) { r.Remaining, r.Reset = n, reset })
		}
		l.set(map[string]float64{"L": 10, "R": 100})
		if g := left(8, 900*time.Millisecond); g.State != Open {
			t.Errorf("windows of a second, most of which requests are under way: %+v", g)
		}
		if g := left(10, 10*time.Second); g.State != Open {
			t.Errorf("long before the end: %+v", g)
		}
		l.set(map[string]float64{"L": 10, "R": 100})
		if g := left(58, 500*time.Millisecond); g.State != Open || g.Rate >= 100 {
			t.Errorf("50 are left for half a second: %+v", g)
		}
		if g := left(9, 100*time.Millisecond); g.State != Open {
			t.Errorf("one more is left: %+v", g)
		}
		if g := left(8, 100*time.Millisecond); g.State != Paused || g.Wait != 100*time.Millisecond {
			t.Errorf("all that is left may be under way: %+v", g)
		}
	})
}

func TestFewRepliesMakeNoAverage(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.set(map[string]float64{"R": 8, "minR": 5, "lastEv": l.now - 5, "pEnd": l.now - 4})
		if g := l.sync("a", func(r *Report) { r.RetryAfter = time.Second }); g.Rate != 6.4 {
			t.Errorf("%+v", g)
		}
	})
}

func TestWhatANewerVersionWroteIsRefused(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.rdb.HSet(l.ctx, configKey("x"), "format", Format+1)
		if _, err := syncAt(l.ctx, l.rdb, "x", Report{Worker: "a"}, l.now); !errors.Is(err, ErrNewer) {
			t.Errorf("sync: %v", err)
		}
		if _, err := LoadConfig(l.ctx, l.rdb, "x"); !errors.Is(err, ErrNewer) {
			t.Errorf("load: %v", err)
		}
		if err := Configure(l.ctx, l.rdb, "x", Config{Max: 3}); !errors.Is(err, ErrNewer) {
			t.Errorf("configure: %v", err)
		}
		l.rdb.HSet(l.ctx, configKey("x"), "max", "auto") // which that version may know
		if _, err := syncAt(l.ctx, l.rdb, "x", Report{Worker: "a"}, l.now); !errors.Is(err, ErrNewer) {
			t.Errorf("sync: %v", err)
		}
		if err := Configure(l.ctx, l.rdb, "x", Config{Max: 3}); !errors.Is(err, ErrNewer) {
			t.Errorf("configure: %v", err)
		}
		l.rdb.Del(l.ctx, configKey("x"))
		l.rdb.HSet(l.ctx, configKey("x"), "max", "plenty")
		if _, err := syncAt(l.ctx, l.rdb, "x", Report{Worker: "a"}, l.now); !errors.Is(err, ErrConfig) {
			t.Errorf("sync: %v", err)
		}
		if _, err := LoadConfig(l.ctx, l.rdb, "x"); !errors.Is(err, ErrConfig) {
			t.Errorf("load: %v", err)
		}
		if err := Configure(l.ctx, l.rdb, "x", Config{Max: 3}); err != nil {
			t.Errorf("configure: %v", err)
		}
	})
}

func TestSyncByRedisOwnClockAndLook(t *testing.T) {
	onBoth(t, func(l *lab) {
		if _, ok, err := Look(l.ctx, l.rdb, "x"); ok || err != nil {
			t.Errorf("a lane nobody knows: %v %v", ok, err)
		}
		g, err := Sync(l.ctx, l.rdb, "x", Report{Worker: "a", Wants: 3, InFlight: 2, Slots: 5, Remaining: -1})
		if err != nil || g.Permits != 3 {
			t.Errorf("%+v %v", g, err)
		}
		v, ok, err := Look(l.ctx, l.rdb, "x")
		if err != nil || !ok || v.Limit != 4 || v.InFlight != 2 || v.Wants != 3 || v.Workers != 1 || v.State != Open || v.Ago > time.Minute {
			t.Errorf("%+v %v %v", v, ok, err)
		}
		for _, key := range []string{stateKey("x"), viewKey("x")} {
			if ttl := l.rdb.PTTL(l.ctx, key).Val(); ttl < 59*time.Minute || ttl > time.Hour {
				t.Errorf("%s lives for %v", key, ttl)
			}
		}
	})
}

// What was met is told for some seconds, and fades.
func TestALookTellsTheShareOfErrors(t *testing.T) {
	onBoth(t, func(l *lab) {
		errors := func() float64 {
			v, ok, err := Look(l.ctx, l.rdb, "x")
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			return v.Errors
		}
		g := l.sync("a")
		if is := errors(); is != 0 {
			t.Errorf("of no calls %v", is)
		}
		reports := func(ok, refused int) {
			l.now += 0.25
			g = l.sync("a", knows(g.Epoch), func(r *Report) {
				for range ok {
					r.Samples.Add(50 * time.Millisecond)
				}
				r.Answered, r.Refused = ok, refused
			})
		}
		reports(6, 2)
		if is := errors(); is != 0.25 {
			t.Errorf("of 8 calls 2 were refused: %v", is)
		}
		for range 160 { // 40 s
			reports(6, 0)
		}
		if is := errors(); is > 0.001 {
			t.Errorf("40 s later: %v", is)
		}
	})
}

// An idle lane must not forget that it is to wait.
func TestALongPauseIsKept(t *testing.T) {
	onBoth(t, func(l *lab) {
		l.sync("a", func(r *Report) { r.RetryAfter = MaxRetryAfter })
		if ttl := l.rdb.PTTL(l.ctx, stateKey("x")).Val(); ttl < MaxRetryAfter {
			t.Errorf("the state lives for %v", ttl)
		}
	})
}

func TestConfigIsValidated(t *testing.T) {
	for want, c := range map[string]Config{
		"min 5: above max 3":   {Min: 5, Max: 3},
		"limit 9: above max 3": {Limit: 9, Max: 3},
		"limit 1: below min 2": {Limit: 1, Min: 2},
		"max -1: must be":      {Max: -1},
		"limit 1000001: must":  {Limit: MaxPermits + 1},
		"rate -2/s: must be":   {Rate: -2},
		"rate 1e+09/s: must":   {Rate: 1e9},
		"burst 3: needs":       {Burst: 3},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	if err := (Config{Max: 200, Min: 1, Limit: 50, Rate: 100, Burst: 20}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]float64{
		"100/s": 100, " 1.5 / s ": 1.5, "600/m": 10, "3600/h": 1, "86400/day": 1, "3/10s": 0.3, "7": 7, "0": 0, "none": 0,
		"1/500ms": 2, "1/d": MinRate,
	} {
		if got, err := ParseRate(s); err != nil || fmt.Sprintf("%.9g", got) != fmt.Sprintf("%.9g", want) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "/s", "fast", "-1/s", "0/s", "1/", "1/0s", "1/-1s", "1/fortnight", "NaN", "Inf/s",
		"1e99/s", "2000000/s", "1/3000h", "1/s/s", "none/s", "0x/s"} {
		if got, err := ParseRate(s); err == nil {
			t.Errorf("%q is %v", s, got)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", s)) {
			t.Errorf("%q: %v does not name it", s, err)
		}
	}
}

func TestBuckets(t *testing.T) {
	var s Samples
	for _, d := range []time.Duration{0, shortest, time.Hour, 1 << 62} {
		s.Add(d)
	}
	if s.counts[0] != 2 || s.counts[buckets-1] != 2 || s.N != 4 {
		t.Errorf("%v", s.counts)
	}
	if a, b := bucket(0.1), bucket(0.2); b-a != bucketsPerOctave {
		t.Errorf("an octave is %d buckets", b-a)
	}
}

var named = regexp.MustCompile(`\b(KEYS|ARGV)\[(\d+)\]`)

func TestScriptsUseWhatTheirHeadersName(t *testing.T) {
	files, err := filepath.Glob("lua/*.lua")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v %v", files, err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var header, body strings.Builder
		inHeader := true
		for line := range strings.Lines(string(src)) {
			code, comment, _ := strings.Cut(line, "--")
			inHeader = inHeader && strings.TrimSpace(code) == ""
			if inHeader {
				header.WriteString(comment)
			} else {
				body.WriteString(code)
			}
		}
		set := func(s string) []string {
			all := named.FindAllString(s, -1)
			slices.Sort(all)
			return slices.Compact(all)
		}
		if h, b := set(header.String()), set(body.String()); !slices.Equal(h, b) {
			t.Errorf("%s: the header names %v, the body uses %v", file, h, b)
		}
		for _, word := range []string{" " + filepath.Base(file) + ": ", "Returns", "Retry:"} {
			if !strings.Contains(header.String(), word) {
				t.Errorf("%s: the header lacks %q", file, word)
			}
		}
	}
}

// BenchmarkSync is what a sync costs Redis itself, as Redis counts it, with so many
// workers in the lane, each with some 40 replies of 60 to 160 ms to report.
func BenchmarkSync(b *testing.B) {
	for _, workers := range []int{4, 16, 64, 256} {
		b.Run(fmt.Sprintf("%d workers", workers), func(b *testing.B) {
			ctx, rdb := context.Background(), conntest.Server(b).Client()
			reports := make([]Report, workers)
			for i := range reports {
				reports[i] = Report{Worker: fmt.Sprintf("host-%d:12345:abcdef", i), Wants: 50, InFlight: 3, Slots: 50,
					Remaining: -1, Answered: 40}
				for j := range 40 {
					reports[i].Samples.Add(time.Duration(60+2.5*float64(j)) * time.Millisecond)
				}
			}
			sync := func(i int) {
				r := &reports[i%workers]
				g, err := Sync(ctx, rdb, "bench", *r)
				if err != nil {
					b.Fatal(err)
				}
				r.Epoch = g.Epoch
			}
			for i := range 2 * workers {
				sync(i)
			}
			if err := rdb.ConfigResetStat(ctx).Err(); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				sync(i)
			}
			info := rdb.Info(ctx, "commandstats").Val()
			usec := regexp.MustCompile(`cmdstat_evalsha:.*usec_per_call=([0-9.]+)`).FindStringSubmatch(info)
			if usec == nil {
				b.Fatal(info)
			}
			var us float64
			if _, err := fmt.Sscan(usec[1], &us); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(us, "redis-us/op")
			b.ReportMetric(float64(rdb.StrLen(ctx, stateKey("bench")).Val()), "state-bytes")
		})
	}
}

// All that the script may give as its reason has a word.
func TestEveryReasonHasAKind(t *testing.T) {
	var reasons []string
	for _, m := range regexp.MustCompile(`(?:\bset\(.*, (?:string\.format\()?|why = (?:.* (?:and|or) )?(?:string\.format\()?)'([^']+)'`).FindAllStringSubmatch(syncSrc, -1) {
		if m[1] != "new" {
			reasons = append(reasons, m[1])
		}
	}
	if len(reasons) < 10 {
		t.Fatalf("found only %q", reasons)
	}
	for _, why := range reasons {
		if kind := (Grant{Why: why}).Kind(); kind == "other" {
			t.Errorf("%q has no kind", why)
		}
	}
}
