package gate

import (
	"context"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/queue"
)

// A lane that was removed as idle while a task was enqueued in it is in asynq's list again,
// once the gate has seen the task.
func TestALaneInNoListIsPutThere(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		ctx := context.Background()
		g.Start()
		time.Sleep(2 * time.Second)
		g.add("a", "a1")
		g.c.SRem(ctx, queue.All, "a")
		if err := queue.Wake(ctx, g.c, queue.Normal, "a"); err != nil {
			t.Fatal(err)
		}
		g.want("a1")
		time.Sleep(2 * time.Second)
		if !g.c.SIsMember(ctx, queue.All, "a").Val() {
			t.Error("the lane is in no list")
		}
	})
}

// That others enqueue in a lane is noted before the task can end.
func TestLanesOfOthersAreNoted(t *testing.T) {
	foreign := func(m *queue.Message) bool { return m.ID != "ours" }
	inBubble(t, 3, Options{Foreign: foreign}, func(t *testing.T, g *fixture) {
		ctx := context.Background()
		g.add("a", "ours")
		g.add("b", "theirs")
		g.Start()
		time.Sleep(time.Second)
		for range 2 {
			if _, err := g.dequeue(); err != nil {
				t.Fatal(err)
			}
			if !g.c.SIsMember(ctx, queue.Shared, "b").Val() {
				t.Error("it is not noted that others use b")
			}
		}
		if g.c.SIsMember(ctx, queue.Shared, "a").Val() {
			t.Error("a is noted too")
		}
		// Redis refuses to take note: it is tried again.
		g.c.Del(ctx, queue.Shared)
		g.c.Set(ctx, queue.Shared, "no set", 0)
		g.add("c", "c1", "c2")
		if err := queue.Wake(ctx, g.c, queue.Normal, "c"); err != nil {
			t.Fatal(err)
		}
		g.Claim("a", "ours").Release()
		g.want("c1")
		g.c.Del(ctx, queue.Shared)
		g.Claim("b", "theirs").Release()
		g.want("c2")
		g.noteShared(ctx)
		if !g.c.SIsMember(ctx, queue.Shared, "c").Val() {
			t.Error("it is not noted that others use c")
		}
	})
}
