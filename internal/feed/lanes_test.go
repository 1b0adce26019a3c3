package feed

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/simnet"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/source"
)

// Lanes are introduced once, again after a while, and again when the task came long after:
// idle ones are removed meanwhile.
func TestLanesAreIntroducedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := simnet.NewBubble(t).Client(t)
		b := newBench(t, c)
		f := b.feeder(numbered(0), 10)
		f.found = &batch.Info{} // as Run would find it
		introduced, frozen := 0, time.Duration(0)
		f.opts.Introduce = func(context.Context, ...string) error {
			introduced++
			time.Sleep(frozen)
			frozen = 0
			return nil
		}
		enqueue := func(want int) {
			t.Helper()
			f.next++
			record := source.Record{Payload: []byte(`{"n":1}`)}
			if err := f.enqueue(t.Context(), []task{{seq: f.next, lane: "a", Record: record}}); err != nil {
				t.Fatal(err)
			}
			if introduced != want {
				t.Errorf("introduced %d times, want %d", introduced, want)
			}
		}
		enqueue(1)
		enqueue(1)
		c.SRem(t.Context(), queue.All, "a")
		time.Sleep(2 * stale)
		enqueue(2)
		if !c.SIsMember(t.Context(), queue.All, "a").Val() {
			t.Error("asynq does not know the lane")
		}
		time.Sleep(2 * stale)
		frozen = 2 * stale
		enqueue(4)
	})
}
