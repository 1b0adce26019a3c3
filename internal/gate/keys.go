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
	return ok && keys[1] == queue.Paused(lane) && keys[2] == queue.Active(lane) && keys[3] == queue.Lease(lane)
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
		if keys[0] == delayedKey(lane, kind) {
			return kind, true
		}
	}
	return "", false
}

func delayedKey(lane, kind string) string {
	if kind == "retry" {
		return queue.Retry(lane)
	}
	return queue.Scheduled(lane)
}
