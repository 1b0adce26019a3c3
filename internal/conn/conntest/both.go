package conntest

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn"
)

// Mini is a client of an embedded Redis of this test.
func Mini(t testing.TB) redis.UniversalClient {
	t.Helper()
	e, err := conn.StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e.Client()
}

// Both runs f as subtests "miniredis" and "redis": what is promised holds on
// either.
func Both(t *testing.T, f func(t *testing.T, c redis.UniversalClient)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) { f(t, Mini(t)) })
	t.Run("redis", func(t *testing.T) { f(t, Server(t).Client()) })
}
