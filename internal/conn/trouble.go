package conn

import (
	"log/slog"
	"sync"
	"time"
)

// troubleEvery is how often a lasting trouble is logged.
const troubleEvery = 10 * time.Second

// Trouble logs that Redis does not answer: once when it begins, again while it
// lasts, and when it is over, however many goroutines meet it.
type Trouble struct {
	log *slog.Logger
	url string

	mu     sync.Mutex
	since  time.Time // zero: none
	logged time.Time
	failed int // calls since it was logged
}

// NewTrouble returns a Trouble about the Redis at a URL.
func NewTrouble(log *slog.Logger, rawURL string) *Trouble { return &Trouble{log: log, url: rawURL} }

// Tell is told of each call that failed and the wait before it is repeated, and,
// with a nil error, of each that succeeded after it had failed.
func (t *Trouble) Tell(err error, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if err == nil {
		if !t.since.IsZero() {
			t.log.Info("Redis answers again", "after", now.Sub(t.since).Round(time.Millisecond))
			t.since = time.Time{}
		}
		return
	}
	t.failed++
	if t.since.IsZero() {
		t.since = now
	} else if now.Sub(t.logged) < troubleEvery {
		return
	}
	t.log.Warn("Redis does not answer; trying again until it does", "err", Explain(err, t.url), "failed", t.failed)
	t.logged, t.failed = now, 0
}
