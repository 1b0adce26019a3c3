package work

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// bubble is a Redis for a test in a synctest bubble: without sockets, on its clock.
type bubble struct {
	*miniredis.Miniredis

	mu   sync.Mutex
	down bool
	open map[*pipe]struct{}
}

func newBubble(t *testing.T) *bubble {
	b := &bubble{Miniredis: miniredis.NewMiniRedis(), open: make(map[*pipe]struct{})}
	t.Cleanup(b.Close)
	return b
}

// client makes a client without retries of its own, so that a test sees each call.
func (b *bubble) client(t *testing.T) *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1", Dialer: b.dial, Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
		ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func (b *bubble) dial(context.Context, string, string) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil, errors.New("connection refused")
	}
	c, err := b.Dial()
	if err != nil {
		return nil, err
	}
	p := &pipe{Conn: c, out: make(chan []byte, 1<<16), gone: make(chan struct{})}
	b.open[p] = struct{}{}
	go p.pump()
	return p, nil
}

// setDown makes Redis go away, with its connections, or come back.
func (b *bubble) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	if down {
		for p := range b.open {
			p.Close()
		}
		clear(b.open)
	}
}

// pipe is a connection with a buffer to write to: client and server of a net.Pipe
// would wait for each other in a long pipeline.
type pipe struct {
	net.Conn
	out  chan []byte
	gone chan struct{}
	once sync.Once
}

func (p *pipe) Write(b []byte) (int, error) {
	select {
	case <-p.gone:
		return 0, net.ErrClosed
	case p.out <- append([]byte(nil), b...):
		return len(b), nil
	}
}

func (p *pipe) pump() {
	for {
		select {
		case <-p.gone:
			return
		case b := <-p.out:
			if _, err := p.Conn.Write(b); err != nil {
				return
			}
		}
	}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.gone) })
	return p.Conn.Close()
}
