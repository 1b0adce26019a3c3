package simnet

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn"
)

// Redis is a Redis of one bubble.
type Redis struct{ *miniredis.Miniredis }

// New starts a Redis, until the test's end. Call it inside the bubble.
func New(t testing.TB) *Redis {
	t.Helper()
	r := &Redis{miniredis.NewMiniRedis()}
	first, err := r.Dial() // starts it without a listener
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	t.Cleanup(r.Close)
	return r
}

// Expire lets keys expire as time passes, which miniredis does only when told, until
// stop is called.
func (r *Redis) Expire(every time.Duration) (stop func()) {
	tick, quit, gone := time.NewTicker(every), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				r.FastForward(every)
			}
		}
	}()
	return func() {
		tick.Stop()
		close(quit)
		<-gone
	}
}

// Options are a client's of this node: those of weir's own clients, on this network.
func (n *Node) Options() *redis.Options {
	o := conn.Defaults()
	o.Addr, o.Dialer = "127.0.0.1:1", n.Dial
	// So many that nobody waits for a connection: go-redis waits with timers that it keeps
	// for the whole process, and a bubble's timer is good in that bubble only.
	o.PoolSize, o.ReadBufferSize = 1000, 4<<10
	return o
}
