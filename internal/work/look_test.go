package work

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// What each worker runs and since when, and by how much its clock is off, whatever the
// clock of who looks says.
func TestLookSeesWorkersAndTheirClocks(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		f := newFixture(t, c, func(ctx context.Context, in payload) (int64, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		const ahead = 5 * time.Second
		f.worker(Options{Concurrency: 3, Now: func() time.Time { return time.Now().Add(ahead) }})
		f.batch("b", job.Type(), 2, "jobs")
		var s *Seen
		conntest.Eventually(t, 20*time.Second, "the heartbeat tells of both tasks", func(ctx context.Context) bool {
			all, err := Look(ctx, c)
			if err != nil || len(all) != 1 {
				return false
			}
			s = all[0]
			return len(s.Tasks) == 2 && s.Skew != 0
		})
		if s.Name() != Name() || !s.Ours || s.Slots != 3 || s.Stopping || time.Since(s.Started) > time.Minute {
			t.Errorf("%+v", s)
		}
		if (s.Skew-ahead).Abs() > time.Second || s.Ago < 0 || s.Ago > heartbeatKept {
			t.Errorf("its clock is %v ahead: skew %v, heard %v ago", ahead, s.Skew, s.Ago)
		}
		if r := s.Tasks[0]; !strings.HasPrefix(r.ID, "b:") || r.Lane != "jobs" || r.Type != "work-job" || r.For > time.Minute {
			t.Errorf("%+v", r)
		}

		// As if its clock were an hour behind: asynq's own list would take it for dead, and forget it.
		const hour = 3600
		key := c.ZRange(t.Context(), serversKey, 0, 0).Val()[0]
		c.ZIncrBy(t.Context(), serversKey, -hour, key)
		all, err := Look(t.Context(), c)
		if err != nil || len(all) != 1 {
			t.Errorf("an hour behind: %+v, %v", all, err)
		}
		if all, err := Cluster(t.Context(), c); err != nil || all.Workers != 1 || all.Slots != 3 {
			t.Errorf("an hour behind, the cluster is %+v, %v", all, err)
		}
		c.ZAdd(t.Context(), serversKey, redis.Z{Score: 1e10, Member: "asynq:servers:{gone:1:x}"})
		if all, err := Look(t.Context(), c); err != nil || len(all) != 1 {
			t.Errorf("one that is gone: %+v, %v", all, err)
		}
	})
}

// Of two workers of one process each has its own stuck handlers, and its own clock.
func TestLookTellsWorkersOfOneProcessApart(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		release := make(chan struct{})
		defer close(release)
		f := newFixture(t, c, func(context.Context, payload) (int64, error) { <-release; return 0, nil })
		const ahead = 5 * time.Second
		f.worker(Options{Concurrency: 4, ShutdownTimeout: time.Millisecond})
		f.worker(Options{Concurrency: 3, ShutdownTimeout: time.Millisecond, Lanes: []string{"b"}, Now: func() time.Time { return time.Now().Add(ahead) }})
		short := someOptions
		short.TimeoutMS, short.Retries = 50, 0
		f.batchOf("one", short, job.Type(), 2, "a")
		var all []*Seen
		stuck := func(ctx context.Context) bool {
			var err error
			if all, err = Look(ctx, c); err != nil || len(all) != 2 {
				return false
			}
			if all[0].Slots == 3 {
				all[0], all[1] = all[1], all[0]
			}
			return all[0].Stuck == 2 && all[1].Version == all[0].Version && all[1].Skew > ahead/2
		}
		conntest.Eventually(t, 20*time.Second, "one has two stuck handlers, the other has a clock that is ahead", stuck)
		if all[1].Stuck != 0 || all[0].Skew.Abs() > ahead/2 {
			t.Errorf("%+v, %+v", all[0], all[1])
		}
	})
}

// Payloads of tasks that run are read by who shows tasks, and by nobody else.
func TestCountingWorkersReadsNoPayloads(t *testing.T) {
	rdb := conntest.Server(t).Client()
	rdb.ZAdd(t.Context(), serversKey, redis.Z{Score: 1e10, Member: "asynq:servers:{host:1:x}"})
	rdb.HSet(t.Context(), "asynq:workers:{host:1:x}", "id", "payload")
	read := func() bool {
		text, err := rdb.Info(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(text, "cmdstat_hvals")
	}
	if _, err := Cluster(t.Context(), rdb); err != nil || read() {
		t.Errorf("counting reads them: %v", err)
	}
	if _, err := Look(t.Context(), rdb); err != nil || !read() {
		t.Errorf("looking does not: %v", err)
	}
}
