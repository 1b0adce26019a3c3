package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// fill puts tasks of three batches, and a plain asynq task, in every state.
func (q *fixture) fill(lane string) {
	q.t.Helper()
	names := []string{"b", "bb", "c"}
	for _, name := range names {
		q.add(lane, name+":1")
		q.take(lane, someLease)
		q.add(lane, name+":2")
		q.retry(lane, q.take(lane, someLease))
	}
	for _, name := range names {
		q.add(lane, name+":3")
		q.add(lane, name+":4")
		q.add(lane, name+":5", asynq.ProcessIn(hour))
	}
	q.add(lane, "7f9a1c62-5e0f-4a53-93c2-6b2cf1f5a0aa")
	q.add(lane, "b") // no task of the batch
}

func TestWithdrawTakesWhatNobodyRuns(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.fill("x")
		q.add("y", "b:100")
		q.add("z", "b:200") // a lane the batch does not know of
		others := func() (s []string) {
			for _, task := range strings.Split(q.where("x"), ", ") {
				if !strings.Contains(task, " b:") {
					s = append(s, task)
				}
			}
			return s
		}
		before := others()
		taken, active, err := Withdraw(q.ctx, q.c, []string{"x", "y", "empty"}, "b", nil)
		if err != nil || taken != 5 || !slices.Equal(active, []string{"b:1"}) {
			t.Errorf("took %d, active %v, %v", taken, active, err)
		}
		if after := others(); !slices.Equal(after, before) {
			t.Errorf("other tasks were %v, are %v", before, after)
		}
		if keys := q.keys("asynq:*:t:b:*"); !slices.Equal(keys, []string{"asynq:{x}:t:b:1", "asynq:{z}:t:b:200"}) {
			t.Errorf("of the batch are left %v", keys)
		}
		taken, active, err = Withdraw(q.ctx, q.c, []string{"x", "y"}, "b", nil)
		if err != nil || taken != 0 || !slices.Equal(active, []string{"b:1"}) {
			t.Errorf("again: took %d, active %v, %v", taken, active, err)
		}
		// Its ID is free: the batch can be gone on with.
		q.add("x", "b:3")
	})
}

func TestWithdrawTakesManyInChunks(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		const n = 2*withdrawChunk + 50
		for seq := range n {
			q.add("x", fmt.Sprint("b:", seq))
			if seq%100 == 0 {
				q.add("x", fmt.Sprint("other:", seq))
			}
		}
		taken, active, err := Withdraw(q.ctx, q.c, []string{"x"}, "b", nil)
		if err != nil || taken != n || len(active) != 0 {
			t.Errorf("took %d, active %v, %v", taken, active, err)
		}
		if got := q.c.LRange(q.ctx, Pending("x"), 0, -1).Val(); len(got) != 5 {
			t.Errorf("left are %v", got)
		}
	})
}

// A task that becomes active while Withdraw looks must be among the active: or the
// caller would take the batch for at rest.
func TestWithdrawMissesNoTaskThatIsTakenMeanwhile(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "b:1")
		q.add("x", "b:2")
		var once bool
		meddling := &meddler{UniversalClient: q.c, before: func() {
			if !once {
				once = true
				q.take("x", someLease)
			}
		}}
		taken, active, err := Withdraw(q.ctx, meddling, []string{"x"}, "b", nil)
		if err != nil || taken != 1 || !slices.Equal(active, []string{"b:1"}) {
			t.Errorf("took %d, active %v, %v; want 1 and b:1", taken, active, err)
		}
	})
}

// A due retry that is forwarded meanwhile is pending when its turn comes.
func TestWithdrawMissesNoTaskThatIsForwardedMeanwhile(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.add("x", "b:1")
		q.retry("x", q.take("x", someLease))
		q.add("x", "b:2")
		var once bool
		meddling := &meddler{UniversalClient: q.c, before: func() {
			if !once {
				once = true
				q.c.ZRem(q.ctx, Retry("x"), "b:1")
				q.c.LPush(q.ctx, Pending("x"), "b:1")
				q.c.HSet(q.ctx, TaskPrefix("x")+"b:1", "state", "pending")
			}
		}}
		taken, active, err := Withdraw(q.ctx, meddling, []string{"x"}, "b", nil)
		if left := q.keys("asynq:*:t:*"); err != nil || taken != 2 || len(active) != 0 || len(left) != 0 {
			t.Errorf("took %d, active %v, left %v, %v", taken, active, left, err)
		}
	})
}

// meddler is a client that lets somebody else in before each script.
type meddler struct {
	redis.UniversalClient
	before func()
}

func (m *meddler) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	m.before()
	return m.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// IDs whose task was deleted by hand are in nobody's way.
func TestWithdrawTakesGhosts(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.fill("x")
		for seq := range 6 {
			q.c.Del(q.ctx, TaskPrefix("x")+fmt.Sprint("b:", seq))
		}
		// And one whose state is nonsense does not keep us for ever.
		q.add("x", "b:9")
		q.c.HSet(q.ctx, TaskPrefix("x")+"b:9", "state", "lost")
		taken, active, err := Withdraw(q.ctx, q.c, []string{"x"}, "b", nil)
		if err != nil || taken != 4 || !slices.Equal(active, []string{"b:1"}) {
			t.Errorf("took %d, active %v, %v", taken, active, err)
		}
	})
}

func TestPlacesFindsEachTaskOnce(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.fill("x")
		q.add("y", "b:100")
		in, err := Places(q.ctx, q.c, []string{"x", "y", "empty"}, "b")
		want := map[int64]Place{1: InActive, 2: InRetry, 3: InPending, 4: InPending, 5: InScheduled, 100: InPending}
		if err != nil || !maps.Equal(in, want) {
			t.Errorf("%v, %v; want %v", in, err, want)
		}
		var tally Tally
		for _, place := range in {
			tally.Add(place)
		}
		if tally != (Tally{Pending: 3, Scheduled: 1, Retry: 1, Active: 1}) || tally.Sum() != 6 {
			t.Errorf("%+v", tally)
		}
	})
}

func TestErrorsOfRedisNameTheBatch(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	c, ctx := server.Client(), t.Context()
	server.Kill()
	_, _, withdraw := Withdraw(ctx, c, []string{"x"}, "my-batch", nil)
	_, places := Places(ctx, c, []string{"x"}, "my-batch")
	_, leases := Leases(ctx, c, "my-batch")
	_, giveback := GiveBack(ctx, c, "x", "my-batch:1", "")
	for _, err := range []error{withdraw, places, leases, giveback, Wake(ctx, c, Normal, "my-batch")} {
		if err == nil {
			t.Error("no error without a Redis")
		}
	}
	for _, err := range []error{withdraw, places, leases, giveback} {
		if err != nil && !strings.Contains(err.Error(), "my-batch") {
			t.Errorf("%v", err)
		}
	}
}

func TestDropGhostsDropsWhatNobodyWouldRun(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		q.fill("x")
		for _, id := range []string{"b:20", "b:21", "b:22"} {
			q.add("x", id)
		}
		q.c.LRem(q.ctx, Pending("x"), 0, "b:20")
		q.c.LRem(q.ctx, Pending("x"), 0, "b:21")
		q.c.HSet(q.ctx, TaskPrefix("x")+"b:21", "state", "archived")
		q.c.ZAdd(q.ctx, Archived("x"), redis.Z{Score: someLease, Member: "b:21"})
		before := q.where("x")
		var ids []string
		for seq := range 300 {
			ids = append(ids, fmt.Sprint("b:", seq))
		}
		if n, err := DropGhosts(q.ctx, q.c, map[string][]string{"x": ids, "y": {"b:20"}}); n != 2 || err != nil {
			t.Errorf("%d dropped, %v", n, err)
		}
		if after := q.where("x"); after != strings.Replace(before, ", archived b:21", "", 1) {
			t.Errorf("there was %s,\nthere is %s", before, after)
		}
		q.add("x", "b:20")
		q.add("x", "b:21")
		if n, err := DropGhosts(q.ctx, q.c, nil); n != 0 || err != nil {
			t.Errorf("of none %d dropped, %v", n, err)
		}
	})
}
