package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/conn/simnet"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
)

func TestMain(m *testing.M) {
	var err error
	if dequeueSrc, forwardSrc, asynqDoneSrc, err = scriptsOfAsynq(); err != nil {
		panic(err)
	}
	conntest.Main(m)
}

// asynq's own scripts, as its server sent them.
var dequeueSrc, forwardSrc, asynqDoneSrc string

var errEnough = errors.New("enough")

func scriptsOfAsynq() (dequeue, forward, done string, err error) {
	e, err := conn.StartEmbedded()
	if err != nil {
		return "", "", "", err
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	seen := make(chan func(), 100)
	r := &recorder{UniversalClient: e.Client(), eval: func(src string, keys []string, args []any) {
		if _, ok := endingOf(keys, args); ok {
			seen <- func() { done = src }
		} else if isDequeue(keys) {
			seen <- func() { dequeue = src }
		} else if _, ok := isForward(keys); ok {
			seen <- func() { forward = src }
		}
	}}
	s := asynq.NewServerFromRedisClient(r, asynq.Config{
		Concurrency: 1, Queues: map[string]int{"q": 1}, LogLevel: asynq.FatalLevel, DelayedTaskCheckInterval: time.Millisecond,
	})
	if err := s.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
		return "", "", "", err
	}
	defer s.Shutdown()
	if _, err := asynq.NewClientFromRedisClient(e.Client()).Enqueue(asynq.NewTask("t", nil), asynq.Queue("q")); err != nil {
		return "", "", "", err
	}
	for dequeue == "" || forward == "" || done == "" {
		select {
		case note := <-seen:
			note()
		case <-ctx.Done():
			return "", "", "", errors.New("asynq's server makes no call that the gate recognises: its shape has changed")
		}
	}
	return dequeue, forward, done, nil
}

// recorder is a client that tells of the scripts that go through it.
type recorder struct {
	redis.UniversalClient
	eval    func(src string, keys []string, args []any)
	evalSha func(sha string, keys []string, args []any)
}

func (r *recorder) Eval(ctx context.Context, src string, keys []string, args ...any) *redis.Cmd {
	if r.eval != nil {
		r.eval(src, keys, args)
	}
	return r.UniversalClient.Eval(ctx, src, keys, args...)
}

func (r *recorder) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if r.evalSha != nil {
		r.evalSha(sha, keys, args)
	}
	return r.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// fixture is a gate on an embedded Redis, in a bubble.
type fixture struct {
	*simnet.Bubble
	*Gate
	t      *testing.T
	c      *redis.Client
	lanes  *lane.Set
	client *asynq.Client
}

// inBubble runs f in a synctest bubble with a gate of some slots.
func inBubble(t *testing.T, slots int, o Options, f func(t *testing.T, g *fixture)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := simnet.NewBubble(t)
		c := b.Client(t)
		lanes := lane.NewSet("w", slots)
		gate := New(c, c, lanes, o)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_ = gate.Stop(ctx)
			gate.workers.Wait()
		})
		f(t, &fixture{b, gate, t, c, lanes, asynq.NewClientFromRedisClient(c)})
	})
}

// add enqueues tasks by asynq's client.
func (g *fixture) add(lane string, ids ...string) {
	g.t.Helper()
	for _, id := range ids {
		if _, err := g.client.Enqueue(asynq.NewTask("t", []byte("{}")), asynq.Queue(lane), asynq.TaskID(id)); err != nil {
			g.t.Fatalf("enqueue %s: %v", id, err)
		}
	}
}

// dequeue asks for a task as asynq does.
func (g *fixture) dequeue() (id string, err error) {
	keys := []string{queue.Pending(Placeholder), queue.Paused(Placeholder), queue.Active(Placeholder), queue.Lease(Placeholder)}
	script := redis.NewScript(dequeueSrc)
	msg, err := script.Run(context.Background(), g.Gate, keys, time.Now().Add(30*time.Second).Unix(), queue.TaskPrefix(Placeholder)).Text()
	if err != nil {
		return "", err
	}
	m, err := queue.Decode(msg)
	if err != nil {
		g.t.Errorf("dequeued %q", msg)
	}
	return m.ID, nil
}

// want wants the next dequeue to give a task.
func (g *fixture) want(id string) {
	g.t.Helper()
	if got, err := g.dequeue(); got != id || err != nil {
		g.t.Fatalf("dequeued %q, %v; want %q", got, err, id)
	}
}

// wantNone wants the next dequeue to give nothing.
func (g *fixture) wantNone() {
	g.t.Helper()
	if got, err := g.dequeue(); err != redis.Nil {
		g.t.Fatalf("dequeued %q, %v; want nothing", got, err)
	}
}

// serve runs an asynq.Server on the gate until the test ends.
func (g *fixture) serve(concurrency int, h asynq.HandlerFunc) *asynq.Server {
	g.t.Helper()
	s := asynq.NewServerFromRedisClient(g.Gate, asynq.Config{
		Concurrency: concurrency, Queues: map[string]int{Placeholder: 1}, LogLevel: asynq.FatalLevel, ShutdownTimeout: time.Second,
		TaskCheckInterval: 2 * time.Millisecond, DelayedTaskCheckInterval: 500 * time.Millisecond,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 20 * time.Second },
	})
	g.Start()
	if err := s.Start(h); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(s.Shutdown)
	return s
}

// claimed claims the permit of a task that has reached its handler.
func (g *fixture) claimed(ctx context.Context) (id, lane string, p *Permit) {
	id, _ = asynq.GetTaskID(ctx)
	lane, _ = asynq.GetQueueName(ctx)
	return id, lane, g.Claim(lane, id)
}

func (g *fixture) list(key string) []string {
	g.t.Helper()
	ids, err := g.c.LRange(context.Background(), key, 0, -1).Result()
	if err != nil {
		g.t.Fatal(err)
	}
	slices.Reverse(ids) // the next one first
	return ids
}

func (g *fixture) wantList(key string, want ...string) {
	g.t.Helper()
	if got := g.list(key); !slices.Equal(got, want) {
		g.t.Errorf("%s is %v, want %v", key, got, want)
	}
}

// wantInFlight allows for the moment in which a take has its permits out.
func (g *fixture) wantInFlight(want int) {
	g.t.Helper()
	got := g.lanes.InFlight()
	for range 20 {
		if got == want {
			return
		}
		time.Sleep(100 * time.Millisecond)
		got = g.lanes.InFlight()
	}
	g.t.Errorf("%d permits are out, want %d", got, want)
}

// calls counts the commands that a Redis is sent while d passes.
func (g *fixture) calls(d time.Duration) int {
	before := g.CommandCount()
	time.Sleep(d)
	return g.CommandCount() - before
}

// log collects what handlers did.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprint(v...))
}

func (l *log) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func numbered(prefix string, n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprint(prefix, i))
	}
	return ids
}
