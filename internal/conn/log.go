package conn

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogTo sends go-redis' own messages (of failed dials, Sentinel switches) to a
// logger, at level debug: whoever called gets the error anyway. Without it they
// go to stderr, in the middle of a progress bar. It is global, as go-redis has
// it: for a main package, at its start.
func LogTo(l *slog.Logger) { redis.SetLogger(goRedisLog{l}) }

type goRedisLog struct{ *slog.Logger }

func (l goRedisLog) Printf(ctx context.Context, format string, v ...any) {
	if l.Enabled(ctx, slog.LevelDebug) {
		l.DebugContext(ctx, fmt.Sprintf(format, v...), "from", "go-redis")
	}
}
