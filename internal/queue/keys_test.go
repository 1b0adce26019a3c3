package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Every key that asynq makes for these, and no other, is one whose name we know.
func TestKeysAreAsynqs(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		const lane = "my-lane_1"
		seen := func(what string, want ...string) {
			t.Helper()
			keys := q.keys("asynq:*")
			slices.Sort(want)
			if !slices.Equal(keys, want) {
				t.Errorf("%s made\n%v, want\n%v", what, keys, want)
			}
			q.c.FlushDB(q.ctx)
			// asynq remembers that it has published the queue.
			q.Client = asynq.NewClientFromRedisClient(q.c)
		}
		q.add(lane, "b:1")
		seen("enqueue", All, Pending(lane), TaskPrefix(lane)+"b:1")
		q.add(lane, "b:1", asynq.ProcessIn(hour))
		seen("schedule", All, Scheduled(lane), TaskPrefix(lane)+"b:1")
		q.add(lane, "b:1", asynq.Group("g"))
		seen("group", All, GroupPrefix(lane)+"g", "asynq:{"+lane+"}:groups", TaskPrefix(lane)+"b:1")
		if err := asynq.NewInspectorFromRedisClient(q.c).PauseQueue(lane); err != nil {
			t.Fatal(err)
		}
		seen("pause", Paused(lane))
	})
}

// A real asynq.Server moves tasks through the states; each is where we look for it.
func TestStatesOfARunningServer(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		const lane = "l"
		running, finish := make(chan struct{}), make(chan struct{})
		server := asynq.NewServerFromRedisClient(q.c, asynq.Config{
			Concurrency: 1, Queues: map[string]int{lane: 1}, LogLevel: asynq.FatalLevel,
			RetryDelayFunc:    func(int, error, *asynq.Task) time.Duration { return hour },
			TaskCheckInterval: 5 * time.Millisecond,
		})
		err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			close(running)
			<-finish
			return errors.New("once more")
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Shutdown()
		q.add(lane, "b:1")
		<-running
		if ids := q.c.LRange(q.ctx, Active(lane), 0, -1).Val(); strings.Join(ids, " ") != "b:1" {
			t.Errorf("active are %v", ids)
		}
		leases, err := Leases(q.ctx, q.c, lane)
		if err != nil || len(leases) != 1 || len(leases["b:1"]) != 10 {
			t.Errorf("leases %v, %v; want one that ends in seconds since 1970", leases, err)
		}
		if state := q.c.HGet(q.ctx, TaskPrefix(lane)+"b:1", "state").Val(); state != "active" {
			t.Errorf("its state is %q", state)
		}
		close(finish)
		conntest.Eventually(t, 10*time.Second, "it is in the retry set", func(ctx context.Context) bool {
			return q.c.ZScore(ctx, Retry(lane), "b:1").Val() > 0
		})
		if leases, err := Leases(q.ctx, q.c, lane); err != nil || len(leases) != 0 {
			t.Errorf("leases %v, %v", leases, err)
		}
	})
}

func TestWakeTellsEveryLane(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		sub := q.c.Subscribe(q.ctx, WakeChannel)
		defer sub.Close()
		if _, err := sub.Receive(q.ctx); err != nil {
			t.Fatal(err)
		}
		if err := Wake(q.ctx, q.c, Normal, "a", "b"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"a", "b"} {
			if m, err := sub.ReceiveMessage(q.ctx); err != nil || m.Payload != want {
				t.Fatalf("heard %v, %v", m, err)
			}
		}
		if err := Wake(q.ctx, q.c, Normal); err != nil {
			t.Errorf("waking nobody: %v", err)
		}
	})
}
