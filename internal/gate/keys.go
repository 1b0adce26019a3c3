package gate

import (
	"github.com/weir-tasks/weir/internal/queue"
)

// isDequeue recognises asynq's dequeue by its keys.
func isDequeue(keys []string) bool {
	if len(keys) != 4 {
		return false
	}
	lane, ok := queue.LaneOf(keys[0])
	return ok && queue.Is(keys[1], lane, "paused") && queue.Is(keys[2], lane, "active") && queue.Is(keys[3], lane, "lease")
}

// isForward recognises asynq's forwarding of due tasks, and says of which kind.
func isForward(keys []string) (kind string, ok bool) {
	if len(keys) != 2 {
		return "", false
	}
	lane, ok := queue.LaneOf(keys[1])
	if !ok {
		return "", false
	}
	for _, kind := range []string{"scheduled", "retry"} {
		if queue.Is(keys[0], lane, kind) {
			return kind, true
		}
	}
	return "", false
}

func delayedKey(of, kind string) string {
	if kind == "retry" {
		return queue.Retry(of)
	}
	return queue.Scheduled(of)
}
