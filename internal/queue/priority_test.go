package queue

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
)

// addAs enqueues a task of a priority, as a batch's producer does.
func (q *fixture) addAs(p Priority, lane, id string) (new bool) {
	q.t.Helper()
	q.add("mould", id, asynq.Retention(0))
	msg := q.c.HGet(q.ctx, TaskPrefix("mould")+id, "msg").Val()
	q.c.Del(q.ctx, TaskPrefix("mould")+id, Pending("mould"))
	before := q.c.Exists(q.ctx, TaskPrefix(lane)+id).Val()
	all := NewEnqueues(p)
	if err := all.Add([]string{TaskPrefix(lane) + id, Pending(lane)}, []any{[]byte(msg), id, time.Now().UnixNano()}); err != nil {
		q.t.Fatal(err)
	}
	if err := all.Send(q.ctx, q.c); err != nil {
		q.t.Fatal(err)
	}
	return before == 0
}

// takeAs makes the next task of a list active.
func (q *fixture) takeAs(p Priority, lane string) (id string) {
	q.t.Helper()
	if p != Normal {
		q.c.LMove(q.ctx, p.List(lane), Pending(lane), "RIGHT", "RIGHT")
	}
	return q.take(lane, someLease)
}

// wantLists compares the IDs that wait in a lane, the next one first.
func (q *fixture) wantLists(lane string, want map[Priority]string) {
	q.t.Helper()
	for _, p := range Priorities {
		ids := q.c.LRange(q.ctx, p.List(lane), 0, -1).Val()
		slices.Reverse(ids)
		if got := strings.Join(ids, " "); got != want[p] {
			q.t.Errorf("of %v priority wait %q, want %q", p, got, want[p])
		}
	}
}

func TestNamesOfPriorities(t *testing.T) {
	t.Parallel()
	for _, p := range Priorities {
		if got, err := ParsePriority(p.String()); got != p || err != nil {
			t.Errorf("%v is read as %v, %v", p, got, err)
		}
		for _, queues := range [][]string{{"a.b_1"}, {"a.b_1:17"}, {"a", "a:17", "a:3"}, {"a:1", "a"}} {
			if of, got, err := ParseNotice(p.notice(queues...)); !slices.Equal(of, queues) || got != p || err != nil {
				t.Errorf("of %v of %q is heard %q, %v, %v", p, queues, of, got, err)
			}
		}
		if list := p.List("x"); strings.Count(list, "{x}") != 1 {
			t.Errorf("%s is not in the lane's slot", list)
		}
	}
	for _, bad := range []string{"", "urgent", "High", "high "} {
		if _, err := ParsePriority(bad); err == nil || !strings.Contains(err.Error(), "must be high, normal or low") {
			t.Errorf("%q: %v", bad, err)
		}
		if bad == "" {
			continue
		}
		if _, _, err := ParseNotice("x:" + bad); err == nil {
			t.Errorf("notice of %q is understood", bad)
		}
	}
	if Lists("x")[0] != Pending("x") || Pending("x") != Normal.List("x") {
		t.Error("asynq's list is not the first, that of normal priority")
	}
	type stored struct {
		P Priority `json:"p,omitempty"`
	}
	for want, p := range map[string]Priority{`{}`: Normal, `{"p":"high"}`: High, `{"p":"low"}`: Low} {
		text, err := json.Marshal(stored{p})
		var back stored
		if err := json.Unmarshal([]byte(want), &back); err != nil || back.P != p {
			t.Errorf("%s is read as %v, %v", want, back.P, err)
		}
		if string(text) != want || err != nil {
			t.Errorf("%v is stored as %s, %v", p, text, err)
		}
	}
}

// But for its list and its priority a task is as asynq enqueues it.
func TestEnqueueWithAPriority(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "normal")
		want := slices.Sorted(maps.Keys(q.c.HGetAll(q.ctx, TaskPrefix("x")+"normal").Val()))
		for _, p := range []Priority{High, Low} {
			if !q.addAs(p, "x", "b:"+p.String()) || q.addAs(p, "x", "b:"+p.String()) || q.addAs(p, "x", "normal") {
				t.Errorf("%v: enqueued not once", p)
			}
			record := q.c.HGetAll(q.ctx, TaskPrefix("x")+"b:"+p.String()).Val()
			if record["priority"] != p.String() || record["state"] != "pending" {
				t.Errorf("record %v", record)
			}
			delete(record, "priority")
			if got := slices.Sorted(maps.Keys(record)); !slices.Equal(got, want) {
				t.Errorf("its record has %v, asynq's %v", got, want)
			}
		}
		q.wantLists("x", map[Priority]string{Normal: "normal", High: "b:high", Low: "b:low"})
	})
}

// Every way back into its lane leads to the list of a task's priority.
func TestTasksKeepTheirLists(t *testing.T) {
	for name, way := range map[string]func(q *fixture, p Priority, id string) error{
		"given back": func(q *fixture, p Priority, id string) error {
			q.takeAs(p, "x")
			back, err := GiveBack(q.ctx, q.c, "x", id, fmt.Sprint(someLease))
			if !back {
				return fmt.Errorf("not given back: %w", err)
			}
			return err
		},
		"put off": func(q *fixture, p Priority, id string) error {
			q.takeAs(p, "x")
			return Postpone(q.ctx, q.c, "x", id, time.Now())
		},
		"retried": func(q *fixture, p Priority, id string) error {
			q.retry("x", q.takeAs(p, "x"))
			return nil
		},
		"paused and resumed": func(q *fixture, p Priority, id string) error {
			if n, err := Park(q.ctx, q.c, "x", "b"); n != 1 || err != nil {
				return fmt.Errorf("parked %d, %w", n, err)
			}
			if n := q.c.ZCard(q.ctx, Scheduled("x")).Val(); n != 1 {
				return fmt.Errorf("%d are set aside", n)
			}
			_, err := Unpark(q.ctx, q.c, "x", "b")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, q *fixture) {
				for _, p := range Priorities {
					id := "b:" + fmt.Sprint(int(p))
					if p == Normal {
						q.add("x", id)
					} else {
						q.addAs(p, "x", id)
					}
					if err := way(q, p, id); err != nil {
						t.Fatal(err)
					}
					for _, delayed := range []string{Scheduled("x"), Retry("x")} {
						keys := append([]string{delayed}, Lists("x")...)
						now := someLease + 1
						if err := ForwardScript.Run(q.ctx, q.c, keys, now, TaskPrefix("x"), now*1e9, GroupPrefix("x")).Err(); err != nil {
							t.Fatal(err)
						}
					}
					q.wantLists("x", map[Priority]string{p: id})
					if state := q.c.HGet(q.ctx, TaskPrefix("x")+id, "state").Val(); state != "pending" {
						t.Errorf("it is %s", state)
					}
					if n, err := q.c.Exists(q.ctx, Active("x"), Lease("x"), Scheduled("x"), Retry("x")).Result(); n != 0 || err != nil {
						t.Errorf("it is elsewhere too: %d, %v", n, err)
					}
					q.c.Del(q.ctx, append(Lists("x"), TaskPrefix("x")+id)...)
				}
			})
		})
	}
}

func TestWithdrawTakesFromAllLists(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.addAs(High, "x", "b:1")
		q.addAs(High, "x", "b:2")
		q.addAs(High, "x", "c:1")
		q.add("x", "b:3")
		q.addAs(Low, "x", "b:4")
		q.addAs(Low, "x", "b:5")
		q.retry("x", q.takeAs(Low, "x"))
		q.takeAs(High, "x")
		// Another client has put this one into asynq's list, and this one's record is gone.
		q.c.LMove(q.ctx, Low.List("x"), Pending("x"), "RIGHT", "LEFT")
		q.c.LPush(q.ctx, High.List("x"), "b:ghost")
		taken, active, err := Withdraw(q.ctx, q.c, []string{"x"}, "b", nil)
		if taken != 5 || !slices.Equal(active, []string{"b:1"}) || err != nil {
			t.Errorf("took %d, active %v, %v", taken, active, err)
		}
		q.wantLists("x", map[Priority]string{High: "c:1"})
	})
}

func TestDropGhostsKnowsAllLists(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.addAs(High, "x", "b:1")
		q.addAs(Low, "x", "b:2")
		q.addAs(Low, "x", "b:3")
		q.c.LRem(q.ctx, Low.List("x"), 0, "b:3")
		n, err := DropGhosts(q.ctx, q.c, map[string][]string{"x": {"b:1", "b:2", "b:3"}})
		if n != 1 || err != nil || q.c.Exists(q.ctx, TaskPrefix("x")+"b:3").Val() != 0 {
			t.Errorf("dropped %d, %v", n, err)
		}
	})
}

// A lane whose tasks are all of high or of low priority is as busy as any.
func TestWhatWaitsInALaneOfOnePriority(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		lanes := []string{"high", "low", "empty"}
		q.addAs(High, "high", "b:1")
		q.addAs(Low, "low", "b:2")
		q.addAs(Low, "low", "b:3")
		if busy, err := Busy(q.ctx, q.c, lanes); !slices.Equal(busy, lanes[:2]) || err != nil {
			t.Errorf("busy %v, %v", busy, err)
		}
		if empty, err := Empty(q.ctx, q.c, lanes); !slices.Equal(empty, lanes[2:]) || err != nil {
			t.Errorf("empty %v, %v", empty, err)
		}
		for p, want := range map[Priority][]int64{Normal: {0, 0, 0}, High: {1, 0, 0}, Low: {0, 2, 0}} {
			if n, err := Waiting(q.ctx, q.c, lanes, p); !slices.Equal(n, want) || err != nil {
				t.Errorf("before one of %v priority wait %v, %v; want %v", p, n, err, want)
			}
		}
		places, err := Places(q.ctx, q.c, lanes, "b")
		if want := map[int64]Place{1: InPending, 2: InPending, 3: InPending}; !maps.Equal(places, want) || err != nil {
			t.Errorf("places %v, %v", places, err)
		}
		q.c.HSet(q.ctx, TaskPrefix("low")+"b:2", "pending_since", int64(3e9))
		q.add("low", "b:4")
		since, err := PendingSince(q.ctx, q.c, lanes)
		if err != nil || since[0].IsZero() || since[1].Unix() != 3 || !since[2].IsZero() {
			t.Errorf("waiting since %v, %v", since, err)
		}
	})
}

func TestWakeTellsOfThePriority(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		sub := q.c.Subscribe(q.ctx, WakeChannel)
		defer sub.Close()
		if _, err := sub.Receive(q.ctx); err != nil {
			t.Fatal(err)
		}
		if err := WakeAll(q.ctx, q.c, "a"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"a", "a:high", "a:low"} {
			m, err := sub.ReceiveMessage(q.ctx)
			if err != nil || m.Payload != want {
				t.Errorf("heard %v, %v; want %s", m, err, want)
			}
		}
	})
}

// What README.md says of asynq's tools: they find a task by its ID, and nothing else.
func TestWhatAsynqsToolsSeeOfAPriority(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "1")
		q.addAs(High, "x", "2")
		i := asynq.NewInspectorFromRedisClient(q.c)
		if task, err := i.GetTaskInfo("x", "2"); err != nil || task.State != asynq.TaskStatePending {
			t.Errorf("by its ID: %+v, %v", task, err)
		}
		if queue, err := i.GetQueueInfo("x"); err != nil || queue.Pending != 1 {
			t.Errorf("counted are %+v, %v", queue, err)
		}
		if got := q.where("x"); got != "pending 1" {
			t.Errorf("listed are %s", got)
		}
		if err := i.DeleteTask("x", "2"); err == nil {
			t.Error("it is deleted")
		}
		q.wantLists("x", map[Priority]string{Normal: "1", High: "2"})
	})
}
