package gate

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

// The gate knows asynq's calls by their keys. Should asynq change them, this fails,
// rather than that workers find no work.
func TestAsynqsCallsHaveTheShapeWeKnow(t *testing.T) {
	t.Parallel()
	type call struct {
		dequeue, done bool
		forward       string
	}
	var mu sync.Mutex
	seen := make(map[string]map[call]bool) // by script
	r := &recorder{UniversalClient: conntest.Mini(t), evalSha: func(sha string, keys []string, args []any) {
		mu.Lock()
		defer mu.Unlock()
		if seen[sha] == nil {
			seen[sha] = make(map[call]bool)
		}
		kind, _ := isForward(keys)
		_, done := endingOf(keys, args)
		seen[sha][call{isDequeue(keys), done, kind}] = true
	}}
	s := asynq.NewServerFromRedisClient(r, asynq.Config{
		Concurrency: 4, Queues: map[string]int{"q": 1}, LogLevel: asynq.FatalLevel, ShutdownTimeout: 10 * time.Millisecond,
		TaskCheckInterval: 2 * time.Millisecond, DelayedTaskCheckInterval: 10 * time.Millisecond,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 },
	})
	stuck := make(chan struct{})
	err := s.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		switch task.Type() {
		case "stuck":
			close(stuck)
			<-ctx.Done() // requeued by Shutdown
		case "fail":
			return errEnough
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	c := asynq.NewClientFromRedisClient(r)
	for _, o := range [][]asynq.Option{
		{asynq.TaskID("ok")}, {asynq.TaskID("kept"), asynq.Retention(time.Hour)}, {asynq.TaskID("late"), asynq.ProcessIn(time.Millisecond)},
		{asynq.TaskID("unique"), asynq.Unique(time.Hour)}, {asynq.TaskID("fail"), asynq.MaxRetry(1)}, {asynq.TaskID("stuck")},
	} {
		typ, _ := o[0].Value().(string)
		if _, err := c.Enqueue(asynq.NewTask(typ, nil), append(o, asynq.Queue("q"))...); err != nil {
			t.Fatal(err)
		}
	}
	<-stuck
	inspector := asynq.NewInspectorFromRedisClient(r)
	conntest.Eventually(t, 20*time.Second, "every state has been passed through", func(context.Context) bool {
		info, err := inspector.GetQueueInfo("q")
		return err == nil && info.Archived == 1 && info.Completed == 1 && info.Active == 1 && info.Pending+info.Retry+info.Scheduled == 0
	})
	s.Shutdown()

	count := make(map[call]int)
	for sha, calls := range seen {
		if len(calls) != 1 && !(len(calls) == 2 && calls[call{forward: "retry"}] && calls[call{forward: "scheduled"}]) {
			t.Errorf("script %s is called in several ways: %v", sha, calls)
		}
		for c := range calls {
			count[c]++
		}
	}
	if count[call{dequeue: true}] != 1 || count[call{done: true}] != 1 || count[call{forward: "retry"}] != 1 || count[call{forward: "scheduled"}] != 1 {
		t.Errorf("recognised %v; want one script that dequeues, one that forwards, one that closes", count)
	}
	if others := count[call{}]; others < 6 {
		t.Errorf("saw %d other scripts: complete, done of a unique one, retry, archive, requeue, enqueue are some", others)
	}
}

// Nothing of the placeholder queue's own work reaches Redis.
func TestThePlaceholderIsNeverAsked(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		var mu sync.Mutex
		var asked []string
		g.c.AddHook(eachCommand{func(args []any) {
			mu.Lock()
			defer mu.Unlock()
			for _, a := range args {
				if key, ok := a.(string); ok && (strings.Contains(key, "}:pending") || strings.Contains(key, "}:retry") || strings.Contains(key, "}:scheduled")) {
					asked = append(asked, key)
				}
			}
		}})
		g.serve(2, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			p.Release()
			return nil
		})
		g.add("a", "1")
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		for _, key := range asked {
			if strings.Contains(key, Placeholder) {
				t.Fatalf("Redis was asked about %s", key)
			}
		}
		if len(asked) == 0 {
			t.Error("saw nothing of lane a either")
		}
	})
}

func TestShapesThatAreOthers(t *testing.T) {
	t.Parallel()
	dequeue := []string{queue.Pending("q"), queue.Paused("q"), queue.Active("q"), queue.Lease("q")}
	if !isDequeue(dequeue) {
		t.Error("a dequeue is not recognised")
	}
	for i := range dequeue {
		other := append([]string(nil), dequeue...)
		other[i] = queue.Retry("q")
		if isDequeue(other) {
			t.Errorf("%v is taken for a dequeue", other)
		}
		other[i] = queue.Pending("other")
		if isDequeue(other) {
			t.Errorf("%v is taken for a dequeue", other)
		}
	}
	for _, keys := range [][]string{
		nil, dequeue[:3], append(dequeue[:4:4], "x"), {"weir:{q}:pending", "", "", ""},
	} {
		if isDequeue(keys) {
			t.Errorf("%v is taken for a dequeue", keys)
		}
	}
	for _, keys := range [][]string{
		nil, {queue.Retry("q")}, {queue.Retry("q"), queue.Pending("p")}, {queue.Pending("q"), queue.Retry("q")},
		{queue.Active("q"), queue.Pending("q")}, {queue.TaskPrefix("q") + "1", queue.Pending("q")},
	} {
		if kind, ok := isForward(keys); ok {
			t.Errorf("%v is taken for forwarding of %q", keys, kind)
		}
	}
	for _, kind := range []string{"retry", "scheduled"} {
		if got, ok := isForward([]string{delayedKey("q", kind), queue.Pending("q")}); !ok || got != kind {
			t.Errorf("forwarding of %q is taken for %q", kind, got)
		}
	}
}
