package gate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/queue"
)

func TestStopGivesBackWhatIsNotHandedOut(t *testing.T) {
	inBubble(t, 5, Options{}, func(t *testing.T, g *fixture) {
		g.add("a", "a1", "a2", "a3", "a4", "a5", "a6")
		g.add("b", "b1", "b2", "b3")
		_ = g.lookOnce(t.Context())
		first, err := g.dequeue()
		if err != nil || first != "a1" {
			t.Fatalf("%q, %v", first, err)
		}
		if n := len(g.list(queue.Active("a"))) + len(g.list(queue.Active("b"))); n < 4 {
			t.Fatalf("only %d taken: no test", n)
		}
		taken := int64(len(g.list(queue.Active("a"))) + len(g.list(queue.Active("b"))))
		if err := g.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := g.Stat(); s != (Stat{Taken: taken, GivenBack: taken - 1}) {
			t.Errorf("%d were taken, one handed out: %+v", taken, s)
		}
		// As if they had never been taken: order, state, lease, permits.
		g.wantList(queue.Pending("a"), "a2", "a3", "a4", "a5", "a6")
		g.wantList(queue.Pending("b"), "b1", "b2", "b3")
		g.wantList(queue.Active("a"), "a1")
		g.wantList(queue.Active("b"))
		if n := g.c.ZCard(t.Context(), queue.Lease("a")).Val() + g.c.ZCard(t.Context(), queue.Lease("b")).Val(); n != 1 {
			t.Errorf("%d leases", n)
		}
		if state := g.c.HGet(t.Context(), queue.TaskPrefix("a")+"a2", "state").Val(); state != "pending" {
			t.Errorf("a2 is %s", state)
		}
		g.wantInFlight(1)
		start := time.Now()
		for range 3 {
			g.wantNone()
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("a stopped gate takes %v to say no", took)
		}
		g.wantList(queue.Active("a"), "a1")
		g.Claim("a", "a1").Release()
		g.wantInFlight(0)
	})
}

// What a dequeue takes while Stop runs, and just after Stop has given back.
func TestStopDuringADequeueLosesNothing(t *testing.T) {
	inBubble(t, 4, Options{}, func(t *testing.T, g *fixture) {
		g.add("a", "1", "2", "3", "4", "5")
		_ = g.lookOnce(t.Context())
		if _, err := g.c.ScriptLoad(t.Context(), dequeueSrc).Result(); err != nil {
			t.Fatal(err)
		}
		// The pipeline is under way when Stop comes.
		g.c.AddHook(eachCommand{func(args []any) {
			if len(args) > 3 && args[0] == "evalsha" && strings.Contains(args[3].(string), "pending") {
				if err := g.Stop(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}})
		g.wantNone()
		g.wantList(queue.Pending("a"), "1", "2", "3", "4", "5")
		g.wantList(queue.Active("a"))
		g.wantInFlight(0)
	})
}

// The server is stopped in the midst of work: each task has run, or is pending again.
func TestStopOfABusyServerLosesNothing(t *testing.T) {
	inBubble(t, 8, Options{}, func(t *testing.T, g *fixture) {
		var ran log
		s := g.serve(8, func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			time.Sleep(5 * time.Millisecond)
			ran.add(id)
			return nil
		})
		all := numbered("t", 400)
		g.add("a", all...)
		for len(ran.get()) < 50 {
			time.Sleep(time.Millisecond)
		}
		if err := g.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		s.Shutdown()
		g.wantList(queue.Active("a"))
		left := g.list(queue.Pending("a"))
		got := append(ran.get(), left...)
		slices.Sort(got)
		slices.Sort(all)
		if !slices.Equal(got, all) {
			t.Errorf("%d ran, %d are pending, of %d", len(ran.get()), len(left), len(all))
		}
		if !slices.IsSortedFunc(left, func(a, b string) int { return len(a)*1000 + strings.Compare(a, b) - len(b)*1000 }) {
			t.Errorf("their order is %v", left)
		}
		g.wantInFlight(0)
	})
}

func TestStopInAnyOrderAndCount(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		if err := g.Stop(t.Context()); err != nil { // before Start
			t.Error(err)
		}
		g.Start()
		for range 3 {
			if err := g.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		g.workers.Wait()
		g.wantNone()
	})
}

func TestStopEndsAWait(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		time.AfterFunc(time.Second, func() { _ = g.Stop(context.Background()) })
		start := time.Now()
		g.wantNone()
		if took := time.Since(start); took != time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}

// Stop is bounded by its context where Redis does not answer, and says so; the
// permits come back all the same.
func TestStopWithoutRedis(t *testing.T) {
	inBubble(t, 3, Options{}, func(t *testing.T, g *fixture) {
		g.add("a", "1", "2", "3")
		_ = g.lookOnce(t.Context())
		g.want("1")
		g.Start()
		g.c.AddHook(silent{})
		time.Sleep(1500 * time.Millisecond) // so that a look is under way
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		err := g.Stop(ctx)
		if took := time.Since(start); took > 2*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it took %v and says %v", took, err)
		}
		g.wantInFlight(1)
	})
}

// silent is a hook that makes Redis seem frozen: commands end with their context,
// or after go-redis' read timeout.
type silent struct{}

func (silent) DialHook(next redis.DialHook) redis.DialHook { return next }
func (silent) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		cmd.SetErr(wait(ctx))
		return cmd.Err()
	}
}
func (silent) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := wait(ctx)
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
		return err
	}
}

// wait is what go-redis does: it heeds a context's deadline, not its cancellation.
func wait(ctx context.Context) error {
	timeout := 5 * time.Second
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end))
	}
	time.Sleep(timeout)
	return context.DeadlineExceeded
}
