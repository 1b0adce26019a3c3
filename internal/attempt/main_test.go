package attempt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/attempt"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/conn/simnet"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// job is a task type whose handler each test brings along: doing holds it by the
// payload's key.
type payload struct {
	Key string `json:"key"`
	N   int64  `json:"n" validate:"gte=0"`
}

type handler func(ctx context.Context, in payload) (string, error)

var doing sync.Map

var job = tasks.Define("test-job", tasks.Policy{Timeout: 10 * time.Second, Backoff: time.Second, Retries: 2, Lane: "jobs"},
	func(ctx context.Context, in payload) (string, error) {
		f, ok := doing.Load(in.Key)
		if !ok {
			return "", tasks.Permanent(fmt.Errorf("nobody handles %q", in.Key))
		}
		return f.(handler)(ctx, in)
	})

// world is a worker on an embedded Redis, in a bubble, with a batch named "b".
type world struct {
	*simnet.Bubble
	*work.Worker
	t      *testing.T
	ctx    context.Context
	c      *redis.Client
	ledger *batch.Ledger
	client *asynq.Client
	key    string

	mu       sync.Mutex
	attempts []attempt.Attempt
	runs     []time.Time
}

var someOptions = batch.Options{
	Type: "test-job", TimeoutMS: 10_000, Retries: 2, BackoffMS: 1000, MaxBackoffMS: 4000, KeepMS: 3_600_000,
}

// inBubble runs a test in a synctest bubble, with a worker whose handler is do.
func inBubble(t *testing.T, o batch.Options, do handler, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := simnet.NewBubble(t)
		w := &world{Bubble: b, t: t, ctx: t.Context(), c: b.Client(t), key: t.Name()}
		doing.Store(w.key, handler(func(ctx context.Context, in payload) (string, error) {
			w.mu.Lock()
			w.runs = append(w.runs, time.Now())
			w.mu.Unlock()
			return do(ctx, in)
		}))
		w.ledger = batch.NewLedger(w.c)
		w.client = asynq.NewClientFromRedisClient(w.c)
		var err error
		w.Worker, err = work.New(w.c, w.c, w.ledger, work.Options{
			Concurrency: 3, ShutdownTimeout: time.Second,
			Observe: func(a attempt.Attempt) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.attempts = append(w.attempts, a)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Stop() })
		w.create("b", o)
		w.until(10*time.Second, "it listens", func() bool {
			return w.PubSubNumSub("weir:end")["weir:end"] == 1 && w.PubSubNumSub(queue.WakeChannel)[queue.WakeChannel] == 1
		})
		f(t, w)
	})
}

func (w *world) create(name string, o batch.Options) {
	w.t.Helper()
	if made, err := w.ledger.Create(w.ctx, name, o); !made || err != nil {
		w.t.Fatal(made, err)
	}
}

// enqueue adds tasks of a batch as a producer does.
func (w *world) enqueue(name string, seqs ...int64) {
	w.t.Helper()
	w.enqueueFor(70*time.Second, name, seqs...)
}

// long enqueues tasks that may take ten minutes.
func (w *world) long(name string, seqs ...int64) {
	w.t.Helper()
	w.enqueueFor(11*time.Minute, name, seqs...)
}

func (w *world) enqueueFor(timeout time.Duration, name string, seqs ...int64) {
	w.t.Helper()
	for _, seq := range seqs {
		w.send(job.Type().Name(), w.payload(seq), map[string]string{batch.Header: strconv.FormatInt(time.Now().UnixMicro(), 10)},
			asynq.TaskID(batch.TaskID(name, seq)), asynq.MaxRetry(1_000_000), asynq.Timeout(timeout))
	}
}

func (w *world) payload(n int64) []byte {
	data, err := json.Marshal(payload{w.key, n})
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

func (w *world) send(typ string, payload []byte, headers map[string]string, o ...asynq.Option) {
	w.t.Helper()
	if _, err := w.client.Enqueue(asynq.NewTaskWithHeaders(typ, payload, headers), append(o, asynq.Queue("jobs"))...); err != nil {
		w.t.Fatal(err)
	}
	if err := queue.Wake(w.ctx, w.c, queue.Normal, "jobs"); err != nil {
		w.t.Fatal(err)
	}
}

// configure sets what the operator wants of a lane, and waits until the worker knows.
func (w *world) configure(lane string, c governor.Config) {
	w.t.Helper()
	if err := governor.Configure(w.ctx, w.c, lane, c); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
}

// run enqueues n tasks of "b", seals it, and waits until it is done.
func (w *world) run(n int64) []*batch.Outcome {
	w.t.Helper()
	for seq := range n {
		w.enqueue("b", seq)
	}
	return w.finish(n)
}

// finish seals "b" with n tasks, and waits until it is done.
func (w *world) finish(n int64) []*batch.Outcome {
	w.t.Helper()
	if err := w.ledger.Checkpoint(w.ctx, "b", 0, n, ""); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.ledger.Seal(w.ctx, "b"); err != nil {
		w.t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < time.Hour; time.Sleep(time.Second) {
		if i, err := w.ledger.Info(w.ctx, "b"); err == nil && i.Phase == batch.Done {
			return w.outcomes()
		}
	}
	w.t.Fatal("the batch is not done in an hour")
	return nil
}

// until lets time pass until f holds.
func (w *world) until(most time.Duration, what string, f func() bool) {
	w.t.Helper()
	for start := time.Now(); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > most {
			w.t.Fatalf("not in %v: %s", most, what)
		}
	}
}

// outcomes are those recorded of "b".
func (w *world) outcomes() (all []*batch.Outcome) {
	w.t.Helper()
	entries, err := w.ledger.Read(w.ctx, "b", batch.Start, 1000, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if e.End {
			continue
		}
		o, err := batch.ParseOutcome(e.Line)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// verdicts are what Observe was told, in order.
func (w *world) verdicts() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, a := range w.attempts {
		all = append(all, strings.TrimSpace(a.Verdict+" "+string(a.Class)))
		if a.Lane != "jobs" || a.Type != "test-job" {
			w.t.Errorf("observed %+v", a)
		}
	}
	return strings.Join(all, ", ")
}

func (w *world) ran() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.runs)
}

// wantNothingLeft wants all of asynq's queue to be empty, permits to be back, and
// nothing in asynq's archive.
func (w *world) wantNothingLeft() {
	w.t.Helper()
	w.until(time.Minute, "all handlers have returned", func() bool { return w.Stat().InFlight == 0 })
	time.Sleep(time.Second)
	info, err := asynq.NewInspectorFromRedisClient(w.c).GetQueueInfo("jobs")
	if err != nil {
		w.t.Fatal(err)
	}
	if info.Size+info.Archived+info.Completed != 0 {
		w.t.Errorf("asynq has still %+v", info)
	}
	if s := w.Stat(); s.InFlight != 0 || s.Stuck != 0 {
		w.t.Errorf("the worker is at %+v", s)
	}
}
