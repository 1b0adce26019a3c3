package queue

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// spread puts a task of a batch, and one of another, into every tenth of n lanes.
func (q *fixture) spread(n int) (lanes []string) {
	q.t.Helper()
	for i := range n {
		lane := fmt.Sprint("host", i)
		lanes = append(lanes, lane)
		if i%10 == 0 {
			q.add(lane, fmt.Sprint("b:", i))
			q.add(lane, fmt.Sprint("other:", i))
		}
	}
	return lanes
}

func TestABatchOfManyLanes(t *testing.T) {
	both(t, func(t *testing.T, q *fixture) {
		const n = 2*atOnce + 10
		lanes := q.spread(n)
		q.take("host0", someLease)
		q.retry("host10", q.take("host10", someLease))
		in, err := Places(q.ctx, q.c, lanes, "b")
		if err != nil || len(in) != n/10 || in[0] != InActive || in[10] != InRetry || in[20] != InPending {
			t.Errorf("%d places, %v, %v", len(in), in, err)
		}
		waiting, err := Waiting(q.ctx, q.c, lanes, Normal)
		if err != nil || len(waiting) != n || waiting[0] != 1 || waiting[10] != 2 || waiting[11] != 0 || waiting[n-10] != 2 {
			t.Errorf("waiting %v, %v", waiting, err)
		}
		busy, err := Busy(q.ctx, q.c, lanes)
		if err != nil || len(busy) != n/10 || busy[1] != "host10" {
			t.Errorf("busy %v, %v", busy, err)
		}
		q.c.LPush(q.ctx, Quarantine("host1"), "x", "y")
		q.c.LPush(q.ctx, Quarantine(lanes[n-1]), "z")
		if aside, err := CountSetAside(q.ctx, q.c, lanes); aside != 3 || err != nil {
			t.Errorf("%d set aside, %v", aside, err)
		}
		taken, active, err := Withdraw(q.ctx, q.c, lanes, "b", nil)
		if err != nil || taken != n/10-1 || !slices.Equal(active, []string{"b:0"}) {
			t.Errorf("took %d, active %v, %v", taken, active, err)
		}
		if keys := q.keys("asynq:*:t:other:*"); len(keys) != n/10 {
			t.Errorf("of the other batch are left %d", len(keys))
		}
	})
}

func TestTheFirstErrorEndsEachBusy(t *testing.T) {
	t.Parallel()
	q := &fixture{Client: nil, t: t, ctx: t.Context(), c: conntest.Mini(t)}
	for i := range 100 {
		q.c.LPush(q.ctx, Pending(fmt.Sprint(i)), "x")
	}
	var lanes []string
	for i := range 100 {
		lanes = append(lanes, fmt.Sprint(i))
	}
	mine := errors.New("mine")
	calls := make(chan string, 100)
	err := EachBusy(q.ctx, q.c, lanes, func(lane string) error { calls <- lane; return mine })
	if !errors.Is(err, mine) || len(calls) > abreast {
		t.Errorf("%v after %d calls", err, len(calls))
	}
	if err := EachBusy(q.ctx, q.c, nil, func(string) error { return mine }); err != nil {
		t.Errorf("of none: %v", err)
	}
}

// 10,000 hosts, of which a window's worth has tasks.
func TestTenThousandLanesTakeLittleTime(t *testing.T) {
	t.Parallel()
	c := conntest.Server(t).Client()
	var lanes []string
	pipe := c.Pipeline()
	for i := range 10_000 {
		lanes = append(lanes, fmt.Sprint("host", i))
		if i%10 == 0 {
			id := fmt.Sprint("b:", i)
			pipe.LPush(t.Context(), Pending(lanes[i]), id)
			pipe.HSet(t.Context(), TaskPrefix(lanes[i])+id, "state", "pending")
		}
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func(c redis.UniversalClient) (int, error)
	}{
		{"places", func(c redis.UniversalClient) (int, error) {
			in, err := Places(t.Context(), c, lanes, "b")
			return len(in), err
		}},
		{"set aside", func(c redis.UniversalClient) (int, error) {
			n, err := CountSetAside(t.Context(), c, lanes)
			return int(n) + 1000, err
		}},
		{"withdraw", func(c redis.UniversalClient) (int, error) {
			n, _, err := Withdraw(t.Context(), c, lanes, "b", nil)
			return int(n), err
		}},
	} {
		began := time.Now()
		n, err := step.do(c)
		took := time.Since(began)
		t.Logf("%s: %v", step.name, took)
		if n != 1000 || err != nil || took > 10*time.Second {
			t.Errorf("%s: %d in %v, %v", step.name, n, took, err)
		}
	}
}
