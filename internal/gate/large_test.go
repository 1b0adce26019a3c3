package gate

import (
	"testing"

	"github.com/hibiken/asynq"

	"github.com/weir-tasks/weir/internal/queue"
)

// A message that is too large does not leave Redis, and keeps no other and no permit: it
// stays active, where rescue finds it.
func TestALargeMessageDoesNotComeToTheWorker(t *testing.T) {
	inBubble(t, 2, Options{}, func(t *testing.T, g *fixture) {
		g.add("a", "1")
		large := asynq.NewTask("t", make([]byte, queue.MaxMessage))
		if _, err := g.client.Enqueue(large, asynq.Queue("a"), asynq.TaskID("large")); err != nil {
			t.Fatal(err)
		}
		g.add("a", "2")
		g.Start()
		g.want("1")
		g.want("2")
		g.wantList(queue.Active("a"), "1", "large", "2")
	})
}
