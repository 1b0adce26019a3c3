package simnet

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Fault is what becomes of a request.
type Fault int

// The faults of a request.
const (
	None      Fault = iota
	LoseReply       // it is executed; then the connection breaks, without an answer
	CutBefore       // the connection breaks before Redis has any of it
	CutAmid         // the connection breaks when Redis has half of it: of a pipeline, some commands
	Lose            // nobody ever sees it, and the connection stays
)

// Node is one machine's way to Redis. It is safe for concurrent use.
type Node struct {
	redis *Redis
	// Meet, if set, decides about each request; and Refuse about each dial. They are set
	// before the first dial, and must not block.
	Meet   func(request []byte) Fault
	Refuse func() bool

	mu    sync.Mutex
	conns map[*wire]struct{}
	held  chan struct{} // closed by Release; nil when not held
	dead  bool
}

// Node returns a new way to this Redis.
func (r *Redis) Node() *Node {
	return &Node{redis: r, conns: make(map[*wire]struct{})}
}

// Dial makes a connection; the network and address do not matter.
func (n *Node) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		n.mu.Lock()
		held := n.held
		if n.dead || held == nil && n.Refuse != nil && n.Refuse() {
			n.mu.Unlock()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		if held == nil {
			w := newWire(n)
			n.conns[w] = struct{}{}
			n.mu.Unlock()
			n.redis.Server().ServeConn(&end{w: w, in: &w.up, out: &w.down})
			return &end{w: w, in: &w.down, out: &w.up, client: true}, nil
		}
		n.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
		}
	}
}

// Hold lets nothing through, in either direction, until Release.
func (n *Node) Hold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held == nil && !n.dead {
		n.held = make(chan struct{})
	}
}

// Release ends Hold. What was held arrives now if late, as from a machine's own
// buffers; else the connections are broken and it is lost.
func (n *Node) Release(late bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held == nil {
		return
	}
	close(n.held)
	n.held = nil
	for w := range n.conns {
		if !late {
			w.reset()
		}
		w.wake()
	}
}

// Cut breaks all connections; new ones may be made.
func (n *Node) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut()
}

func (n *Node) cut() {
	for w := range n.conns {
		w.reset()
		w.wake()
	}
}

// Kill cuts the node off for good: nothing that is sent from now on reaches Redis.
func (n *Node) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = true
	n.cut()
	if n.held != nil {
		close(n.held)
		n.held = nil
	}
}

// Dead says that Kill was called.
func (n *Node) Dead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead
}

// beforeBreak is how long a connection whose reply is lost stays, so that Redis has
// executed all of the request by then.
const beforeBreak = time.Millisecond
