package integration_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

// An urgent batch comes into a lane in which a batch of a million runs.
func TestAnUrgentBatchOvertakesAMillion(t *testing.T) {
	t.Parallel()
	const slots, urgent = 2, 60
	server := conntest.Server(t)
	url := server.URL()
	startWorker(t, url, "--concurrency", fmt.Sprint(slots))
	startProducer(t, url, "enqueue", "sleep", "--batch", "million", "--repeat", "1000000", "--payload", sleepOf(50*time.Millisecond))
	awaitStanding(t, url, "million", "it runs, and many wait", func(s standing) bool { return s.OK >= 20 && s.Pending > 500 })

	producer(t, url, "enqueue", "sleep", "--batch", "urgent", "--priority", "high", "--repeat", fmt.Sprint(urgent), "--payload", sleepOf(50*time.Millisecond)).exits(t, 0)
	awaitStanding(t, url, "urgent", "all are done", func(s standing) bool { return s.OK == urgent })
	begun, ended := status(t, url, "urgent").Created, recorded(t, server, "urgent")[urgent-1]
	million := recorded(t, server, "million")
	others := until(million, ended) - until(million, begun)
	t.Logf("beside %d urgent tasks %d others were run", urgent, others)
	// One normal task goes with two of high priority; seconds may pass before they are there,
	// at 40 tasks each. In the order of input it would be all that wait, 500 and more.
	if most := urgent/2 + 2*slots + 200; others > most {
		t.Errorf("%d others were run, want at most %d", others, most)
	}
}

// recorded are the moments at which the outcomes of a batch were recorded, by Redis' clock.
func recorded(t *testing.T, server *conntest.RealServer, name string) (at []time.Time) {
	t.Helper()
	entries, err := server.Client().XRange(t.Context(), "weir:{"+name+"}:out", "-", "+").Result()
	must(t, err)
	for _, e := range entries {
		ms, _, _ := strings.Cut(e.ID, "-")
		n, err := strconv.ParseInt(ms, 10, 64)
		must(t, err)
		at = append(at, time.UnixMilli(n))
	}
	return at
}

// until is how many of moments in order are not after one.
func until(moments []time.Time, end time.Time) int {
	i := slices.IndexFunc(moments, func(at time.Time) bool { return at.After(end) })
	if i < 0 {
		return len(moments)
	}
	return i
}

// With one slot the order of outcomes is that of turns.
func TestPrioritiesShareALane(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	const n = 200
	for _, priority := range []string{"low", "normal", "high"} {
		producer(t, url, "enqueue", "sleep", "--batch", priority, "--priority", priority, "--repeat", fmt.Sprint(n), "--payload", sleepOf(5*time.Millisecond)).exits(t, 0)
	}
	if s := status(t, url, "low"); s.Pending != n {
		t.Errorf("of low priority %d wait", s.Pending)
	}
	startWorker(t, url, "--concurrency", "1")
	for _, name := range []string{"high", "normal", "low"} {
		awaitStanding(t, url, name, "all are done", func(s standing) bool { return s.OK == n })
	}
	const high = 150
	then := recorded(t, server, "high")[high-1]
	normal, low := until(recorded(t, server, "normal"), then), until(recorded(t, server, "low"), then)
	t.Logf("done with %d of high priority: %d of normal, %d of low", high, normal, low)
	if normal < high/2-5 || normal > high/2+5 || low < high/6-5 || low > high/6+5 {
		t.Errorf("shares %d : %d : %d, want 6 : 3 : 1", high, normal, low)
	}
}

// The tasks of a killed worker go back where they were; cancelling finds them there.
func TestAKilledWorkersUrgentTasksStayUrgent(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	startWorker(t, url, "--concurrency", "1", "--shutdown-timeout", "10ms")
	producer(t, url, "enqueue", "sleep", "--batch", "long", "--payload", sleepOf(time.Minute)).exits(t, 0)
	awaitActive(t, url, "long", 1) // the one that is left has no slot for them
	victim := startWorker(t, url, "--concurrency", "5")
	for _, priority := range []string{"high", "low"} {
		n := map[string]string{"high": "3", "low": "2"}[priority]
		producer(t, url, "enqueue", "sleep", "--batch", priority, "--priority", priority, "--repeat", n, "--payload", sleepOf(time.Minute)).exits(t, 0)
	}
	awaitActive(t, url, "high", 3)
	awaitActive(t, url, "low", 2)
	victim.signal(syscall.SIGKILL)
	rdb := server.Client()
	eventually(t, 25*time.Second, func() bool {
		high, low := rdb.LRange(t.Context(), queue.High.List("sleep"), 0, -1).Val(), rdb.LRange(t.Context(), queue.Low.List("sleep"), 0, -1).Val()
		return len(high) == 3 && strings.HasPrefix(high[0], "high:") && len(low) == 2 && strings.HasPrefix(low[0], "low:")
	}, "the killed worker's tasks wait in their lists")
	if n := rdb.LLen(t.Context(), queue.Pending("sleep")).Val(); n != 0 {
		t.Errorf("%d wait in asynq's list", n)
	}
	for _, name := range []string{"high", "low"} {
		producer(t, url, "cancel", name).exits(t, 0)
		if s := status(t, url, name); s.inRedis() != 0 || s.Cancelled != *s.N {
			t.Errorf("cancelled: %+v", s)
		}
	}
	if n := rdb.Exists(t.Context(), queue.High.List("sleep"), queue.Low.List("sleep")).Val(); n != 0 {
		t.Error("something is left in the lists")
	}
}

func TestAPriorityBelongsToItsBatch(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	args := func(more ...string) []string {
		return append([]string{"enqueue", "square", "--batch", "b", "--repeat", "5"}, more...)
	}
	producer(t, url, args("--priority", "urgent")...).exits(t, 2).says(t, `--priority "urgent": must be high, normal or low`)
	producer(t, url, args("--priority", "low")...).exits(t, 0)
	producer(t, url, args()...).exits(t, 2).says(t, `--priority was "low" and is now "normal"`)
	producer(t, url, args("--priority", "low")...).exits(t, 0)
	var shown struct{ Priority string }
	must(t, json.Unmarshal([]byte(producer(t, url, "status", "--json", "b").exits(t, 0).stdout), &shown))
	if shown.Priority != "low" {
		t.Errorf("status shows priority %q", shown.Priority)
	}
	// What failed is tried again by the priority it had, unless another is given.
	startWorker(t, url)
	producer(t, url, "run", "sleep", "--batch", "bad", "--priority", "high", "--retries", "0", "--payload", `{"task_number":{n},"fail":"expected"}`).exits(t, 1)
	producer(t, url, "retry", "bad", "--batch", "again").exits(t, 1)
	producer(t, url, "retry", "bad", "--batch", "lower", "--priority", "normal").exits(t, 1)
	for name, want := range map[string]queue.Priority{"again": queue.High, "lower": queue.Normal} {
		if st, err := open(t, url).Status(t.Context(), name); err != nil || st.Options.Priority != want {
			t.Errorf("batch %s has priority %v, %v; want %v", name, st.Options.Priority, err, want)
		}
	}
}

// Of a worker with few slots each lane has its part by weight.
func TestLanesShareAWorkerByWeight(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	for _, bad := range []string{"0", "101", "-1"} {
		producer(t, url, "lane", "heavy", "--weight="+bad).exits(t, 2).says(t, "--weight "+bad+": must be from 1 to 100")
	}
	producer(t, url, "lane", "heavy", "--weight", "3").exits(t, 0)
	weights := make(map[string]int)
	for _, lane := range []string{"heavy", "light"} {
		producer(t, url, "enqueue", "sleep", "--batch", lane, "--lane", lane, "--repeat", "600", "--payload", sleepOf(10*time.Millisecond)).exits(t, 0)
	}
	for line := range strings.Lines(producer(t, url, "lanes", "--json").exits(t, 0).stdout) {
		var shown struct {
			Lane     string
			Weight   int
			Governed bool
		}
		must(t, json.Unmarshal([]byte(line), &shown))
		weights[shown.Lane] = shown.Weight
		if shown.Governed {
			t.Errorf("lane %s is governed for its weight", shown.Lane)
		}
	}
	if weights["heavy"] != 3 || weights["light"] != 1 {
		t.Errorf("weights %v", weights)
	}
	startWorker(t, url, "--concurrency", "4")
	for _, lane := range []string{"heavy", "light"} {
		awaitStanding(t, url, lane, "all are done", func(s standing) bool { return s.OK == 600 })
	}
	const heavy = 450
	light := until(recorded(t, server, "light"), recorded(t, server, "heavy")[heavy-1])
	t.Logf("done: heavy %d, light %d", heavy, light)
	if 3*light < heavy-40 || 3*light > heavy+40 {
		t.Errorf("heavy %d, light %d; want 3 : 1", heavy, light)
	}
}
