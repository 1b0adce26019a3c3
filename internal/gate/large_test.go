package gate

import (
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/queue"
)

// A message that is too large does not leave Redis, and keeps no other and no permit: it
// stays active, where rescue finds it.
func TestALargeMessageDoesNotComeToTheWorker(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		g.add("a", "1", "large", "2")
		if err := g.c.HSet(t.Context(), queue.TaskPrefix("a")+"large", "msg", strings.Repeat("x", queue.MaxMessage+1)).Err(); err != nil {
			t.Fatal(err)
		}
		g.Start()
		g.want("1")
		g.want("2")
		g.wantList(queue.Active("a"), "1", "large", "2")
	})
}
