package produce

import (
	"context"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// perSlot is how many tasks there are for each slot of asynq's servers, which have
	// two for each task that runs.
	perSlot   = 2
	minWindow = 1000
	maxWindow = 100_000
)

// window is the automatic window: a few times what the live workers can run at
// once, asked for every few seconds.
type window struct {
	inspector *asynq.Inspector
	mu        sync.Mutex
	asked     time.Time
	size      int64
}

func newWindow(rdb redis.UniversalClient) *window {
	return &window{inspector: asynq.NewInspectorFromRedisClient(rdb), size: minWindow}
}

func (w *window) get(context.Context) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.asked) < 3*time.Second {
		return w.size
	}
	w.asked = time.Now()
	servers, err := w.inspector.Servers()
	if err != nil {
		return w.size // as before; whoever needs Redis for more than a hint says so
	}
	var slots int64
	for _, s := range servers {
		slots += int64(s.Concurrency)
	}
	w.size = min(max(perSlot*slots, minWindow), maxWindow)
	return w.size
}
