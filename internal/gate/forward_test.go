package gate

import (
	"maps"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/queue"
)

// asynq's script goes to those lanes only that have due tasks: to all others, often
// thousands, no more than a look.
func TestOnlyLanesWithDueTasksAreForwarded(t *testing.T) {
	inBubble(t, 4, Options{}, func(t *testing.T, g *fixture) {
		ctx := t.Context()
		for lane, after := range map[string]time.Duration{"empty": 0, "soon": 10 * time.Second, "later": time.Hour} {
			g.c.SAdd(ctx, queue.All, lane)
			if after == 0 {
				continue
			}
			if _, err := g.client.Enqueue(asynq.NewTask("t", nil), asynq.Queue(lane), asynq.TaskID("1"), asynq.ProcessIn(after)); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.lookOnce(ctx); err != nil {
			t.Fatal(err)
		}
		scripts := make(map[string]int)
		g.c.AddHook(eachCommand{func(args []any) {
			if args[0] != "evalsha" || len(args) < 5 {
				return
			}
			for _, lane := range []string{"empty", "soon", "later"} {
				if args[3] == queue.Scheduled(lane) {
					scripts[lane]++
				}
			}
		}})
		forward := func() int64 {
			t.Helper()
			now := time.Now()
			keys := []string{queue.Scheduled(Placeholder), queue.Pending(Placeholder)}
			moved, err := redis.NewScript(forwardSrc).Run(ctx, g.Gate, keys,
				now.Unix(), queue.TaskPrefix(Placeholder), now.UnixNano(), queue.GroupPrefix(Placeholder)).Int64()
			if err != nil {
				t.Fatal(err)
			}
			return moved
		}
		if moved := forward(); moved != 0 || len(scripts) != 0 {
			t.Errorf("nothing is due: %d moved, scripts %v", moved, scripts)
		}
		time.Sleep(11 * time.Second)
		if err := queue.ForwardScript.Load(ctx, g.c).Err(); err != nil {
			t.Fatal(err)
		}
		if moved, want := forward(), map[string]int{"soon": 1}; moved != 1 || !maps.Equal(scripts, want) {
			t.Errorf("one is due: %d moved, scripts %v", moved, scripts)
		}
		g.wantList(queue.Pending("soon"), "1")
		g.wantList(queue.Pending("later"))
	})
}
