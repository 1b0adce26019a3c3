package feed

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// prior is a feeder of a batch with a priority.
func (b *bench) prior(p queue.Priority, src *lines, window int64) *Feeder {
	f := b.feeder(src, window)
	o := f.opts
	o.Priority = p
	return New(b.rdb, b.ledger, src, o)
}

// waiting are the IDs in the list of a priority, the next one first.
func (b *bench) waiting(p queue.Priority) []string {
	b.t.Helper()
	ids := b.rdb.LRange(b.t.Context(), p.List(lane), 0, -1).Val()
	slices.Reverse(ids)
	return ids
}

func TestABatchIsEnqueuedByItsPriority(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		sub := b.rdb.Subscribe(t.Context(), queue.WakeChannel)
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.prior(queue.High, numbered(5), 100).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.waiting(queue.High); !slices.Equal(got, ids(0, 5)) {
			t.Errorf("of high priority wait %v", got)
		}
		b.wantPending()
		if m, err := sub.ReceiveMessage(t.Context()); err != nil || m.Payload != lane+":high" {
			t.Errorf("heard %v, %v", m, err)
		}
		// What is lost is enqueued again by the same command, in its list.
		b.rdb.LRem(t.Context(), queue.High.List(lane), 0, "b:3")
		if err := b.prior(queue.High, numbered(5), 100).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.waiting(queue.High); len(got) != 5 || got[4] != "b:3" {
			t.Errorf("of high priority wait %v", got)
		}
	})
}

func TestPauseResumeAndCancelOfABatchWithAPriority(t *testing.T) {
	for _, p := range queue.Priorities {
		t.Run(p.String(), func(t *testing.T) {
			both(t, func(t *testing.T, b *bench) {
				ctx := t.Context()
				if err := b.prior(p, numbered(6), 100).Run(ctx); err != nil {
					t.Fatal(err)
				}
				if err := Pause(ctx, b.rdb, b.ledger, "b"); err != nil || len(b.waiting(p)) != 0 {
					t.Errorf("paused: %v wait, %v", b.waiting(p), err)
				}
				if err := Unpause(ctx, b.rdb, b.ledger, "b"); err != nil || !slices.Equal(b.waiting(p), ids(0, 6)) {
					t.Errorf("resumed: %v wait, %v", b.waiting(p), err)
				}
				b.rdb.RPush(ctx, p.List(lane), "other:1")
				if err := Cancel(ctx, b.rdb, b.ledger, "b"); err != nil || !slices.Equal(b.waiting(p), []string{"other:1"}) {
					t.Errorf("cancelled: %v wait, %v", b.waiting(p), err)
				}
				if i := b.info(); i.Cancelled != 6 || i.Phase != batch.GivenUp {
					t.Errorf("cancelled: %+v", i)
				}
			})
		})
	}
}

// An urgent batch is not held back by what waits in its lanes behind it.
func TestAFullLaneHoldsNoUrgentBatchBack(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		const n = 300
		src := &lines{end: io.EOF}
		for i := range n {
			src.records = append(src.records, fmt.Sprintf(`{"lane":"host","n":%d}`, i))
			b.rdb.LPush(t.Context(), queue.Pending("host"), fmt.Sprint("other:", i))
		}
		f := b.prior(queue.High, src, 400)
		o := f.opts
		o.Lane, o.LaneOf = "", func([]byte) (string, error) { return "host", nil }
		start(t, New(b.rdb, b.ledger, src, o))
		deadline := time.Now().Add(time.Minute)
		for served := 0; served < n; {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d were enqueued", served, n)
			}
			done, err := b.rdb.RPop(t.Context(), queue.High.List("host")).Result()
			if err == redis.Nil {
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := batch.TaskID("b", int64(served)); done != want {
				t.Fatalf("served %s, want %s", done, want)
			}
			b.finish(int64(served))
			served++
		}
		if left := b.rdb.LLen(t.Context(), queue.Pending("host")).Val(); left != n {
			t.Errorf("%d of the others are left", left)
		}
	})
}
