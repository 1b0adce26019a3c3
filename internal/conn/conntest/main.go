package conntest

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/weir-tasks/weir/internal/conn"
)

// Main runs a package's tests, without go-redis' own log, and fails when they leave
// goroutines behind. Those in which go-redis goes on dialing for a second after its
// client was closed do not count.
func Main(m *testing.M) {
	conn.LogTo(slog.New(slog.DiscardHandler)) // tests without a Redis would fill the screen
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
