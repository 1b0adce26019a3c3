package gate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
)

// addAs enqueues tasks of a priority, and tells of it.
func (g *fixture) addAs(p queue.Priority, lane string, ids ...string) {
	g.t.Helper()
	ctx := context.Background()
	normal := g.client
	if p != queue.Normal {
		g.client = asynq.NewClientFromRedisClient(enqueuer{g.c, p})
	}
	g.add(lane, ids...)
	g.client = normal
	if err := queue.Wake(ctx, g.c, p, lane); err != nil {
		g.t.Fatal(err)
	}
}

// enqueuer is what asynq's client is given to enqueue with a priority: at once into its
// list, since a server that runs would take the task out of any other.
type enqueuer struct {
	redis.UniversalClient
	priority queue.Priority
}

func (e enqueuer) EvalSha(ctx context.Context, _ string, keys []string, args ...any) *redis.Cmd {
	cmd, all := redis.NewCmd(ctx), queue.NewEnqueues(e.priority)
	if err := errors.Join(all.Add(keys, args), all.Send(ctx, e.UniversalClient)); err != nil {
		cmd.SetErr(err)
	} else {
		cmd.SetVal(int64(1))
	}
	return cmd
}

// take takes and ends n tasks, one after another, and returns the first letters of their
// IDs.
func (g *fixture) take(n int) string {
	g.t.Helper()
	var order strings.Builder
	for range n {
		id, err := g.dequeue()
		if err != nil {
			g.t.Fatalf("after %s: %v", order.String(), err)
		}
		order.WriteByte(id[0])
		g.mu.Lock()
		var key taskKey
		for key = range g.claims {
			if key.id == id {
				break
			}
		}
		g.mu.Unlock()
		g.Claim(key.queue, id).Release()
		g.c.LRem(context.Background(), queue.Active(key.queue), 0, id)
	}
	return order.String()
}

func counts(order string) map[string]int {
	n := make(map[string]int)
	for _, c := range order {
		n[string(c)]++
	}
	return n
}

func wantCounts(t *testing.T, order string, want map[string]int) {
	t.Helper()
	if got := counts(order); !maps.Equal(got, want) {
		t.Errorf("%d tasks: %v, want %v; %.60s", len(order), got, want, order)
	}
}

func TestPrioritiesShareTheirLane(t *testing.T) {
	for _, slots := range []int{1, 7, 200} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			inBubble(t, slots, Options{}, func(t *testing.T, g *fixture) {
				g.lanes.Learn("a", false)
				g.addAs(queue.Low, "a", numbered("l", 200)...)
				g.addAs(queue.Normal, "a", numbered("n", 200)...)
				g.addAs(queue.High, "a", numbered("h", 200)...)
				if err := g.lookOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
				order := g.take(200)
				for i := range 20 {
					wantCounts(t, order[10*i:10*i+10], map[string]int{"h": 6, "n": 3, "l": 1})
				}
				// What one has not, the others get: 80 high ones are left, then none.
				if order = g.take(400); !strings.HasSuffix(order, strings.Repeat("l", 120)) {
					t.Errorf("the last are %s", order[250:])
				}
				wantCounts(t, order, map[string]int{"h": 80, "n": 140, "l": 180})
				rest := order[strings.LastIndex(order, "h")+1:]
				both := rest[:strings.LastIndex(rest, "n")+1]
				if n := counts(both); n["n"] < 3*n["l"]-6 || n["n"] > 3*n["l"]+6 {
					t.Errorf("without high ones: %v, want 3 normal ones for each low one", n)
				}
			})
		})
	}
}

// A task of high priority waits for no more others than there are slots, however many wait,
// and for no look.
func TestAnUrgentTaskOvertakes(t *testing.T) {
	const slots = 5
	inBubble(t, slots, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		var ran log
		g.serve(slots, func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			ran.add(id)
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		g.add("a", numbered("n", 1000)...)
		time.Sleep(3*time.Second + 50*time.Millisecond)
		before := len(ran.get())
		if before < slots {
			t.Fatalf("%d have run", before)
		}
		g.addAs(queue.High, "a", "urgent")
		time.Sleep(200 * time.Millisecond)
		at := slices.Index(ran.get(), "urgent")
		if at < 0 || at-before > slots {
			t.Errorf("%d others were started before it, it is %d", before, at)
		}
	})
}

// High ones that come one by one are each the next, and yet starve nobody.
func TestATrickleOfUrgentTasksStarvesNobody(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		g.addAs(queue.Low, "a", numbered("l", 100)...)
		g.addAs(queue.Normal, "a", numbered("n", 100)...)
		time.Sleep(2 * time.Second)
		var order strings.Builder
		for i := range 50 {
			g.addAs(queue.High, "a", fmt.Sprint("h", i))
			time.Sleep(time.Millisecond)
			got := g.take(2)
			if !strings.Contains(got, "h") {
				t.Fatalf("after %s: %s", order.String(), got)
			}
			order.WriteString(got)
		}
		n := counts(order.String())
		if n["h"] != 50 || n["l"] < 10 || n["n"] < 30 {
			t.Errorf("%v: %s", n, order.String())
		}
	})
}

// A list that was empty for long has saved no turns meanwhile.
func TestAnIdlePriorityHasNoTurnsSaved(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		g.addAs(queue.Normal, "a", numbered("n", 300)...)
		time.Sleep(2 * time.Second)
		g.take(200)
		g.addAs(queue.High, "a", numbered("h", 60)...)
		g.addAs(queue.Low, "a", numbered("l", 60)...)
		time.Sleep(time.Millisecond)
		order := g.take(50)
		if n := counts(order); n["h"] < 29 || n["h"] > 31 || n["n"] < 14 || n["n"] > 16 || n["l"] < 4 || n["l"] > 6 || order[0] != 'h' {
			t.Errorf("shares %v, want about 30, 15 and 5, a high one first: %s", n, order)
		}
	})
}

// Lanes with nothing but normal tasks are asked for those alone.
func TestNormalTasksCostNothingMore(t *testing.T) {
	inBubble(t, 4, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		asked := make(map[string]int)
		g.c.AddHook(eachCommand{func(args []any) {
			if args[0] == "evalsha" && len(args) == 11 && args[4] == queue.Paused("a") {
				asked[args[3].(string)] += args[9].(int)
			}
		}})
		g.lanes.Learn("a", false)
		time.Sleep(time.Second)
		g.addAs(queue.Normal, "a", numbered("n", 100)...)
		g.take(100)
		if n := asked[queue.Pending("a")]; len(asked) != 1 || n < 100 || n > 110 {
			t.Errorf("asked %v", asked)
		}
	})
}

// A task that asynq's server hands back at its end, and one that it had not got yet, are
// the next of their own list.
func TestAStoppedServerGivesBackIntoTheList(t *testing.T) {
	inBubble(t, 3, Options{}, func(t *testing.T, g *fixture) {
		s := g.serve(2, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			defer p.Release()
			<-ctx.Done()
			return ctx.Err()
		})
		g.addAs(queue.High, "a", "h1", "h2", "h3")
		g.addAs(queue.Low, "a", "l1")
		time.Sleep(3 * time.Second)
		g.addAs(queue.Normal, "a", "n1")
		if err := g.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		s.Shutdown()
		for _, p := range queue.Priorities {
			want := map[queue.Priority]string{queue.High: "[h1 h2 h3]", queue.Normal: "[n1]", queue.Low: "[l1]"}[p]
			ids := g.list(p.List("a"))
			slices.Sort(ids)
			if fmt.Sprint(ids) != want {
				t.Errorf("%v: %v, want %v", p, ids, want)
			}
		}
		g.wantList(queue.Active("a"))
	})
}

// A retry comes before what is less urgent, on whichever worker.
func TestARetryKeepsItsPriority(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		var ran log
		g.serve(1, func(ctx context.Context, _ *asynq.Task) error {
			id, _, p := g.claimed(ctx)
			defer p.Release()
			ran.add(id)
			if n, _ := asynq.GetRetryCount(ctx); n == 0 && id == "high" {
				return errEnough // again after 20 s
			}
			time.Sleep(time.Second)
			return nil
		})
		g.addAs(queue.High, "a", "high")
		time.Sleep(time.Second)
		g.add("a", numbered("n", 100)...)
		time.Sleep(30 * time.Second)
		if n := slices.Index(ran.get()[1:], "high"); n < 0 || n > 23 {
			t.Errorf("it ran again after %d others: %v", n, ran.get())
		}
	})
}

// weighted are lanes with work, each of a weight, on a gate that knows of it.
func (g *fixture) weighted(weights map[string]int) {
	g.t.Helper()
	for name, weight := range weights {
		g.lanes.Learn(name, false)
		g.add(name, numbered(name, 300)...)
		if err := lane.SetWeight(g.t.Context(), g.c, name, weight); err != nil {
			g.t.Fatal(err)
		}
	}
	if err := g.lookOnce(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
}

func TestLanesShareSlotsByWeight(t *testing.T) {
	for _, slots := range []int{1, 2, 3, 10, 64} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			inBubble(t, slots, Options{}, func(t *testing.T, g *fixture) {
				g.weighted(map[string]int{"a": 3, "b": 1, "c": 4})
				order := g.take(320)
				if n := counts(order); n["a"] != 120 || n["b"] != 40 || n["c"] != 160 {
					t.Errorf("shares %v, want 120, 40 and 160", n)
				}
			})
		})
	}
}

// A lane that is empty at times neither saves up turns, nor gets more than its own by
// coming late.
func TestATrickleDoesNotChangeShares(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.weighted(map[string]int{"a": 4, "b": 1})
		g.Start()
		g.take(100)
		g.c.Del(t.Context(), queue.Pending("b"))
		g.take(40) // a alone
		got := ""
		for i := range 20 {
			g.addAs(queue.Normal, "b", fmt.Sprint("b-", i))
			time.Sleep(time.Millisecond)
			for got += g.take(1); !strings.HasSuffix(got, "b"); got += g.take(1) {
				if len(got) > 200 {
					t.Fatal(got)
				}
			}
		}
		if n := counts(got); n["a"] < 70 || n["a"] > 84 {
			t.Errorf("beside 20 of b %d of a, want about 80: %s", n["a"], got)
		}
	})
}

// A weight holds as soon as it is set, and until it is set back.
func TestAWeightHoldsAtOnce(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.weighted(map[string]int{"a": 1, "b": 1})
		g.Start()
		time.Sleep(2 * look)
		wantCounts(t, g.take(40), map[string]int{"a": 20, "b": 20})
		for _, weight := range []int{9, 1} {
			if err := lane.SetWeight(t.Context(), g.c, "a", weight); err != nil {
				t.Fatal(err)
			}
			time.Sleep(look / 10)
			g.take(10) // the places they have
			wantCounts(t, g.take(40), map[string]int{"a": 40 * weight / (weight + 1), "b": 40 / (weight + 1)})
		}
	})
}

// Nothing is remembered of lanes for longer than it matters.
func TestTurnsAreForgotten(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		for i := range 50 {
			name := fmt.Sprint("lane", i)
			g.addAs(queue.High, name, "h")
			if err := g.lookOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			g.take(1)
		}
		g.wantNone()
		g.c.Del(t.Context(), queue.All)
		if err := g.lookOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(g.work) > 0 || len(g.order) > 0 {
			t.Errorf("%d lanes are remembered, %d of them in order", len(g.work), len(g.order))
		}
	})
}

// A lane whose list is empty is not asked again, which would be behind all others: meanwhile
// it would ask its governor for permits.
func TestALaneThatHasNoMoreLeavesTheOrder(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		for _, left := range []int{1, 0} {
			if left > 0 {
				g.addAs(queue.Normal, "a", "1")
				g.addAs(queue.Normal, "a", "2")
				if err := g.lookOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			g.take(1)
			if len(g.order) != left {
				t.Errorf("with %d tasks left %d lanes are in the order", left, len(g.order))
			}
		}
	})
}

// To tasks of any other asynq client the forwarding does what asynq's does.
func TestForwardingIsAsynqs(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := t.Context()
		keys := append([]string{queue.Retry("x")}, queue.Lists("x")...)
		run := func(script *redis.Script, keys []string) (moved []any, after string) {
			c.FlushAll(ctx)
			for i := range 150 {
				c.ZAdd(ctx, queue.Retry("x"), redis.Z{Score: float64(i), Member: fmt.Sprint(i)})
				record := []any{"msg", "m", "state", "retry"}
				if i%7 == 0 {
					record = append(record, "group", fmt.Sprint("g", i%3))
				}
				if i%10 > 0 { // of others the record is gone
					c.HSet(ctx, queue.TaskPrefix("x")+fmt.Sprint(i), record...)
				}
			}
			for range 3 {
				n, err := script.Run(ctx, c, keys, 140, queue.TaskPrefix("x"), int64(140e9), queue.GroupPrefix("x")).Result()
				if err != nil {
					t.Fatal(err)
				}
				moved = append(moved, n)
			}
			var all []string
			for _, key := range c.Keys(ctx, "*").Val() {
				dump := fmt.Sprint(c.LRange(ctx, key, 0, -1).Val(), c.ZRangeWithScores(ctx, key, 0, -1).Val(), c.HGetAll(ctx, key).Val())
				all = append(all, key+dump)
			}
			slices.Sort(all)
			return moved, strings.Join(all, "\n")
		}
		theirs, want := run(redis.NewScript(forwardSrc), keys[:2])
		ours, got := run(queue.ForwardScript, keys)
		if got != want || len(want) < 1000 {
			t.Errorf("asynq's leaves\n%s\nthis\n%s", want, got)
		}
		for i := range ours {
			if sum, want := ours[i], []any{theirs[i], int64(0), int64(0)}; fmt.Sprint(sum) != fmt.Sprint(want) {
				t.Errorf("asynq's moved %v, this %v", theirs[i], sum)
			}
		}
	})
}

// A lane keeps its place in the order of turns while it has nothing to run and others do,
// however many these are.
func TestALookForgetsNoPlaceThatMatters(t *testing.T) {
	t.Parallel()
	g := New(nil, nil, lane.NewSet("w", 10), Options{})
	var names []string
	for i := range 100 {
		name := fmt.Sprintf("l%02d", i)
		names = append(names, name)
		g.work[name] = &work{lane: name, index: -1, pass: 100}
		if i%2 == 0 {
			g.found(name, queue.Normal)
		}
	}
	g.setKnown(slices.Clone(names), false)
	for _, name := range names {
		if g.work[name] == nil {
			t.Errorf("%s has lost its place", name)
		}
	}
}
