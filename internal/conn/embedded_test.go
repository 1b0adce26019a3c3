package conn_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestEmbeddedExpiresKeysInTime(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := conntest.Mini(t)
	start := time.Now()
	c.Set(ctx, "weir:lease", "x", 300*time.Millisecond)
	c.HSet(ctx, "weir:h", "f", 1)
	c.PExpireAt(ctx, "weir:h", start.Add(300*time.Millisecond))
	for _, key := range []string{"weir:lease", "weir:h"} {
		conntest.Eventually(t, 10*time.Second, key+" expires", func(ctx context.Context) bool {
			return c.Exists(ctx, key).Val() == 0
		})
		if d := time.Since(start); d < 250*time.Millisecond {
			t.Errorf("%s lived %v", key, d)
		}
	}
}

func TestEmbeddedCloses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	e, err := conn.StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	mine, other := e.Client(), e.Client()
	for _, c := range []redis.UniversalClient{mine, other, works(t, e.URL())} {
		if err := c.Ping(ctx).Err(); err != nil {
			t.Fatal(err)
		}
	}
	_ = mine.Close() // the others do not mind
	if err := other.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error, 1)
	go func() { blocked <- other.BLPop(ctx, time.Minute, "weir:never").Err() }()
	for range 3 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-blocked; err == nil {
		t.Error("a blocking read outlived the server")
	}
	if err := other.Ping(ctx).Err(); err == nil {
		t.Error("answers after Close")
	}
}

// A pipe without a buffer would deadlock here.
func TestEmbeddedTakesLongPipelines(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := conntest.Mini(t)
	const n = 20_000
	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range n {
			p.RPush(ctx, "weir:l", fmt.Sprintf("a payload of some length, number %d", i))
		}
		return nil
	})
	if err != nil || len(cmds) != n || c.LLen(ctx, "weir:l").Val() != n {
		t.Errorf("%d commands, %v", len(cmds), err)
	}
}

// asynq, go-redis and both servers agree on the protocol that Open asks for.
func TestAsynqRunsOnIt(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		done := make(chan string, 10)
		srv := asynq.NewServerFromRedisClient(c, asynq.Config{
			Concurrency: 2, TaskCheckInterval: 20 * time.Millisecond, LogLevel: asynq.FatalLevel,
			ShutdownTimeout: time.Second,
		})
		err := srv.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
			done <- string(task.Payload())
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Shutdown()
		cl := asynq.NewClientFromRedisClient(c)
		for i := range 3 {
			task := asynq.NewTask("t", fmt.Appendf(nil, "%d", i))
			if _, err := cl.Enqueue(task, asynq.Retention(time.Hour), asynq.Unique(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := cl.Enqueue(asynq.NewTask("t", []byte("later")), asynq.ProcessIn(time.Hour)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("tasks were not run")
			}
		}
		conntest.Eventually(t, 5*time.Second, "asynq counts them", func(context.Context) bool {
			info, err := asynq.NewInspectorFromRedisClient(c).GetQueueInfo("default")
			return err == nil && info.Completed == 3 && info.Scheduled == 1
		})
	})
}
