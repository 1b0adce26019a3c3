package simnet

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// Bubble is a Redis and one way to it, for a test that needs no more.
type Bubble struct {
	*Redis
	way *Node
}

// NewBubble starts a Redis, until the test's end. Call it inside the bubble.
func NewBubble(t testing.TB) *Bubble {
	t.Helper()
	r := New(t)
	return &Bubble{r, r.Node()}
}

// Client makes a client without retries of its own, so that a test sees each call.
func (b *Bubble) Client(t testing.TB) *redis.Client {
	o := b.way.Options()
	o.MaxRetries = -1
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// SetDown makes Redis go away, with its connections, or come back.
func (b *Bubble) SetDown(down bool) { b.way.setDown(down) }
