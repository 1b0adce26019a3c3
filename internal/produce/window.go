package produce

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn"
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

// enough is how much of Redis' memory may be in use for tasks to be added: what is there
// needs the rest to be worked off.
const enough = 0.7

// memory looks every so often how full Redis is.
type memory struct {
	rdb   redis.UniversalClient
	log   *slog.Logger
	asked time.Time
	is    bool
	told  time.Time
}

// full says that nothing is to be added, and tells why.
func (m *memory) full(ctx context.Context) bool {
	now := time.Now()
	if now.Sub(m.asked) < 500*time.Millisecond {
		return m.is
	}
	m.asked = now
	used, err := conn.Fullness(ctx, m.rdb)
	if err != nil {
		return m.is // as before; whoever needs Redis for more than a hint says so
	}
	was := m.is
	m.is = used >= enough
	switch {
	case m.is && now.Sub(m.told) > 30*time.Second:
		m.told = now
		m.log.Warn("Redis is nearly full; nothing is enqueued until tasks are done or it has more memory",
			"used", fmt.Sprintf("%.0f%%", used*100), "of", "maxmemory", "limit", fmt.Sprintf("%.0f%%", enough*100))
	case was && !m.is:
		m.told = time.Time{}
		m.log.Info("Redis has room again; enqueuing goes on", "used", fmt.Sprintf("%.0f%%", used*100))
	}
	return m.is
}

// shelf is where outcomes wait to be read, and has its size.
type shelf struct {
	ledger *batch.Ledger
	log    *slog.Logger
	name   string
	size   int64
	told   bool
}

// left is for how many more outcomes there is room; it tells when there is none.
func (s *shelf) left(ctx context.Context) int64 {
	unread, err := s.ledger.Unread(ctx, s.name)
	if err != nil {
		return 0 // whoever needs Redis for more than this says so
	}
	full := unread >= s.size
	switch {
	case full && !s.told:
		s.log.Warn("so many outcomes wait to be read that nothing is enqueued until some are",
			"unread", unread, "limit", s.size, "hint", "producer follow "+s.name)
	case !full && s.told:
		s.log.Info("outcomes were read; enqueuing goes on", "unread", unread)
	}
	s.told = full
	return s.size - unread
}
