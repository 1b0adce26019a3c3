package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/tasks"
)

func open(t testing.TB, url string) *weir.Client {
	t.Helper()
	c, err := weir.Open(t.Context(), weir.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func redisOf(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	return open(t, url).Redis()
}

// Row "a distributed task with .delay(), .ready(), .result over a broker".
func TestSingleTaskIsEnqueuedPolledAndGot(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	url := conntest.Server(t).URL()
	c := open(t, url)
	task, err := weir.Enqueue(ctx, c, tasks.Square, tasks.SquarePayload{N: 12}, weir.BatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ready, err := task.Ready(ctx); ready || err != nil {
		t.Errorf("without a worker it is ready (%v), or %v", ready, err)
	}
	worker := startWorker(t, url) // in another process
	began := time.Now()
	eventually(t, long, func() bool { ready, err := task.Ready(ctx); return ready && err == nil }, "the task is ready")
	t.Logf("ready %v after the worker said that it had started", time.Since(began).Round(time.Millisecond))

	// Whoever knows the ID finds it, more than once.
	elsewhere := open(t, url)
	for _, at := range []*weir.Task[map[string]*big.Int]{task, weir.Find(elsewhere, tasks.Square, task.ID()), task} {
		if got, err := at.Get(ctx); err != nil || got["12"].Int64() != 144 {
			t.Errorf("12 squared is %v, %v", got, err)
		}
	}

	bad, err := weir.Enqueue(ctx, c, tasks.Sleep, tasks.SleepPayload{TaskNumber: 1, Fail: "expected"}, weir.BatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var failed *weir.TaskError
	if _, err := bad.Get(ctx); !errors.As(err, &failed) || failed.Class != batch.Permanent {
		t.Errorf("the failing task gives %v", err)
	}
	if !worker.running() {
		t.Error("the worker died")
	}
}

// plainAsynq is what any program has that uses asynq, and knows nothing of weir.
type plainAsynq struct {
	t         *testing.T
	client    *asynq.Client
	inspector *asynq.Inspector
}

func newPlainAsynq(t *testing.T, server *conntest.RealServer) plainAsynq {
	redis := asynq.RedisClientOpt{Addr: server.Addr()}
	a := plainAsynq{t, asynq.NewClient(redis), asynq.NewInspector(redis)}
	t.Cleanup(func() { a.client.Close(); a.inspector.Close() })
	return a
}

func (a plainAsynq) enqueue(typ, payload string, opts ...asynq.Option) *asynq.TaskInfo {
	a.t.Helper()
	info, err := a.client.Enqueue(asynq.NewTask(typ, []byte(payload)), append(opts, asynq.Retention(time.Hour))...)
	if err != nil {
		a.t.Fatal(err)
	}
	return info
}

// inState waits until the task is in that state.
func (a plainAsynq) inState(i *asynq.TaskInfo, state asynq.TaskState) *asynq.TaskInfo {
	a.t.Helper()
	var now *asynq.TaskInfo
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var err error
		if now, err = a.inspector.GetTaskInfo(i.Queue, i.ID); err != nil {
			a.t.Fatalf("%s of queue %s: %v", i.Type, i.Queue, err)
		}
		if now.State == state {
			return now
		}
	}
	a.t.Fatalf("%s of queue %s is %v (%s), want %v", i.Type, i.Queue, now.State, now.LastErr, state)
	return nil
}

// Plain asynq tasks of a known type, by any asynq client, run too.
func TestPlainAsynqTasksRun(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	a := newPlainAsynq(t, server)
	startWorker(t, server.URL())
	began := time.Now()
	inDefault := a.enqueue("square", `{"n":12}`)
	inSquare := a.enqueue("square", `{"n":13}`, asynq.Queue("square"))
	later := a.enqueue("square", `{"n":14}`, asynq.ProcessIn(time.Second))
	wrong := a.enqueue("square", `{"n":"twelve"}`)
	failing := a.enqueue("sleep", `{"task_number":1,"fail":"unexpected"}`, asynq.MaxRetry(0))

	for want, i := range map[string]*asynq.TaskInfo{`{"12":144}`: inDefault, `{"13":169}`: inSquare, `{"14":196}`: later} {
		if got := a.inState(i, asynq.TaskStateCompleted); string(got.Result) != want {
			t.Errorf("the result is %s, want %s", got.Result, want)
		}
	}
	t.Logf("three plain tasks, the last of them scheduled in 1 s, ran in %v", time.Since(began).Round(time.Millisecond))
	a.inState(wrong, asynq.TaskStateArchived)
	if got := a.inState(failing, asynq.TaskStateArchived); !strings.Contains(got.LastErr, "unexpected failure") {
		t.Errorf("the failing one's error is %q", got.LastErr)
	}
}

// Tasks of a type that no worker knows wait in their queue for one that does.
func TestTasksOfAnUnknownTypeStayAndAreReported(t *testing.T) {
	t.Parallel()
	for _, retries := range []int{25, 0} {
		t.Run(fmt.Sprintf("with %d retries", retries), func(t *testing.T) {
			t.Parallel()
			server := conntest.Server(t)
			a := newPlainAsynq(t, server)
			worker := startWorker(t, server.URL())
			task := a.enqueue("no-such-type", `{}`, asynq.Queue("strange"), asynq.MaxRetry(retries))

			worker.logs("does not know the task type")
			line := lineWith(worker.stderr.String(), "does not know the task type")
			if !strings.Contains(line, "no-such-type") || !strings.Contains(line, "strange") {
				t.Errorf("the report names no type and lane: %s", line)
			}
			// It is looked at again and again, and loses nothing by it.
			first := a.inState(task, asynq.TaskStateRetry)
			var again *asynq.TaskInfo
			eventually(t, long, func() bool {
				again = a.inState(task, asynq.TaskStateRetry)
				return again.NextProcessAt.After(first.NextProcessAt)
			}, "the task was looked at again")
			t.Logf("%v until %s, then until %s; %d retries spent", first.State,
				first.NextProcessAt.Format(time.TimeOnly), again.NextProcessAt.Format(time.TimeOnly), again.Retried)
			if q, err := a.inspector.GetQueueInfo("strange"); err != nil || q.Archived != 0 || q.Size != 1 || again.Retried != 0 {
				t.Errorf("it has spent %d retries, and its queue is %+v, %v", again.Retried, q, err)
			}
		})
	}
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// What asynqmon and the asynq CLI show is asynq's Inspector.
func TestAsynqToolsSeeTheQueuesOfABatch(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	inspector := newPlainAsynq(t, server).inspector
	worker := startWorker(t, url, "--concurrency", "5")
	p := startProducer(t, url, "run", "sleep", "--batch", "seen", "--repeat", "50", "--payload", sleepOf(time.Second))

	var queue *asynq.QueueInfo
	eventually(t, long, func() bool {
		var err error
		queue, err = inspector.GetQueueInfo("sleep")
		return err == nil && queue.Active == 5 && queue.Pending > 5
	}, "queue sleep has active and pending tasks")
	t.Logf("queue sleep: size %d, active %d, pending %d", queue.Size, queue.Active, queue.Pending)
	queues, err := inspector.Queues()
	if err != nil || !slices.Contains(queues, "sleep") {
		t.Errorf("queues %v, %v", queues, err)
	}
	pending, err := inspector.ListPendingTasks("sleep")
	if err != nil || len(pending) == 0 || pending[0].Type != "sleep" || !strings.HasPrefix(pending[0].ID, "seen:") {
		t.Errorf("pending tasks %+v, %v", pending, err)
	}
	servers, err := inspector.Servers()
	// Two of asynq's slots for each of ours: see internal/work.
	if err != nil || len(servers) != 1 || servers[0].PID != worker.pid() || servers[0].Concurrency != 2*5 {
		t.Errorf("servers %+v, %v", servers, err)
	}
	eventually(t, long, func() bool {
		servers, err := inspector.Servers()
		return err == nil && len(servers) == 1 && len(servers[0].ActiveWorkers) > 0 && servers[0].ActiveWorkers[0].Queue == "sleep"
	}, "the server tells what it runs")

	web := startProducer(t, url, "ui", "--addr", "127.0.0.1:0")
	web.logs("web UI on ")
	at := regexp.MustCompile(`web UI on (\S+)`).FindStringSubmatch(web.stderr.String())[1]
	var shown struct {
		Queues []struct{ Queue string }
	}
	if body := get(t, at+"/asynq/api/queues"); json.Unmarshal([]byte(body), &shown) != nil ||
		!slices.ContainsFunc(shown.Queues, func(q struct{ Queue string }) bool { return q.Queue == "sleep" }) {
		t.Errorf("the web UI does not show the queue: %s", body)
	}
	if page := get(t, at); !strings.Contains(page, "<html") {
		t.Errorf("the web UI is no page: %.200s", page)
	}
	allOK(t, p.wait().exits(t, 0).outcomes(t), 50)
}
