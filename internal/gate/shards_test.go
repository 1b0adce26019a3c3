package gate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// Tasks of all of a lane's queues wait for the lane's permits.
func TestPermitsAreOfTheLaneNotOfItsQueues(t *testing.T) {
	inBubble(t, 100, Options{}, func(t *testing.T, g *fixture) {
		g.lanes.Limit("a", 3)
		for _, of := range []string{"a", "a:1", "a:22"} {
			g.add(of, of+".0", of+".1")
		}
		g.Start()
		time.Sleep(2 * time.Second)
		for range 3 {
			if _, err := g.dequeue(); err != nil {
				t.Fatal(err)
			}
		}
		g.wantNone()
		g.wantInFlight(3)
		want := []lane.Stat{{Name: "a", Limit: 3, InFlight: 3, Backlog: 3}}
		if got := g.lanes.Stats(); !slices.Equal(got, want) {
			t.Errorf("lanes %+v, want %+v", got, want)
		}
		if got := g.Queues(); !slices.Equal(got, []string{"a", "a:1", "a:22"}) {
			t.Errorf("queues %v", got)
		}
		for key := range g.claims {
			if p := g.Claim(key.queue, key.id); p.lane != "a" {
				t.Errorf("the permit of %s is of lane %q", key.id, p.lane)
			} else {
				p.Done(governor.Result{Outcome: governor.OK})
			}
		}
		if _, err := g.dequeue(); err != nil {
			t.Errorf("with a free permit: %v", err)
		}
	})
}

// A lane has its part of the slots whatever number of queues its tasks are in; each of
// these has its turn.
func TestALanesWeightIsThatOfAllItsQueues(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.add("b", numbered("b", 200)...)
		for i, of := range lane12 {
			g.add(of, numbered(string(rune('A'+i))+"-", 50)...)
		}
		if err := g.lookOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		order := g.take(240)
		n := counts(order)
		if n["b"] < 119 || n["b"] > 121 {
			t.Errorf("of 240 tasks %d are of the lane of one queue", n["b"])
		}
		for i := range lane12 {
			if c := n[string(rune('A'+i))]; c < 9 || c > 11 {
				t.Errorf("%d tasks of queue %d, want about 10: %s", c, i, order)
			}
		}
	})
}

var lane12 = queue.Shards("a", 12)

// With many permits calls are few: so many tasks are asked of one queue at a time.
func TestAQueueIsAskedForManyAtATime(t *testing.T) {
	inBubble(t, pipelined, Options{}, func(t *testing.T, g *fixture) {
		g.lanes.Learn("a", false)
		for _, of := range lane12 {
			g.add(of, numbered(of+".", 20)...)
		}
		if err := g.lookOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		turns := g.turns()
		if len(turns) != 1 || len(turns[0].lists) != pipelined {
			t.Fatalf("asked for %+v", turns)
		}
		if calls := turns[0].take("1.5"); len(calls) != pipelined/inARow {
			t.Errorf("%d calls for %d tasks", len(calls), pipelined)
		}
	})
}

// What is of high priority goes first, in whichever queue it is.
func TestPrioritiesShareTheirLaneInAllItsQueues(t *testing.T) {
	inBubble(t, 7, Options{}, func(t *testing.T, g *fixture) {
		g.lanes.Learn("a", false)
		g.addAs(queue.Low, "a", numbered("l", 100)...)
		g.addAs(queue.Normal, "a:1", numbered("n", 100)...)
		g.addAs(queue.Normal, "a:2", numbered("n2", 100)...)
		g.addAs(queue.High, "a:3", numbered("h", 100)...)
		if err := g.lookOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		order := g.take(100)
		for i := range 10 {
			wantCounts(t, order[10*i:10*i+10], map[string]int{"h": 6, "n": 3, "l": 1})
		}
	})
}

// A worker of some lanes serves their queues, and hears of each by itself; what it has not
// handed out goes back where it was.
func TestAWorkerOfALaneServesItsQueues(t *testing.T) {
	inBubble(t, 10, Options{Only: []string{"a"}}, func(t *testing.T, g *fixture) {
		g.Start()
		time.Sleep(time.Second + time.Millisecond)
		g.lanes.Learn("a", false)
		g.addAs(queue.High, "a:7", "h0")
		g.addAs(queue.Normal, "b:7", "other")
		g.want("h0")
		g.addAs(queue.Normal, "a:9", "n0", "n1", "n2")
		g.want("n0")
		g.wantList(queue.Active("a:9"), "n0", "n1", "n2")
		if err := g.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.wantList(queue.Pending("a:9"), "n1", "n2")
		g.wantList(queue.Active("a:9"), "n0")
		g.wantList(queue.Pending("b:7"), "other")
		if _, err := g.dequeue(); err != redis.Nil {
			t.Errorf("after Stop: %v", err)
		}
	})
}

// Queues take turns of so many tasks, and who is asked no more gives its turn away.
func TestQueuesTurn(t *testing.T) {
	t.Parallel()
	var r ring
	var order strings.Builder
	for _, name := range []string{"x", "y", "x", "z"} {
		r.add(name)
	}
	for i := range 4 * inARow {
		if i == 2*inARow+1 {
			r.drop("z")
			r.add("w")
		}
		fmt.Fprint(&order, r.next())
	}
	want := strings.Repeat("x", inARow) + strings.Repeat("y", inARow) + "z" + strings.Repeat("x", inARow) + strings.Repeat("y", inARow-1)
	if got := order.String(); got != want {
		t.Errorf("turns %s, want %s", got, want)
	}
}
