package conn

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Embedded is a Redis inside this process. Nothing survives the process.
//
// miniredis moves TTLs only when told to. It has a mode that does so before
// each command, but that walks over all keys each time and lets keys expire in
// the middle of a script; so a goroutine here moves them by the time elapsed,
// between commands. A TTL may end early by one tick (20 ms, longer when there
// are many keys).
type Embedded struct {
	server *miniredis.Miniredis
	addr   string
	stop   chan struct{}
	gone   chan struct{} // closed when the ticking goroutine has returned
	once   sync.Once

	mu      sync.Mutex
	clients []redis.UniversalClient
}

const (
	tick = 20 * time.Millisecond
	// A tick walks over all keys: 1 in 50 parts of the time is the most it may use.
	tickShare = 50
)

// StartEmbedded starts one on a free port of 127.0.0.1. The port is real, for
// asynqmon and redis-cli; and miniredis' in-memory pipe has no buffer, so that a
// pipeline of more than 4 KiB would block on its own replies.
func StartEmbedded() (*Embedded, error) {
	e := &Embedded{server: miniredis.NewMiniRedis(), stop: make(chan struct{}), gone: make(chan struct{})}
	if err := e.server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start embedded redis: %w", err)
	}
	e.addr = e.server.Addr()
	go e.tick()
	return e, nil
}

func (e *Embedded) tick() {
	defer close(e.gone)
	last := time.Now()
	t := time.NewTimer(tick)
	defer t.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-t.C:
		}
		now := time.Now()
		e.server.FastForward(now.Sub(last))
		last = now
		t.Reset(max(tick, tickShare*time.Since(now)))
	}
}

// Client makes a client. Close closes it, where the caller has not.
func (e *Embedded) Client() redis.UniversalClient {
	c, err := Open(e.URL())
	if err != nil {
		panic("conn: the embedded redis has a URL that Open refuses: " + err.Error())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clients = append(e.clients, c)
	return c
}

// URL is good for any Redis client on this machine while the process lives.
func (e *Embedded) URL() string { return "redis://" + e.addr }

// Close ends the server, its clients and the ticking goroutine, and returns
// when they are gone. Any number of calls is fine.
func (e *Embedded) Close() error {
	e.once.Do(func() {
		close(e.stop)
		<-e.gone
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, c := range e.clients {
			_ = c.Close() // ErrClosed when the caller was first
		}
		e.server.Close()
	})
	return nil
}
