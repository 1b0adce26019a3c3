package work

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/conn/simnet"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/tasks"
)

func TestMain(m *testing.M) { conntest.Main(m) }

type payload struct {
	Test string `json:"test"`
	N    int64  `json:"n"`
}

// handlers are what tests do in the tasks they name.
var handlers sync.Map // test -> func(context.Context, payload) (int64, error)

func handle(ctx context.Context, in payload) (int64, error) {
	f, ok := handlers.Load(in.Test)
	if !ok {
		return 0, tasks.Permanent(fmt.Errorf("no handler for %q", in.Test))
	}
	return f.(func(context.Context, payload) (int64, error))(ctx, in)
}

var (
	job    = tasks.Define("work-job", tasks.Policy{Backoff: time.Millisecond}, handle)
	narrow = tasks.Define("work-narrow", tasks.Policy{Backoff: time.Millisecond, Concurrency: 2}, handle)
)

var someOptions = batch.Options{Type: "work-job", TimeoutMS: 60_000, Retries: 3, BackoffMS: 1, MaxBackoffMS: 10, KeepMS: 3_600_000}

// fixture makes batches by hand, with the ledger and asynq's client.
type fixture struct {
	t      *testing.T
	ctx    context.Context
	c      redis.UniversalClient
	ledger *batch.Ledger
	client *asynq.Client
	look   time.Duration // how often it looks whether a batch is done
}

func newFixture(t *testing.T, c redis.UniversalClient, do func(context.Context, payload) (int64, error)) *fixture {
	handlers.Store(t.Name(), do)
	return &fixture{t, t.Context(), c, batch.NewLedger(c), asynq.NewClientFromRedisClient(c), 10 * time.Millisecond}
}

// worker starts a worker, which stops with the test.
func (f *fixture) worker(o Options) *Worker {
	f.t.Helper()
	w, err := New(f.c, f.c, f.ledger, o)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { w.Stop() })
	return w
}

// batch makes a batch of n tasks, its lanes in turns, and seals it.
func (f *fixture) batch(name string, typ *tasks.Type, n int64, lanes ...string) {
	f.t.Helper()
	f.batchOf(name, someOptions, typ, n, lanes...)
}

func (f *fixture) batchOf(name string, o batch.Options, typ *tasks.Type, n int64, lanes ...string) {
	f.t.Helper()
	if made, err := f.ledger.Create(f.ctx, name, o); !made || err != nil {
		f.t.Fatal(made, err)
	}
	for seq := range n {
		data, _ := json.Marshal(payload{f.t.Name(), seq})
		task := asynq.NewTaskWithHeaders(typ.Name(), data, map[string]string{batch.Header: strconv.FormatInt(time.Now().UnixMicro(), 10)})
		_, err := f.client.Enqueue(task, asynq.TaskID(batch.TaskID(name, seq)), asynq.Queue(lanes[int(seq)%len(lanes)]),
			asynq.MaxRetry(1_000_000), asynq.Timeout(2*time.Minute))
		if err != nil {
			f.t.Fatal(err)
		}
	}
	if err := f.ledger.Checkpoint(f.ctx, name, 0, n, ""); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.ledger.Seal(f.ctx, name); err != nil {
		f.t.Fatal(err)
	}
	if err := queue.Wake(f.ctx, f.c, queue.Normal, lanes...); err != nil {
		f.t.Fatal(err)
	}
}

// done waits until a batch is done and returns its outcomes.
func (f *fixture) done(name string) (all []*batch.Outcome) {
	f.t.Helper()
	for start := time.Now(); ; time.Sleep(f.look) {
		if i, err := f.ledger.Info(f.ctx, name); err == nil && i.Phase == batch.Done {
			break
		}
		if time.Since(start) > time.Minute {
			f.t.Fatalf("batch %q is not done in a minute", name)
		}
	}
	entries, err := f.ledger.Read(f.ctx, name, batch.Start, 100_000, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		if e.End {
			continue
		}
		o, err := batch.ParseOutcome(e.Line)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// inBubble runs f in a synctest bubble: a goroutine left behind at its end fails it.
func inBubble(t *testing.T, do func(context.Context, payload) (int64, error), f func(t *testing.T, b *simnet.Bubble, w *fixture)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := simnet.NewBubble(t)
		fixture := newFixture(t, b.Client(t), do)
		fixture.look = 500 * time.Millisecond // fake time costs real calls
		f(t, b, fixture)
	})
}
