package lane

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/lane/governor"
)

// A call needs a permit of its lane and no slot: it has one where all slots are taken.
func TestACallNeedsNoSlot(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := c.govern(few)
		set.Learn("a", false)
		if n := set.Take("a", few); n != few {
			c.t.Fatalf("%d slots", n)
		}
		var calls []*Call
		for range few {
			call, err := set.Acquire(c.t.Context(), "b")
			if err != nil {
				c.t.Fatal(err)
			}
			calls = append(calls, call)
		}
		if n := set.InFlight(); n != few {
			c.t.Errorf("%d tasks in flight", n)
		}
		if isGoverned, known := set.Knows("b"); !isGoverned || !known || !slices.Equal(set.Called(), []string{"b"}) {
			c.t.Error("a lane that is called is not governed")
		}
		set.Governed(nil)
		if isGoverned, _ := set.Knows("b"); !isGoverned {
			c.t.Error("a lane that is called is not governed where nobody has announced it yet")
		}
		began := time.Now()
		_, err := set.Acquire(c.t.Context(), "b")
		var busy *BusyError
		if took := time.Since(began); !errors.As(err, &busy) || took != acquireWait || busy.After < comeBack || busy.After > 4*comeBack {
			c.t.Errorf("beyond the limit: %v after %v", err, took)
		}
		for _, call := range calls {
			call.Done(governor.Result{Started: time.Now(), Latency: time.Millisecond})
			call.Done(governor.Result{}) // counts once
		}
		set.Return("a", few)
		time.Sleep(5 * time.Second)
		set.Keep(nil)
		if all := set.Stats(); len(all) != 0 {
			c.t.Errorf("left are %+v", all)
		}
	})
}

// Those who wait are served in their order, before tasks of the lane.
func TestCallsAreServedInOrder(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		if err := governor.Configure(c.t.Context(), c.c, "b", governor.Config{Limit: 1}); err != nil {
			c.t.Fatal(err)
		}
		set := c.govern(5)
		first, err := set.Acquire(c.t.Context(), "b")
		if err != nil {
			c.t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				call, err := set.Acquire(c.t.Context(), "b")
				if err != nil {
					c.t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				if n := set.Take("b", 5); n != 0 {
					c.t.Errorf("%d permits for tasks beside the one", n)
				}
				time.Sleep(50 * time.Millisecond)
				call.Done(governor.Result{Started: time.Now(), Latency: 50 * time.Millisecond})
			})
		}
		time.Sleep(100 * time.Millisecond)
		if st := set.Stats()[0]; st.InFlight != 1 || st.Backlog < 5 {
			c.t.Errorf("%+v with five that wait", st)
		}
		first.Done(governor.Result{Started: time.Now(), Latency: 50 * time.Millisecond})
		all.Wait()
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			c.t.Errorf("served in the order %v", order)
		}
	})
}

// Nobody waits for what will not come: a Retry-After that is longer than the wait, the
// operator's pause. One that ends in time is waited for.
func TestACallDoesNotWaitForAPauseItKnows(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := c.govern(5)
		refusal := func(after time.Duration) {
			call, err := set.Acquire(c.t.Context(), "b")
			if err != nil {
				c.t.Fatal(err)
			}
			call.Done(governor.Result{Outcome: governor.Throttled, Started: time.Now(), RetryAfter: after})
		}
		refused := func(what string, least, most time.Duration) {
			c.t.Helper()
			began := time.Now()
			_, err := set.Acquire(c.t.Context(), "b")
			var busy *BusyError
			if !errors.As(err, &busy) || time.Since(began) > 0 || busy.After < least || busy.After > most || busy.Why == "" {
				c.t.Errorf("%s: %v after %v", what, err, time.Since(began))
			}
		}
		for range 100 { // it learns a rate from what came before a refusal
			call, err := set.Acquire(c.t.Context(), "b")
			if err != nil {
				c.t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			call.Done(governor.Result{Started: time.Now(), Latency: 20 * time.Millisecond})
		}
		refusal(500 * time.Millisecond)
		began := time.Now()
		call, err := set.Acquire(c.t.Context(), "b")
		if err != nil || time.Since(began) < 500*time.Millisecond {
			c.t.Fatalf("after a short pause: %v after %v", err, time.Since(began))
		}
		call.Done(governor.Result{Started: time.Now()})
		refusal(time.Minute)
		refused("a Retry-After", 59*time.Second, 64*time.Second)
		time.Sleep(65 * time.Second)
		if err := governor.Configure(c.t.Context(), c.c, "b", governor.Config{Paused: true}); err != nil {
			c.t.Fatal(err)
		}
		if call, err := set.Acquire(c.t.Context(), "b"); err == nil { // nobody here has heard of it yet
			call.Done(governor.Result{Started: time.Now()})
		}
		time.Sleep(300 * time.Millisecond)
		refused("the operator's pause", 5*time.Second, 9*time.Second)
	})
}

// A context that ends ends the wait, and leaves nothing behind. So does a Redis that is away.
func TestACallThatIsGivenUp(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := c.govern(5)
		c.b.SetDown(true)
		ctx, cancel := context.WithCancelCause(c.t.Context())
		why := errors.New("why")
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		if _, err := set.Acquire(ctx, "b"); !errors.Is(err, why) {
			c.t.Errorf("error %v", err)
		}
		var busy *BusyError
		if _, err := set.Acquire(c.t.Context(), "b"); !errors.As(err, &busy) {
			c.t.Errorf("error %v while Redis is away", err)
		}
		c.b.SetDown(false)
		time.Sleep(30 * time.Second)
		set.Keep(nil)
		if all := set.Stats(); len(all) != 0 {
			c.t.Errorf("left are %+v", all)
		}
	})
}

// Callers that never call Done hold a lane that nobody knows yet for so long, not for ever.
func TestForgottenCallsDoNotHoldALane(t *testing.T) {
	inBubble(t, func(c *cluster, _ *service) {
		set := c.govern(10)
		forgotten := make([]*Call, few)
		for i := range forgotten {
			var err error
			if forgotten[i], err = set.Acquire(c.t.Context(), "b"); err != nil {
				c.t.Fatal(err)
			}
		}
		began := time.Now()
		served := 0
		for time.Since(began) < longestCall+time.Minute {
			call, err := set.Acquire(c.t.Context(), "b")
			if err != nil {
				time.Sleep(comeBack)
				continue
			}
			time.Sleep(50 * time.Millisecond)
			call.Done(governor.Result{Started: time.Now().Add(-50 * time.Millisecond), Latency: 50 * time.Millisecond})
			if time.Since(began) > longestCall {
				served++
			}
		}
		if served < 500 {
			c.t.Errorf("%d calls in the minute after", served)
		}
		for _, call := range forgotten {
			call.Done(governor.Result{Started: began, Latency: time.Since(began)}) // the permit is back already
		}
		if n := set.Stats()[0].InFlight; n != 0 {
			c.t.Errorf("%d in flight", n)
		}
	})
}
