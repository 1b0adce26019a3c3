package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// fixture is asynq on one Redis.
type fixture struct {
	*asynq.Client
	t   *testing.T
	ctx context.Context
	c   redis.UniversalClient
}

// both runs f on an embedded and on a real Redis.
func both(t *testing.T, f func(t *testing.T, q *fixture)) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		f(t, &fixture{asynq.NewClientFromRedisClient(c), t, t.Context(), c})
	})
}

// add enqueues a task by asynq's own client.
func (q *fixture) add(lane, id string, opts ...asynq.Option) {
	q.t.Helper()
	task := asynq.NewTask("t", []byte("{}"))
	if _, err := q.EnqueueContext(q.ctx, task, append(opts, asynq.Queue(lane), asynq.TaskID(id))...); err != nil {
		q.t.Fatalf("enqueue %s: %v", id, err)
	}
}

// take makes the next pending task active, as asynq's dequeue does.
func (q *fixture) take(lane string, lease int64) (id string) {
	q.t.Helper()
	id = q.c.RPopLPush(q.ctx, Pending(lane), Active(lane)).Val()
	q.c.HSet(q.ctx, TaskPrefix(lane)+id, "state", "active")
	if err := q.c.ZAdd(q.ctx, Lease(lane), redis.Z{Score: float64(lease), Member: id}).Err(); err != nil || id == "" {
		q.t.Fatalf("take from %s: %q, %v", lane, id, err)
	}
	return id
}

// retry moves an active task to the retry set, as asynq does.
func (q *fixture) retry(lane, id string) {
	q.t.Helper()
	q.c.LRem(q.ctx, Active(lane), 0, id)
	q.c.ZRem(q.ctx, Lease(lane), id)
	q.c.HSet(q.ctx, TaskPrefix(lane)+id, "state", "retry")
	if err := q.c.ZAdd(q.ctx, Retry(lane), redis.Z{Score: someLease, Member: id}).Err(); err != nil {
		q.t.Fatal(err)
	}
}

// where is all that is in a lane, as asynq's inspector sees it.
func (q *fixture) where(lane string) string {
	q.t.Helper()
	i := asynq.NewInspectorFromRedisClient(q.c)
	var all []string
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		i.ListPendingTasks, i.ListActiveTasks, i.ListScheduledTasks, i.ListRetryTasks, i.ListArchivedTasks,
	} {
		tasks, err := list(lane, asynq.PageSize(1000))
		if err != nil {
			q.t.Fatal(err)
		}
		for _, task := range tasks {
			all = append(all, fmt.Sprintf("%v %s", task.State, task.ID))
		}
	}
	return strings.Join(all, ", ")
}

func (q *fixture) keys(pattern string) []string {
	q.t.Helper()
	keys, err := q.c.Keys(q.ctx, pattern).Result()
	if err != nil {
		q.t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

const (
	hour      = time.Hour
	someLease = 2_000_000_001
)
