package lane

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/conn/simnet"
	"github.com/weir-tasks/weir/internal/lane/governor"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// service answers in latency, and refuses what is beyond its capacity.
type service struct {
	capacity, latency, after atomic.Int64 // after: the Retry-After of refusals, ns
	in, peak, ok, refused    atomic.Int64
}

func (s *service) call() governor.Result {
	began := time.Now()
	n := s.in.Add(1)
	defer s.in.Add(-1)
	for p := s.peak.Load(); n > p && !s.peak.CompareAndSwap(p, n); p = s.peak.Load() {
	}
	if n > s.capacity.Load() {
		s.refused.Add(1)
		r := governor.Result{Outcome: governor.Overload, Started: began, Latency: time.Millisecond}
		if after := s.after.Load(); after > 0 {
			r.Outcome, r.RetryAfter = governor.Throttled, time.Duration(after)
		}
		time.Sleep(time.Millisecond)
		return r
	}
	time.Sleep(time.Duration(s.latency.Load()))
	s.ok.Add(1)
	return governor.Result{Started: began, Latency: time.Since(began)}
}

// forget begins to count anew.
func (s *service) forget() { s.ok.Store(0); s.refused.Store(0); s.peak.Store(0) }

// cluster is a Redis and workers that have endless work for one lane.
type cluster struct {
	t    *testing.T
	b    *simnet.Bubble
	c    *redis.Client
	stop []func()
	sets []*Set
}

func inBubble(t *testing.T, f func(c *cluster, s *service)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := simnet.NewBubble(t)
		c := &cluster{t: t, b: b, c: b.Client(t)}
		s := &service{}
		s.capacity.Store(20)
		s.latency.Store(int64(50 * time.Millisecond))
		f(c, s)
		for _, stop := range c.stop {
			stop()
		}
	})
}

// worker runs a worker with endless work until stop is called.
func (c *cluster) worker(id string, slots int, s *service) *Set {
	set := NewSet(id, slots)
	set.Learn("a", true)
	ctx, cancel := context.WithCancel(c.t.Context())
	var all sync.WaitGroup
	all.Go(func() { set.Govern(ctx, c.c, slog.New(slog.DiscardHandler)) })
	all.Go(func() {
		for ctx.Err() == nil {
			set.Backlog("a", 1000)
			n := set.Take("a", slots)
			for range n {
				all.Go(func() { set.Done("a", s.call()) })
			}
			if n > 0 {
				continue
			}
			select {
			case <-set.Freed():
			case <-ctx.Done():
			}
		}
	})
	c.stop = append(c.stop, func() { cancel(); all.Wait() })
	c.sets = append(c.sets, set)
	return set
}

// Four workers find what a service can take, keep to it, and follow it.
func TestTheLimitIsFoundByAllTogether(t *testing.T) {
	inBubble(t, func(c *cluster, s *service) {
		for _, id := range []string{"w1", "w2", "w3", "w4"} {
			c.worker(id, 100, s)
		}
		for _, capacity := range []int64{20, 50} {
			s.capacity.Store(capacity)
			time.Sleep(20 * time.Second)
			s.forget()
			const length = 10 * time.Second
			time.Sleep(length)
			best := float64(capacity) * length.Seconds() / 0.05
			good, refused := float64(s.ok.Load())/best, float64(s.refused.Load())/float64(s.ok.Load()+s.refused.Load())
			c.t.Logf("capacity %d: %.0f%% of it used, %.2f%% refused, peak %d", capacity, 100*good, 100*refused, s.peak.Load())
			if good < 0.7 || refused > 0.1 || s.peak.Load() > 5*capacity/2 {
				c.t.Errorf("capacity %d: %.0f%% of it used, %.2f%% refused, peak %d", capacity, 100*good, 100*refused, s.peak.Load())
			}
		}
	})
}

// A new lane begins with few in the whole cluster, whatever slots there are.
func TestANewLaneBeginsWithFew(t *testing.T) {
	inBubble(t, func(c *cluster, s *service) {
		s.capacity.Store(1000)
		s.latency.Store(int64(400 * time.Millisecond))
		for _, id := range []string{"w1", "w2", "w3", "w4"} {
			c.worker(id, 100, s)
		}
		time.Sleep(390 * time.Millisecond) // before any answer
		if s.peak.Load() == 0 || s.peak.Load() > few {
			c.t.Errorf("%d in flight at first", s.peak.Load())
		}
	})
}

// One is told to wait, and all do.
func TestARetryAfterHoldsAllWorkers(t *testing.T) {
	inBubble(t, func(c *cluster, s *service) {
		c.worker("w1", 10, s)
		c.worker("w2", 10, s)
		time.Sleep(20 * time.Second)
		s.after.Store(int64(10 * time.Second))
		s.capacity.Store(0)
		time.Sleep(time.Second)
		s.forget()
		s.capacity.Store(20)
		time.Sleep(8 * time.Second)
		if n := s.ok.Load() + s.refused.Load(); n > 0 {
			c.t.Errorf("%d calls during the pause", n)
		}
		time.Sleep(3 * time.Second)
		if s.ok.Load() == 0 {
			c.t.Error("it does not go on")
		}
	})
}

// Permits that never come back count as in flight: that worker's share is lost, but the
// others find all that the service can take; also when the worker dies.
func TestAWorkerThatNeverCallsDoneHarmsNobody(t *testing.T) {
	inBubble(t, func(c *cluster, s *service) {
		stuck := c.govern(10)
		c.worker("w1", 50, s)
		c.worker("w2", 50, s)
		time.Sleep(10 * time.Second) // alone on a new lane it would have all four of its permits
		stuck.Learn("a", true)
		took := 0
		for range 300 { // 30 s
			stuck.Backlog("a", 1000)
			took += stuck.Take("a", 10)
			time.Sleep(100 * time.Millisecond)
		}
		if took == 0 || took > 10 {
			c.t.Errorf("it took %d permits of its 10 slots", took)
		}
		for _, dies := range []bool{false, true} {
			if dies {
				c.stop[0]()
				c.stop[0] = func() {}
				time.Sleep(5 * time.Second)
			}
			s.forget()
			const length = 10 * time.Second
			time.Sleep(length)
			good := float64(s.ok.Load()) / (20 * length.Seconds() / 0.05)
			refused := float64(s.refused.Load()) / float64(s.ok.Load()+s.refused.Load())
			c.t.Logf("it has died: %v; %.0f%% of the service used, %.2f%% refused, peak %d", dies, 100*good, 100*refused, s.peak.Load())
			if good < 0.7 || refused > 0.1 || s.peak.Load() > 40 {
				c.t.Errorf("it has died: %v; %.0f%% of the service used, %.2f%% refused, peak %d", dies, 100*good, 100*refused, s.peak.Load())
			}
		}
	})
}

// The operator's word holds everywhere within a second.
func TestAConfigurationHoldsWithinASecond(t *testing.T) {
	inBubble(t, func(c *cluster, s *service) {
		s.capacity.Store(1000)
		c.worker("w1", 50, s)
		c.worker("w2", 50, s)
		time.Sleep(20 * time.Second)
		for _, want := range []struct {
			conf     governor.Config
			min, max int64 // calls in 10 s
		}{
			{governor.Config{Limit: 3}, 500, 610},
			{governor.Config{Rate: 10}, 80, 110},
			{governor.Config{Paused: true}, 0, 0},
			{governor.Config{Limit: 1}, 150, 210},
		} {
			if err := governor.Configure(c.t.Context(), c.c, "a", want.conf); err != nil {
				c.t.Fatal(err)
			}
			time.Sleep(time.Second)
			s.forget()
			time.Sleep(10 * time.Second)
			if n := s.ok.Load(); n < want.min || n > want.max {
				c.t.Errorf("%+v: %d calls in 10 s, want %d to %d", want.conf, n, want.min, want.max)
			}
		}
	})
}

// What was not known to be governed is, with what is in flight already.
func TestALaneIsFoundToBeGoverned(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := NewSet("w", 50)
		if n := set.Take("a", 50); n != few {
			c.t.Errorf("%d permits of a lane nobody knows", n)
		}
		ctx, cancel := context.WithCancel(c.t.Context())
		var all sync.WaitGroup
		all.Go(func() { set.Govern(ctx, c.c, slog.New(slog.DiscardHandler)) })
		set.Learn("a", true)
		time.Sleep(time.Second)
		if n := set.Take("a", 50); n != 0 {
			c.t.Errorf("%d more beside the %d in flight", n, few)
		}
		set.Return("a", few)
		if loose := set.Loose(); !slices.Equal(loose, []string{"a"}) {
			c.t.Errorf("loose are %v", loose)
		}
		if n := set.Take("a", 50); n != few {
			c.t.Errorf("%d permits to begin with", n)
		}
		set.Return("a", few)
		set.Backlog("a", 0)
		time.Sleep(5 * time.Second)
		if st := set.Stats()[0]; st.Governed != nil || set.Room() != 50 {
			c.t.Errorf("an idle lane is governed: %+v, room %d", st, set.Room())
		}
		set.Keep(nil)
		if len(set.Stats()) != 0 {
			c.t.Error("it is not forgotten")
		}
		cancel()
		all.Wait()
	})
}

// govern runs a Set's reports until the test ends.
func (c *cluster) govern(slots int) *Set { return c.run(NewSet("w", slots)) }

func (c *cluster) run(set *Set) *Set {
	ctx, cancel := context.WithCancel(c.t.Context())
	gone := make(chan struct{})
	go func() { defer close(gone); set.Govern(ctx, c.c, slog.New(slog.DiscardHandler)) }()
	c.stop = append(c.stop, func() { cancel(); <-gone })
	return set
}

// A lane whose record cannot be used stands still; others go on.
func TestABrokenLaneHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := c.govern(1)
		c.c.Set(c.t.Context(), "weir:{broken}:flow:config", "no hash", 0)
		set.Learn("broken", true)
		if n := set.Take("broken", 1); n != 0 || set.Room() != 0 {
			c.t.Errorf("%d permits at once, room %d", n, set.Room())
		}
		time.Sleep(5 * time.Second)
		if n := set.Take("broken", 1); n != 0 || set.Room() != 1 {
			c.t.Errorf("%d permits, room %d", n, set.Room())
		}
	})
}

// Whoever was refused is told when the lane falls idle, also where no report was answered:
// nobody would ask for its permits again.
func TestARefusedLaneThatFallsIdleIsLoose(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := c.govern(5)
		c.b.SetDown(true)
		set.Learn("a", true)
		if n := set.Take("a", 1); n != 0 {
			c.t.Fatalf("%d permits", n)
		}
		set.Backlog("a", 0)
		time.Sleep(20 * time.Second)
		if st, loose := set.Stats()[0], set.Loose(); st.Governed != nil || !slices.Equal(loose, []string{"a"}) || set.Room() != 5 {
			c.t.Errorf("it is %+v, loose are %v, room %d", st, loose, set.Room())
		}
		c.b.SetDown(false)
		set.Take("a", 1)
		time.Sleep(2 * time.Second)
		if n := set.Take("a", 1); n != 1 {
			c.t.Errorf("%d permits when it has work again", n)
		}
	})
}

// A lane may have a limit in each worker and be governed beside: the lower counts. When it
// is governed no more, the worker's own is left.
func TestAWorkersOwnLimitHoldsBesideTheGovernors(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := c.govern(20)
		set.Limit("a", 3)
		set.Governed([]string{"a"})
		set.Take("a", 1)
		set.Backlog("a", 10)
		time.Sleep(time.Second)
		if n := set.Take("a", 20); n != 3 {
			c.t.Errorf("%d permits, want the worker's limit", n)
		}
		set.Return("a", 3)
		if err := governor.Configure(c.t.Context(), c.c, "a", governor.Config{Limit: 2}); err != nil {
			c.t.Fatal(err)
		}
		set.Backlog("a", 10)
		time.Sleep(time.Second)
		if n := set.Take("a", 20); n != 2 {
			c.t.Errorf("%d permits, want the operator's limit", n)
		}
		set.Governed(nil)
		if n := set.Take("a", 20); n != 1 {
			c.t.Errorf("%d more permits, want the worker's limit", n)
		}
		set.Return("a", 3)
	})
}

// What is logged of a lane: each change of its state; of its limit what is a fifth of it, and
// not more often than every 5 s; nothing by those whose report has changed nothing.
func TestLogLinesAreFew(t *testing.T) {
	var out strings.Builder
	set := NewSet("w", 1)
	now := time.Now()
	set.now = func() time.Time { return now }
	g := &governing{set: set, log: slog.New(slog.NewTextHandler(&out, nil)), said: make(map[string]said)}
	for _, step := range []struct {
		after time.Duration
		grant governor.Grant
		want  string
	}{
		{0, governor.Grant{From: 4, Limit: 8}, ""},
		{0, governor.Grant{From: 4, Limit: 8, Why: "slow start"}, "lane a limit 4 -> 8: slow start"},
		{time.Second, governor.Grant{From: 8, Limit: 16, Why: "slow start"}, ""},
		{5 * time.Second, governor.Grant{From: 100, Limit: 105, Why: "probes upwards"}, ""},
		{0, governor.Grant{From: 100, Limit: 75, Why: "overload 3%"}, "lane a limit 100 -> 75: overload 3%"},
		{time.Second, governor.Grant{State: governor.Paused, Why: "the service asked to wait 9 s"}, "lane a paused: the service asked to wait 9 s"},
		{time.Second, governor.Grant{State: governor.Paused, Why: "the service asked to wait 9 s"}, ""},
		{time.Second, governor.Grant{State: governor.Outage, Why: "outage: 3 of 3 failed"}, "lane a outage: 3 of 3 failed"},
		{time.Second, governor.Grant{State: governor.Probing, Why: "outage: 1 of 1 failed"}, ""},
		{time.Second, governor.Grant{From: 0, Limit: 4, Why: "recovered, ramp to 42"}, "lane a limit 0 -> 4: recovered, ramp to 42"},
	} {
		now = now.Add(step.after)
		out.Reset()
		g.tell("a", step.grant)
		if got := out.String(); (step.want == "") != (got == "") || !strings.Contains(got, step.want) {
			t.Errorf("%+v is told as %q, want %q", step.grant, got, step.want)
		}
	}
}

// Where all slots are in use by some lanes, the others cost nothing: ten thousand of them
// would keep Redis busy with reports.
func TestLanesThatWaitForSlotsAreNotReportedOn(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := c.govern(2)
		lanes := []string{"a", "b", "c", "d", "e"}
		set.Governed(lanes)
		asked := func() (n int) {
			for _, st := range set.Stats() {
				if st.Governed != nil {
					n++
				}
			}
			return n
		}
		for _, name := range lanes {
			set.Take(name, 1)
			time.Sleep(time.Second)
			if n := set.Take(name, 1); n != 1 {
				t.Fatalf("%d permits", n)
			}
			set.Return(name, 1)
			set.Backlog(name, 1)
		}
		if n := asked(); n != len(lanes) {
			t.Errorf("with slots free %d lanes are reported on", n)
		}
		set.Learn("plain", false)
		set.Take("plain", 2)
		time.Sleep(3 * time.Second)
		if n := asked(); n != 0 {
			t.Errorf("without slots %d lanes are reported on", n)
		}
		set.Return("plain", 1)
		set.Take("a", 1)
		time.Sleep(time.Second)
		if n := set.Take("a", 1); n != 1 {
			t.Errorf("%d permits when there is a slot again", n)
		}
	})
}

// A lane that is used now and then is reported on then: ten thousand of them would keep
// Redis busy with reports of nothing. At last it holds no permits.
func TestALaneThatIsDoneSaysSo(t *testing.T) {
	inBubble(t, func(c *cluster, s *service) {
		var w reports
		set := NewSet("w", 10)
		set.Watch(&w)
		c.run(set)
		set.Governed([]string{"a"})
		for range 2 {
			before := w.sent.Load()
			c.one(set, s.call)
			time.Sleep(lingers - 2*tick)
			if n := w.sent.Load() - before; n > 5 {
				t.Errorf("%d reports of one request", n)
			}
			if n := w.permits.Load(); n != 0 {
				t.Errorf("%d permits are kept", n)
			}
		}
		before := w.sent.Load()
		time.Sleep(3 * lingers)
		if n := w.sent.Load() - before; n > 0 {
			t.Errorf("%d reports of an idle lane", n)
		}
		if st := set.Stats(); len(st) != 1 || st[0].Governed != nil {
			t.Errorf("it is remembered for good: %+v", st)
		}
	})
}

// What a service says to a request that is over before the next look is told to all, also
// where the lane was idle.
func TestAQuickRefusalOfAnIdleLaneIsTold(t *testing.T) {
	inBubble(t, func(c *cluster, s *service) {
		set := c.govern(10)
		set.Governed([]string{"a"})
		c.one(set, s.call)
		time.Sleep(lingers / 2)
		c.one(set, func() governor.Result {
			return governor.Result{Outcome: governor.Throttled, Started: time.Now(), Latency: time.Millisecond, RetryAfter: time.Minute}
		})
		time.Sleep(2 * lingers)
		v, ok, err := governor.Look(c.t.Context(), c.c, "a")
		if err != nil || !ok || v.State != governor.Paused {
			t.Errorf("%+v, %v, %v", v, ok, err)
		}
	})
}

// Calls that are over before the next look, one by one, each find a permit.
func TestCallsOneByOneDoNotWait(t *testing.T) {
	inBubble(t, func(c *cluster, s *service) {
		set := c.govern(10)
		set.Governed([]string{"a"})
		s.latency.Store(int64(time.Millisecond))
		c.one(set, s.call)
		for i := range 50 {
			time.Sleep(5 * tick)
			if set.Take("a", 1) == 0 {
				t.Fatalf("call %d has none", i)
			}
			set.Done("a", s.call())
			set.Backlog("a", 0)
		}
	})
}

// one takes a permit for a request, as soon as there is one.
func (c *cluster) one(set *Set, call func() governor.Result) {
	for set.Take("a", 1) == 0 {
		time.Sleep(tick)
	}
	set.Done("a", call())
	set.Backlog("a", 0)
}

type reports struct {
	deaf
	sent, permits atomic.Int64
}

func (r *reports) Sync(_ string, g governor.Grant, _ time.Duration, _ error) {
	r.sent.Add(1)
	r.permits.Store(int64(g.Permits))
}
