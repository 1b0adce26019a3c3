package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
)

// asynq re-sends an ack that failed with the context of the
// first try, which is cancelled by then.
func TestAnAckWithACancelledContextIsSent(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if v, err := g.EvalSha(cancelled, sha(t, g, "return 7"), []string{"ack"}).Int(); v != 7 || err != nil {
			t.Errorf("EvalSha: %v, %v", v, err)
		}
		if v, err := g.Eval(cancelled, "return 8", []string{"ack"}).Int(); v != 8 || err != nil {
			t.Errorf("Eval: %v, %v", v, err)
		}
		// A time that is over is over: the lease is gone.
		late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		if err := g.EvalSha(late, sha(t, g, "return 7"), []string{"ack"}).Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its deadline: %v", err)
		}
	})
}

// isAckCall says that a command ends a delivery: those scripts are on the task and the
// lane's active list, and do not ask whether it is paused, as taking it does.
func isAckCall(args []any, lane, id string) bool {
	has := func(arg string) bool { return slices.Contains(args, any(arg)) }
	return strings.HasPrefix(fmt.Sprint(args[0]), "eval") && (has(id) || has(queue.TaskPrefix(lane)+id)) &&
		has(queue.Active(lane)) && !has(queue.Paused(lane))
}

func sha(t *testing.T, g *fixture, src string) string {
	t.Helper()
	sha, err := g.c.ScriptLoad(t.Context(), src).Result()
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

// The same from asynq's side: its syncer heals what failed once, and the task does
// not run again.
func TestAsynqsSyncerHealsAFailedAck(t *testing.T) {
	for _, verdict := range []error{nil, errEnough} {
		t.Run(fmt.Sprint(verdict), func(t *testing.T) {
			inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
				var failed atomic.Bool
				g.c.AddHook(failing{func(args []any) error {
					if isAckCall(args, "a", "1") && failed.CompareAndSwap(false, true) {
						return errors.New("connection reset by peer")
					}
					return nil
				}})
				var runs atomic.Int64
				g.serve(1, func(ctx context.Context, _ *asynq.Task) error {
					_, _, p := g.claimed(ctx)
					defer p.Release()
					runs.Add(1)
					return verdict
				})
				g.add("a", "1")
				time.Sleep(2 * time.Second)
				if !failed.Load() {
					t.Fatal("no ack failed: no test")
				}
				g.wantList(queue.Active("a"), "1")
				time.Sleep(8 * time.Second)
				g.wantList(queue.Active("a"))
				if n := g.c.ZCard(t.Context(), queue.Retry("a")).Val(); verdict != nil && n != 1 {
					t.Error("it is not in the retry set")
				}
				if runs.Load() != 1 {
					t.Errorf("it ran %d times", runs.Load())
				}
			})
		})
	}
}

func TestForgottenScriptsAreSentAgain(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		var ran log
		g.serve(2, func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			ran.add(id)
			return nil
		})
		for g.c.PubSubNumSub(t.Context(), queue.WakeChannel).Val()[queue.WakeChannel] == 0 {
			time.Sleep(time.Millisecond)
		}
		for _, id := range numbered("", 5) {
			if err := g.c.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			if _, err := g.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("a"), asynq.TaskID("late"+id), asynq.ProcessIn(time.Second)); err != nil {
				t.Fatal(err)
			}
			g.add("a", id)
			if err := g.c.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_ = queue.Wake(t.Context(), g.c, queue.Normal, "a")
			for !slices.Contains(ran.get(), id) {
				time.Sleep(time.Millisecond)
				if time.Since(start) > time.Minute {
					t.Fatalf("task %s has not run", id)
				}
			}
			if took := time.Since(start); took > 20*time.Millisecond {
				t.Errorf("it healed after %v", took)
			}
			time.Sleep(3 * time.Second)
			if !slices.Contains(ran.get(), "late"+id) {
				t.Errorf("task late%s was not forwarded", id)
			}
		}
	})
}

func TestWithoutRedisItWaitsAndHeals(t *testing.T) {
	inBubble(t, 4, Options{}, func(t *testing.T, g *fixture) {
		var ran log
		g.serve(4, func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			ran.add(id)
			return nil
		})
		g.add("a", "before")
		time.Sleep(5 * time.Second)
		g.SetDown(true)
		g.mark(queue.Normal, "a") // as if there were work
		var calls atomic.Int64
		g.c.AddHook(eachCommand{func([]any) { calls.Add(1) }})
		const away = 40 * time.Second
		time.Sleep(away)
		// Per second a look and two forwards; asynq's heartbeat beside.
		if n := calls.Load(); n > 6*int64(away/time.Second) {
			t.Errorf("%d calls in %v", n, away)
		}
		g.SetDown(false)
		start := time.Now()
		for len(ran.get()) < 2 {
			// go-redis' pool does not dial at once.
			_, _ = g.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("a"), asynq.TaskID("after"))
			time.Sleep(10 * time.Millisecond)
			if time.Since(start) > time.Minute {
				t.Fatal("it has not healed")
			}
		}
		if took := time.Since(start); took > 5*time.Second { // G4
			t.Errorf("work flows again after %v", took)
		}
		g.wantInFlight(0)
	})
}

// Every way in which taking may be refused makes the dequeue wait.
func TestRefusalsDoNotMakeItSpin(t *testing.T) {
	for _, refused := range []string{
		"OOM command not allowed when used memory > 'maxmemory'.", "LOADING Redis is loading the dataset in memory", "i/o timeout",
	} {
		t.Run(strings.Fields(refused)[0], func(t *testing.T) {
			inBubble(t, 4, Options{}, func(t *testing.T, g *fixture) {
				var on atomic.Bool
				var calls, ran atomic.Int64
				g.c.AddHook(failing{func(args []any) error {
					if on.Load() && args[0] == "evalsha" && strings.Contains(fmt.Sprint(args...), queue.Paused("a")) {
						calls.Add(1)
						return refusal(refused)
					}
					return nil
				}})
				on.Store(true)
				g.serve(4, func(ctx context.Context, _ *asynq.Task) error {
					_, _, p := g.claimed(ctx)
					defer p.Release()
					ran.Add(1)
					return nil
				})
				g.add("a", "1")
				time.Sleep(40 * time.Second)
				if n := calls.Load(); n < 8 || n > 25 {
					t.Errorf("asked %d times in 40 s; every 3.2 s is what it should come to", n)
				}
				on.Store(false)
				time.Sleep(4 * time.Second)
				if ran.Load() != 1 {
					t.Error("it has not healed")
				}
				g.wantInFlight(0)
			})
		})
	}
}

type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

// A user without the right to load scripts: asynq asks again at once.
func TestARefusedScriptDoesNotMakeItSpin(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		var calls atomic.Int64
		g.c.AddHook(failing{func(args []any) error {
			if fmt.Sprint(args[0]) == "script" {
				calls.Add(1)
				return refusal("NOPERM this user has no permissions to run the 'script|load' command")
			}
			return nil
		}})
		start := time.Now()
		for time.Since(start) < 2*time.Minute {
			g.mark(queue.Normal, "a", "b") // one lane's script would be sent as it is
			if _, err := g.dequeue(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
				t.Fatalf("got %v", err)
			}
		}
		if n := calls.Load(); n < 30 || n > 100 {
			t.Errorf("asked %d times in 2 min", n)
		}
	})
}

// One lane's key is broken, or its node of a cluster is down.
func TestABrokenLaneHoldsUpNobody(t *testing.T) {
	inBubble(t, 4, Options{}, func(t *testing.T, g *fixture) {
		ctx := t.Context()
		var ran log
		g.serve(4, func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			ran.add(id)
			return nil
		})
		for _, bad := range []string{"aa", "zz"} {
			g.c.SAdd(ctx, queue.All, bad)
			g.c.Set(ctx, queue.Pending(bad), "no list", 0)
			g.c.Set(ctx, queue.Scheduled(bad), "no set", 0)
		}
		_ = queue.Wake(ctx, g.c, queue.Normal, "aa", "zz")
		time.Sleep(3 * time.Second)
		for n := range 5 {
			start := time.Now()
			g.add("good", fmt.Sprint(n))
			for !slices.Contains(ran.get(), fmt.Sprint(n)) {
				time.Sleep(time.Millisecond)
				if time.Since(start) > time.Minute {
					t.Fatal("a task of a good lane does not start")
				}
			}
			if took := time.Since(start); took > look+10*time.Millisecond {
				t.Errorf("it started after %v", took)
			}
		}
		if _, err := g.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("good"), asynq.TaskID("late"), asynq.ProcessIn(2*time.Second)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !slices.Contains(ran.get(), "late") {
			t.Error("a good lane's task is not forwarded")
		}
		if n := g.calls(10 * time.Second); n > 10*40 { // 30 a second are those of a gate of three lanes
			t.Errorf("%d commands in 10 s", n)
		}
		g.wantInFlight(0)
	})
}

func TestAPausedLaneIsNoBusyLoop(t *testing.T) {
	inBubble(t, 4, Options{}, func(t *testing.T, g *fixture) {
		var ran atomic.Int64
		g.serve(4, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			defer p.Release()
			ran.Add(1)
			return nil
		})
		g.c.SAdd(t.Context(), queue.All, "a")
		time.Sleep(time.Second)
		idle := g.calls(10 * time.Second)
		inspector := asynq.NewInspectorFromRedisClient(g.c)
		if err := inspector.PauseQueue("a"); err != nil {
			t.Fatal(err)
		}
		g.add("a", numbered("", 100)...)
		time.Sleep(time.Second)
		if paused := g.calls(10 * time.Second); paused > idle+10*10 {
			t.Errorf("%d commands in 10 s with a paused lane, %d idle", paused, idle)
		}
		if ran.Load() != 0 {
			t.Errorf("%d ran of a paused lane", ran.Load())
		}
		g.wantInFlight(0)
		if err := inspector.UnpauseQueue("a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if ran.Load() != 100 {
			t.Errorf("%d ran after the pause", ran.Load())
		}
	})
}

func TestWhatCannotBeDecodedIsInNobodysWay(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		ctx := t.Context()
		var ran log
		g.serve(2, func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			ran.add(id)
			return nil
		})
		// Garbage; a message whose ID can be read, but asynq refuses it; a ghost.
		g.c.HSet(ctx, queue.TaskPrefix("a")+"garbage", "msg", "\xff\xff\xff", "state", "pending")
		g.c.HSet(ctx, queue.TaskPrefix("a")+"half", "msg", "\x1a\x04half\x0a\x02\xff\xfe", "state", "pending")
		g.c.LPush(ctx, queue.Pending("a"), "garbage", "half", "ghost")
		g.add("a", numbered("", 10)...)
		time.Sleep(5 * time.Second)
		if got := ran.get(); len(got) != 10 {
			t.Errorf("ran %v", got)
		}
		time.Sleep(unclaimedAfter + look)
		g.wantInFlight(0)
		if n := g.calls(10 * time.Second); n > 10*20 {
			t.Errorf("%d commands in 10 s", n)
		}
	})
}

func TestWakeUpsOfStrangersDoNotStay(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		time.Sleep(time.Second)
		if err := queue.Wake(t.Context(), g.c, queue.Normal, append(numbered("nobody", 100), Placeholder, "", "}:x")...); err != nil {
			t.Fatal(err)
		}
		g.wantNone()
		g.wantNone()
		if lanes := g.Queues(); len(lanes) != 0 {
			t.Errorf("%d lanes: %v", len(lanes), lanes[:1])
		}
	})
}

// A real Redis that is full, that forgets its scripts, that dies and comes back.
func TestARealRedisInTrouble(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	c := server.Client()
	ctx := t.Context()
	lanes := lane.NewSet("w", 4)
	g := New(c, c, lanes, Options{})
	g.Start()
	var mu sync.Mutex
	ran := make(map[string]int)
	s := asynq.NewServerFromRedisClient(g, asynq.Config{
		Concurrency: 4, Queues: map[string]int{Placeholder: 1}, LogLevel: asynq.FatalLevel, ShutdownTimeout: time.Second,
		TaskCheckInterval: 2 * time.Millisecond,
	})
	err := s.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		defer g.Claim("a", id).Release()
		mu.Lock()
		defer mu.Unlock()
		ran[id]++
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	defer g.Stop(context.Background())
	client := asynq.NewClientFromRedisClient(c)
	add := func(id string) {
		t.Helper()
		if _, err := client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("a"), asynq.TaskID(id)); err != nil {
			t.Fatal(err)
		}
	}
	runs := func(id string) {
		t.Helper()
		_ = queue.Wake(ctx, c, queue.Normal, "a")
		conntest.Eventually(t, 20*time.Second, id+" runs", func(context.Context) bool {
			mu.Lock()
			defer mu.Unlock()
			return ran[id] == 1
		})
	}
	add("at first")
	runs("at first")

	// A full Redis takes no new task: this one has been there before.
	if err := asynq.NewInspectorFromRedisClient(c).PauseQueue("a"); err != nil {
		t.Fatal(err)
	}
	add("when full")
	c.ConfigSet(ctx, "maxmemory", "1")
	c.Del(ctx, queue.Paused("a"))
	before := refusals(t, c)
	time.Sleep(1200 * time.Millisecond)
	if n := refusals(t, c) - before; n > 60 {
		t.Errorf("a full Redis had to refuse %d calls in 1.2 s", n)
	}
	c.ConfigSet(ctx, "maxmemory", "0")
	runs("when full")

	if err := c.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	add("forgotten")
	runs("forgotten")

	server.Restart()
	conntest.Eventually(t, 10*time.Second, "Redis is back", func(ctx context.Context) bool { return c.Ping(ctx).Err() == nil })
	add("after a crash")
	runs("after a crash")
}

// refusals is how many calls of scripts a Redis has refused.
func refusals(t *testing.T, c redis.UniversalClient) (n int) {
	t.Helper()
	for line := range strings.Lines(c.Info(t.Context(), "errorstats").Val()) {
		if count, ok := strings.CutPrefix(line, "errorstat_OOM:count="); ok {
			fmt.Sscan(count, &n)
		}
	}
	return n
}

// asynq's forwarding stops at an entry that is no hash, each time anew.
func TestForwardingGoesOnPastWhatIsNoTask(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		ctx := t.Context()
		var ran log
		g.serve(2, func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			ran.add(id)
			return nil
		})
		for _, kind := range []string{"retry", "scheduled"} {
			g.c.Set(ctx, queue.TaskPrefix("a")+"0-"+kind, "no hash", 0)
			g.c.ZAdd(ctx, delayedKey("a", kind), redis.Z{Score: 1, Member: "0-" + kind})
		}
		for _, id := range numbered("late", 3) {
			if _, err := g.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("a"), asynq.TaskID(id), asynq.ProcessIn(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		if got := ran.get(); len(got) != 3 {
			t.Errorf("ran %v", got)
		}
		if n := g.c.LLen(ctx, queue.Quarantine("a")).Val(); n != 2 {
			t.Errorf("%d are set aside", n)
		}
	})
}

func TestAHeldGateTakesNothing(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		g.add("a", "1", "2")
		first, second := g.Hold(), g.Hold()
		g.wantNone()
		first()
		first()
		g.wantNone()
		time.AfterFunc(time.Second, second)
		start := time.Now()
		g.want("1")
		if took := time.Since(start); took > 1100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}
