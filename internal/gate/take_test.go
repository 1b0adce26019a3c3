package gate

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// One server, on a queue that is never used, runs the tasks of lanes that it was
// not told of, and closes them as asynq does.
func TestOneServerServesEveryLane(t *testing.T) {
	inBubble(t, 3, Options{}, func(t *testing.T, g *fixture) {
		g.add("early", "1", "2")
		var ran log
		g.serve(3, func(ctx context.Context, _ *asynq.Task) error {
			id, lane, p := g.claimed(ctx)
			p.Release()
			ran.add(lane, " ", id)
			return nil
		})
		time.Sleep(3 * time.Second)
		g.add("late", "1", "2")
		g.add("later", "1")
		time.Sleep(3 * time.Second)
		got := ran.get()
		slices.Sort(got)
		if want := []string{"early 1", "early 2", "late 1", "late 2", "later 1"}; !slices.Equal(got, want) {
			t.Errorf("ran %v, want %v", got, want)
		}
		if keys := g.c.Keys(t.Context(), "asynq:{*}:t:*").Val(); len(keys) != 0 {
			t.Errorf("left are %v", keys)
		}
		g.wantInFlight(0)
		if info, err := asynq.NewInspectorFromRedisClient(g.c).GetQueueInfo("late"); err != nil || info.Processed != 2 {
			t.Errorf("asynq's own count: %+v, %v", info, err)
		}
	})
}

// What an operator sets for a lane that was not governed holds at once, not at the next
// look.
func TestALaneIsGovernedAsSoonAsItIsConfigured(t *testing.T) {
	inBubble(t, 5, Options{}, func(t *testing.T, g *fixture) {
		g.add("a", "1")
		g.Start()
		g.want("1")
		time.Sleep(look / 10)
		for _, want := range []bool{true, false} {
			set := func() error { return governor.Configure(t.Context(), g.c, "a", governor.Config{Limit: 1}) }
			if !want {
				set = func() error { return governor.Unconfigure(t.Context(), g.c, "a") }
			}
			if err := set(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(look / 10)
			if governed, _ := g.lanes.Knows("a"); governed != want {
				t.Errorf("governed %v, want %v", governed, want)
			}
		}
	})
}

func TestScheduledTasksAndRetriesComeInTime(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		var ran log
		start := time.Now()
		g.serve(2, func(ctx context.Context, _ *asynq.Task) error {
			id, lane, p := g.claimed(ctx)
			p.Release()
			ran.add(time.Since(start).Round(5*time.Second), " ", lane, " ", id)
			if n, _ := asynq.GetRetryCount(ctx); n == 0 && id == "flaky" {
				return errEnough
			}
			return nil
		})
		g.add("a", "flaky") // again after 20 s
		for lane, in := range map[string]time.Duration{"a": 10 * time.Second, "b": 30 * time.Second} {
			if _, err := g.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue(lane), asynq.TaskID("late"), asynq.ProcessIn(in)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(35 * time.Second)
		if want := []string{"0s a flaky", "10s a late", "20s a flaky", "30s b late"}; !slices.Equal(ran.get(), want) {
			t.Errorf("ran %q, want %q", ran.get(), want)
		}
	})
}

// What waits, waits in Redis, where another worker may take it.
func TestNoTaskIsTakenWithoutAPermit(t *testing.T) {
	inBubble(t, 3, Options{}, func(t *testing.T, g *fixture) {
		finish := make(chan struct{})
		var running atomic.Int64
		g.serve(3, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			defer p.Release()
			running.Add(1)
			defer running.Add(-1)
			<-finish
			return nil
		})
		g.lanes.Limit("a", 1)
		g.add("a", numbered("", 5)...)
		for at := range 5 {
			time.Sleep(3 * time.Second)
			if running.Load() != 1 {
				t.Fatalf("%d run, want the lane's 1", running.Load())
			}
			if n := len(g.list(queue.Active("a"))); n != 1 {
				t.Errorf("%d are active, want 1", n)
			}
			g.wantList(queue.Pending("a"), numbered("", 5)[at+1:]...)
			finish <- struct{}{}
		}
		g.add("b", numbered("", 9)...)
		g.add("c", numbered("", 9)...)
		time.Sleep(3 * time.Second)
		active, waiting := len(g.list(queue.Active("b")))+len(g.list(queue.Active("c"))), len(g.list(queue.Pending("b")))+len(g.list(queue.Pending("c")))
		if active != 3 || waiting != 15 || running.Load() != 3 {
			t.Errorf("%d are active, %d wait, %d run; the worker has 3 slots", active, waiting, running.Load())
		}
		g.wantInFlight(3)
		close(finish)
		time.Sleep(3 * time.Second)
		g.wantInFlight(0)
	})
}

// A permit is the handler's until it has returned, whatever asynq thinks.
func TestAHandlerThatIgnoresItsContextKeepsItsPermit(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		finish := make(chan struct{})
		var running, most atomic.Int64
		g.serve(2, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			defer p.Release()
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-finish
			return nil
		})
		for _, id := range numbered("", 6) {
			if _, err := g.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("a"), asynq.TaskID(id), asynq.Timeout(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second) // asynq gives up each after 1 s
		if most.Load() != 2 {
			t.Errorf("%d ran at once in 2 slots", most.Load())
		}
		close(finish)
	})
}

func TestLanesTakeTurns(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		lanes := []string{"a", "b", "c"}
		for _, lane := range lanes {
			g.add(lane, numbered(lane, 4)...)
		}
		if err := g.c.ScriptLoad(t.Context(), dequeueSrc).Err(); err != nil {
			t.Fatal(err)
		}
		if err := g.lookOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		var order []string
		for range 12 {
			id, err := g.dequeue()
			if err != nil {
				t.Fatal(err)
			}
			order = append(order, id)
			g.Claim(id[:1], id).Release()
			// To find work again in a lane of which it took less than it asked for.
			if err := g.lookOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(order, " "); got != "a0 b0 c0 a1 b1 c1 a2 b2 c2 a3 b3 c3" {
			t.Errorf("the order is %s", got)
		}
	})
}

func TestLanesShareWhatIsFree(t *testing.T) {
	inBubble(t, 9, Options{}, func(t *testing.T, g *fixture) {
		for _, lane := range []string{"a", "b", "c"} {
			g.add(lane, numbered(lane, 100)...)
		}
		if err := g.lookOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 9 {
			if _, err := g.dequeue(); err != nil {
				t.Fatal(err)
			}
		}
		for _, lane := range []string{"a", "b", "c"} {
			if n := len(g.list(queue.Active(lane))); n != 3 {
				t.Errorf("lane %s got %d of 9 permits, want 3", lane, n)
			}
		}
	})
}

func TestALaneAtItsLimitHoldsUpNobody(t *testing.T) {
	inBubble(t, 4, Options{}, func(t *testing.T, g *fixture) {
		never := make(chan struct{})
		var ran atomic.Int64
		g.serve(4, func(ctx context.Context, _ *asynq.Task) error {
			_, lane, p := g.claimed(ctx)
			defer p.Release()
			if lane == "slow" {
				<-never
			}
			ran.Add(1)
			return nil
		})
		g.lanes.Limit("slow", 2)
		g.add("slow", numbered("", 50)...)
		time.Sleep(2 * time.Second)
		start := time.Now()
		g.add("quick", numbered("", 200)...)
		for ran.Load() < 200 && time.Since(start) < time.Hour {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("200 tasks of another lane took %v", took)
		}
		if n := len(g.list(queue.Active("slow"))); n != 2 {
			t.Errorf("%d of the slow lane are active", n)
		}
		close(never)
	})
}

func TestOnlyItsLanesAreTouched(t *testing.T) {
	inBubble(t, 4, Options{Only: []string{"mine"}}, func(t *testing.T, g *fixture) {
		var ran log
		g.serve(4, func(ctx context.Context, _ *asynq.Task) error {
			id, lane, p := g.claimed(ctx)
			p.Release()
			ran.add(lane, " ", id)
			return nil
		})
		for _, lane := range []string{"mine", "other"} {
			g.add(lane, "1")
			if _, err := g.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue(lane), asynq.TaskID("late"), asynq.ProcessIn(time.Second)); err != nil {
				t.Fatal(err)
			}
			if err := queue.Wake(t.Context(), g.c, queue.Normal, lane); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		if want := []string{"mine 1", "mine late"}; !slices.Equal(ran.get(), want) {
			t.Errorf("ran %q", ran.get())
		}
		if n := g.c.ZCard(t.Context(), queue.Scheduled("other")).Val(); n != 1 {
			t.Error("the other lane's task was forwarded")
		}
		if lanes := g.Queues(); !slices.Equal(lanes, []string{"mine"}) {
			t.Errorf("lanes %v", lanes)
		}
	})
}

// work that is announced starts at once; work that nobody announced with the next look.
func TestWakeEndsAWait(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		started := make(chan time.Time, 1)
		g.serve(2, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			defer p.Release()
			started <- time.Now()
			return nil
		})
		for n := range 4 {
			time.Sleep(6*time.Second + time.Duration(n)*370*time.Millisecond)
			g.add("a", "announced")
			enqueued := time.Now()
			if err := queue.Wake(t.Context(), g.c, queue.Normal, "a"); err != nil {
				t.Fatal(err)
			}
			if waited := (<-started).Sub(enqueued); waited > 5*time.Millisecond {
				t.Errorf("announced, it started after %v", waited)
			}
			time.Sleep(6*time.Second + time.Duration(n)*370*time.Millisecond)
			g.add("a", "foreign")
			enqueued = time.Now()
			if waited := (<-started).Sub(enqueued); waited > look+5*time.Millisecond {
				t.Errorf("not announced, it started after %v", waited)
			}
		}
	})
}

// A returned permit lets the next task start at once, too.
func TestAFreedPermitEndsAWait(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.add("a", "1", "2")
		_ = g.lookOnce(t.Context())
		g.want("1")
		p := g.Claim("a", "1")
		time.AfterFunc(1700*time.Millisecond, p.Release)
		start := time.Now()
		g.want("2")
		if took := time.Since(start); took != 1700*time.Millisecond {
			t.Errorf("it came after %v", took)
		}
	})
}

// asynq begins a task's lease before it asks for the task. So no answer may come
// late, and asynq must be able to extend the lease twice before it ends.
func TestTheLeaseIsFreshAfterALongWait(t *testing.T) {
	const lease, heartbeat = 30 * time.Second, 5 * time.Second
	if patience+2*heartbeat >= lease {
		t.Errorf("a dequeue may take %v of a lease of %v", patience, lease)
	}
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		for n := range 14 {
			start := time.Now()
			time.AfterFunc(time.Duration(n)*400*time.Millisecond, func() {
				g.add("a", "1")
				_ = queue.Wake(context.Background(), g.c, queue.Normal, "a")
			})
			id, err := g.dequeue()
			if took := time.Since(start); took > patience+time.Second {
				t.Fatalf("a dequeue took %v", took)
			}
			if err == redis.Nil {
				time.Sleep(10 * time.Second)
				g.want("1")
				id = "1"
			}
			ends := time.Unix(int64(g.c.ZScore(t.Context(), queue.Lease("a"), id).Val()), 0)
			if left := time.Until(ends); left < lease-2*time.Second {
				t.Fatalf("in Redis its lease ends in %v", left)
			}
			g.Claim("a", id).Release()
			g.c.FlushDB(t.Context())
			g.client = asynq.NewClientFromRedisClient(g.c)
		}
	})
}

func TestALongTaskKeepsItsLease(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		var ends log
		g.serve(1, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			defer p.Release()
			select {
			case <-ctx.Done():
				ends.add("cut off: ", ctx.Err())
			case <-time.After(100 * time.Second):
				ends.add("done")
			}
			return nil
		})
		time.Sleep(33 * time.Second) // waits of any length behind it
		g.add("a", "1")
		time.Sleep(80 * time.Second)
		left := time.Until(time.Unix(int64(g.c.ZScore(t.Context(), queue.Lease("a"), "1").Val()), 0))
		if left < 20*time.Second {
			t.Errorf("its lease ends in %v", left)
		}
		time.Sleep(30 * time.Second)
		if got := ends.get(); !slices.Equal(got, []string{"done"}) {
			t.Errorf("it ended as %q", got)
		}
	})
}

// asynq skips the handler of a task whose time is over before it starts.
func TestAnUnclaimedPermitComesBack(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		g.add("a", "1", "2")
		g.want("1")
		g.want("2")
		late := g.Claim("a", "2")
		g.wantInFlight(2)
		time.Sleep(unclaimedAfter - time.Second)
		g.wantInFlight(2)
		time.Sleep(3 * time.Second)
		g.wantInFlight(1)
		if p := g.Claim("a", "1"); p != nil {
			t.Error("it was claimed after it had gone back")
		}
		time.Sleep(time.Minute)
		g.wantInFlight(1) // a claimed one is its handler's
		late.Release()
		late.Release()
		g.wantInFlight(0)
		g.Claim("a", "unknown").Release()
		g.Claim("b", "2").Release()
		g.wantInFlight(0)
	})
}

// The first may have been frozen on its way to the handler, and reach it yet.
func TestASecondDeliveryHasAPermitOfItsOwn(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		g.add("a", "1")
		_ = g.lookOnce(t.Context())
		g.want("1")
		lease := g.c.ZScore(t.Context(), queue.Lease("a"), "1").Val()
		// Its first delivery never reached the handler; rescue gives it back.
		if back, err := queue.GiveBack(t.Context(), g.c, "a", "1", time.Duration(lease).String()); back || err != nil {
			t.Fatal(back, err)
		}
		g.c.ZRem(t.Context(), queue.Lease("a"), "1")
		if back, err := queue.GiveBack(t.Context(), g.c, "a", "1", ""); !back || err != nil {
			t.Fatal(back, err)
		}
		_ = g.lookOnce(t.Context())
		g.want("1")
		g.wantInFlight(2)
		g.Claim("a", "1").Release()
		g.wantInFlight(1)
		time.Sleep(2 * unclaimedAfter) // frozen: nobody looked meanwhile
		g.releaseUnclaimed(time.Now())
		g.wantInFlight(1)
		for range int(unclaimedAfter / look) {
			g.releaseUnclaimed(time.Now())
		}
		g.wantInFlight(0)
	})
}

func TestManyServersOnOneGateRunEachTaskOnce(t *testing.T) {
	inBubble(t, 6, Options{}, func(t *testing.T, g *fixture) {
		var ran log
		h := func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			ran.add(id)
			time.Sleep(20 * time.Millisecond)
			return nil
		}
		g.serve(3, h)
		second := asynq.NewServerFromRedisClient(g.Gate, asynq.Config{
			Concurrency: 3, Queues: map[string]int{Placeholder: 1}, LogLevel: asynq.FatalLevel, TaskCheckInterval: 2 * time.Millisecond,
		})
		if err := second.Start(asynq.HandlerFunc(h)); err != nil {
			t.Fatal(err)
		}
		defer second.Shutdown()
		g.add("a", numbered("", 100)...)
		time.Sleep(10 * time.Second)
		got := ran.get()
		slices.Sort(got)
		if len(got) != 100 || len(slices.Compact(got)) != 100 {
			t.Errorf("%d runs of 100 tasks", len(got))
		}
		g.wantInFlight(0)
		synctest.Wait()
	})
}
