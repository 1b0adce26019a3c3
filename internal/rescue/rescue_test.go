package rescue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/conn/simnet"
	"github.com/weir-tasks/weir/internal/queue"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// Deciding is apart from applying: what is seen when, and who is dead then.
func TestWhoIsDead(t *testing.T) {
	t.Parallel()
	const p = int(Patience / time.Second)
	type look struct {
		at     int // seconds
		leases string
		dead   string
	}
	for name, looks := range map[string][]look{
		"a lease that stays":         {{0, "a=1", ""}, {1, "a=1", ""}, {p - 1, "a=1", ""}, {p, "a=1", "a"}},
		"told once, then watched on": {{0, "a=1", ""}, {p, "a=1", "a"}, {p + 1, "a=1", ""}, {2*p + 1, "a=1", "a"}},
		"a lease that moves":         {{0, "a=1", ""}, {p - 1, "a=2", ""}, {p, "a=2", ""}, {2*p - 2, "a=3", ""}, {2*p - 1, "a=3", ""}},
		"it moves, then stays":       {{0, "a=1", ""}, {5, "a=2", ""}, {p, "a=2", ""}, {p + 4, "a=2", ""}, {p + 5, "a=2", "a"}},
		"none at all":                {{0, "a=", ""}, {p - 1, "a=", ""}, {p, "a=", "a"}},
		"lost it meanwhile":          {{0, "a=1", ""}, {5, "a=", ""}, {p, "a=", ""}, {p + 5, "a=", "a"}},
		"done and delivered again":   {{0, "a=1", ""}, {5, "", ""}, {6, "a=1", ""}, {p, "a=1", ""}, {p + 6, "a=1", "a"}},
		"backwards is a move too":    {{0, "a=5", ""}, {5, "a=4", ""}, {p, "a=4", ""}},
		"each for itself":            {{0, "a=1 b=1", ""}, {5, "a=1 b=2 c=1", ""}, {p, "a=1 b=2 c=1", "a"}, {p + 5, "b=2 c=1", "b c"}},
		"nobody":                     {{0, "", ""}, {p, "", ""}},
	} {
		r := New(nil, Options{})
		for _, l := range looks {
			leases := make(map[string]string)
			for pair := range strings.FieldsSeq(l.leases) {
				id, lease, _ := strings.Cut(pair, "=")
				leases[id] = lease
			}
			at := time.Unix(int64(1e9+l.at), 0)
			if was := r.seen["lane"]; was != nil {
				was.last = at // it has looked all the time, and seen the same
			}
			dead := r.dead("lane", leases, at)
			if got := strings.Join(slices.Sorted(maps.Keys(dead)), " "); got != l.dead {
				t.Errorf("%s: after %d s %q is dead, want %q", name, l.at, got, l.dead)
			}
			for id, lease := range dead {
				if lease != leases[id] {
					t.Errorf("%s: %s is dead with lease %q, seen was %q", name, id, lease, leases[id])
				}
			}
		}
	}
}

// fixture is a rescuer on an embedded Redis, in a bubble.
type fixture struct {
	*simnet.Bubble
	t      *testing.T
	ctx    context.Context
	c      *redis.Client
	client *asynq.Client
	rescued

	counting sync.Mutex
	fates    map[Fate]int // of all rescuers
}

// rescued counts the tasks that were said to be given back.
type rescued struct {
	slog.Handler
	mu    sync.Mutex
	tasks int64
}

func (r *rescued) Enabled(context.Context, slog.Level) bool { return true }
func (r *rescued) Handle(_ context.Context, rec slog.Record) error {
	rec.Attrs(func(a slog.Attr) bool {
		if a.Key == "tasks" {
			r.mu.Lock()
			r.tasks += a.Value.Int64()
			r.mu.Unlock()
		}
		return true
	})
	return nil
}

func (r *rescued) want(t *testing.T, n int64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tasks != n {
		t.Errorf("%d tasks were given back, want %d", r.tasks, n)
	}
}

func inBubble(t *testing.T, f func(t *testing.T, r *fixture)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := simnet.NewBubble(t)
		c := b.Client(t)
		f(t, &fixture{Bubble: b, t: t, ctx: t.Context(), c: c, client: asynq.NewClientFromRedisClient(c)})
	})
}

func (r *fixture) rescuer(lanes func() []string) *Rescuer {
	return New(r.c, Options{Name: "rescuer", Ledger: batch.NewLedger(r.c), Lanes: lanes, Log: slog.New(&r.rescued), Rescued: func(fate Fate, n int) {
		r.counting.Lock()
		defer r.counting.Unlock()
		if r.fates == nil {
			r.fates = make(map[Fate]int)
		}
		r.fates[fate] += n
	}})
}

// wantFates compares what rescuers were told of with what is to have become of tasks.
func (r *fixture) wantFates(want map[Fate]int) {
	r.t.Helper()
	r.counting.Lock()
	defer r.counting.Unlock()
	for _, fate := range Fates {
		if r.fates[fate] != want[fate] {
			r.t.Errorf("%d are %s, want %d", r.fates[fate], fate, want[fate])
		}
	}
}

// watch runs n rescuers until the test ends.
func (r *fixture) watch(n int, lanes ...string) {
	ctx, cancel := context.WithCancel(r.ctx)
	var all sync.WaitGroup
	for range n {
		all.Go(func() { r.rescuer(func() []string { return lanes }).Run(ctx) })
	}
	r.t.Cleanup(func() { cancel(); all.Wait() })
}

// active enqueues tasks and makes them active, as by a worker that then dies.
func (r *fixture) active(lane string, ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		if _, err := r.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue(lane), asynq.TaskID(id)); err != nil {
			r.t.Fatal(err)
		}
		r.c.LMove(r.ctx, queue.Pending(lane), queue.Active(lane), "RIGHT", "LEFT")
		r.c.HSet(r.ctx, queue.TaskPrefix(lane)+id, "state", "active")
		r.extend(lane, id)
	}
}

// extend extends leases as asynq's heartbeat does.
func (r *fixture) extend(lane string, ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		z := redis.Z{Score: float64(time.Now().Add(30 * time.Second).Unix()), Member: id}
		if err := r.c.ZAdd(r.ctx, queue.Lease(lane), z).Err(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *fixture) wantPending(lane string, ids ...string) {
	r.t.Helper()
	got := r.c.LRange(r.ctx, queue.Pending(lane), 0, -1).Val()
	slices.Sort(got)
	if !slices.Equal(got, ids) {
		r.t.Errorf("pending in %s are %v, want %v", lane, got, ids)
	}
}

// A task goes back into the list of its priority, and all workers hear of it.
func TestADeadWorkersTaskKeepsItsPriority(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		for _, p := range []queue.Priority{queue.High, queue.Low} {
			r.active("a", p.String())
			r.c.HSet(r.ctx, queue.TaskPrefix("a")+p.String(), "priority", p.String())
		}
		r.active("a", "normal")
		woken := r.c.Subscribe(r.ctx, queue.WakeChannel)
		defer woken.Close()
		heard := woken.Channel()
		r.watch(2, "a")
		time.Sleep(Patience + 3*time.Second)
		for _, p := range queue.Priorities {
			if ids := r.c.LRange(r.ctx, p.List("a"), 0, -1).Val(); !slices.Equal(ids, []string{p.String()}) {
				t.Errorf("of %v priority wait %v", p, ids)
			}
		}
		said := make(map[string]bool)
		for len(heard) > 0 {
			said[(<-heard).Payload] = true
		}
		if !said["a"] || !said["a:high"] || !said["a:low"] {
			t.Errorf("heard %v", said)
		}
	})
}

func TestADeadWorkersTasksAreGivenBackInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.watch(1, "a", "b")
		time.Sleep(5500 * time.Millisecond)
		r.active("a", "1", "2")
		r.active("b", "3")
		before := r.c.HGet(r.ctx, queue.TaskPrefix("a")+"1", "msg").Val()
		woken := r.c.Subscribe(r.ctx, queue.WakeChannel)
		defer woken.Close()
		if _, err := woken.Receive(r.ctx); err != nil {
			t.Fatal(err)
		}
		heard := woken.Channel()
		time.Sleep(Patience - 100*time.Millisecond)
		r.wantPending("a")
		time.Sleep(2*interval + 100*time.Millisecond)
		r.wantPending("a", "1", "2")
		r.wantPending("b", "3")
		r.want(t, 3)
		// It cost nothing: asynq's message, with its count of retries, is as it was.
		if after := r.c.HGet(r.ctx, queue.TaskPrefix("a")+"1", "msg").Val(); after != before {
			t.Errorf("its message was %q and is %q", before, after)
		}
		for _, want := range []string{"a", "b"} {
			for range queue.Priorities {
				if of, _, err := queue.ParseNotice((<-heard).Payload); len(of) != 1 || of[0] != want || err != nil {
					t.Errorf("gates were told of %q, %v; want %q", of, err, want)
				}
			}
		}
	})
}

// asynq's own server, busy with one long task.
func TestALivingWorkersTaskIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.watch(2, "a")
		var runs atomic.Int64
		s := asynq.NewServerFromRedisClient(r.c, asynq.Config{Concurrency: 1, Queues: map[string]int{"a": 1}, LogLevel: asynq.FatalLevel})
		err := s.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			runs.Add(1)
			time.Sleep(time.Minute)
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Shutdown()
		for start := range 3 { // at any phase of the heartbeat
			time.Sleep(time.Duration(start) * 1700 * time.Millisecond)
			if _, err := r.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("a")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(70 * time.Second)
		}
		r.want(t, 0)
		if runs.Load() != 3 {
			t.Errorf("3 tasks ran %d times", runs.Load())
		}
	})
}

func TestOfTheSameLaneOnlyTheDeadOnesGoBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.watch(1, "a")
		r.active("a", "1", "2", "3")
		for range 12 {
			r.extend("a", "1", "3")
			time.Sleep(5 * time.Second)
		}
		r.wantPending("a", "2")
		r.want(t, 1)
	})
}

func TestManyRescuersGiveBackOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		var ids []string
		for n := range 20 {
			ids = append(ids, fmt.Sprintf("t%02d", n))
		}
		r.active("a", ids...)
		r.watch(5, "a")
		time.Sleep(time.Minute)
		r.wantPending("a", ids...)
		r.want(t, 20)
	})
}

// asynq's defects leave such behind (upstream #1144, #1158).
func TestATaskWithoutALeaseIsGivenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.watch(1, "a")
		r.active("a", "1")
		r.c.Del(r.ctx, queue.Lease("a"))
		time.Sleep(Patience + 2*interval)
		r.wantPending("a", "1")
		r.want(t, 1)
	})
}

// Redis goes away, and with it the workers' way to extend their leases.
func TestAnOutageBeginsTheWatchAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.watch(2, "a")
		r.active("a", "alive", "dead")
		time.Sleep(8 * time.Second)
		for range 2 {
			r.SetDown(true)
			time.Sleep(blink + time.Second)
			r.SetDown(false)
			time.Sleep(8 * time.Second)
			r.wantPending("a")
		}
		r.extend("a", "alive")
		time.Sleep(5 * time.Second)
		r.extend("a", "alive")
		time.Sleep(4 * time.Second) // looks lost to connections that broke: this client does not try again
		r.wantPending("a", "dead")
		r.want(t, 1)
	})
}

// Redis is frozen for a while: go-redis' retries make it a long call, no error.
func TestAPauseOfRedisBeginsTheWatchAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		var frozen pause
		r.c.AddHook(&frozen)
		r.watch(2, "a")
		r.active("a", "1")
		for range 10 {
			time.Sleep(4 * time.Second) // the heartbeat was due in a second
			frozen.begin()
			time.Sleep(8 * time.Second)
			frozen.end()
			time.Sleep(1500 * time.Millisecond) // and is late, as the worker is not alone
			r.extend("a", "1")
		}
		r.want(t, 0)
		time.Sleep(Patience + blink)
		r.want(t, 1)
	})
}

// pause is a hook that makes calls wait.
type pause struct {
	mu    sync.Mutex
	ended chan struct{}
}

func (p *pause) begin() { p.mu.Lock(); p.ended = make(chan struct{}); p.mu.Unlock() }
func (p *pause) end()   { p.mu.Lock(); close(p.ended); p.ended = nil; p.mu.Unlock() }
func (p *pause) wait() {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

func (p *pause) DialHook(next redis.DialHook) redis.DialHook { return next }
func (p *pause) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { p.wait(); return next(ctx, cmd) }
}
func (p *pause) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { p.wait(); return next(ctx, cmds) }
}

// This process was frozen: rounds do not come for a while. So were its own tasks.
func TestAPauseOfTheRescuerBeginsTheWatchAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		rescuer := r.rescuer(func() []string { return []string{"a"} })
		r.active("a", "1")
		now := time.Now()
		at := func(s float64) {
			t.Helper()
			if err := rescuer.round(r.ctx, now.Add(time.Duration(s*float64(time.Second)))); err != nil {
				t.Fatal(err)
			}
		}
		for s := range 5 {
			at(float64(s))
		}
		at(30)
		at(31)
		r.want(t, 0)
		for s := 32; s < 45; s++ {
			at(float64(s))
		}
		r.want(t, 1)
	})
}

// Nobody watches a lane that is not served for a while.
func TestALaneThatComesBackIsWatchedAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		var lanes []string
		rescuer := r.rescuer(func() []string { return lanes })
		r.active("a", "1")
		now := time.Now()
		for s := range 40 {
			lanes = nil
			if s < 3 || s > 20 {
				lanes = []string{"a"}
			}
			if err := rescuer.round(r.ctx, now.Add(time.Duration(s)*time.Second)); err != nil {
				t.Fatal(err)
			}
			if s == 30 {
				r.want(t, 0)
			}
		}
		r.want(t, 1)
		if len(rescuer.seen) != 0 {
			t.Errorf("it remembers %v", rescuer.seen)
		}
	})
}

func TestALostReplyGivesBackOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.c.AddHook(&lostReply{})
		r.watch(1, "a")
		r.active("a", "1")
		time.Sleep(time.Minute)
		r.wantPending("a", "1")
	})
}

// lostReply is a hook that swallows the first reply to a script.
type lostReply struct{ once sync.Once }

func (h *lostReply) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *lostReply) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && strings.HasPrefix(cmd.Name(), "eval") && strings.Contains(fmt.Sprint(cmd.Args()...), "lease") {
			h.once.Do(func() { err = errors.New("connection reset by peer"); cmd.SetErr(err) })
		}
		return err
	}
}
func (h *lostReply) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// What is left of a task whose message is gone is removed, not given back for ever.
func TestAGhostIsNotGivenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.watch(1, "a")
		r.active("a", "1")
		r.c.HDel(r.ctx, queue.TaskPrefix("a")+"1", "msg")
		time.Sleep(time.Minute)
		r.want(t, 0)
		if keys := r.c.Keys(r.ctx, "asynq:{a}*").Val(); len(keys) != 0 {
			t.Errorf("left are %v", keys)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		for _, down := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(r.ctx, 3500*time.Millisecond)
			defer cancel()
			r.SetDown(down)
			start := time.Now()
			r.rescuer(func() []string { return []string{"a"} }).Run(ctx)
			if took := time.Since(start); took != 3500*time.Millisecond {
				t.Errorf("it ended after %v", took)
			}
		}
	})
}
