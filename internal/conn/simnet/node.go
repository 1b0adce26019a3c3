package simnet

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// Fault is what becomes of a request.
type Fault int

// The faults of a request.
const (
	None       Fault = iota
	LoseReply        // Redis gets it; then the connection breaks, without an answer
	CutBefore        // the connection breaks before Redis has any of it
	CutAmid          // the connection breaks when Redis has half of it: of a pipeline, some commands
	DieSending       // the machine is dead; this request and all others under way arrive with Release(true)
)

// Node is one machine's way to Redis. It is safe for concurrent use.
type Node struct {
	redis *Redis
	// Meet, if set, decides about each request but a connection's first; and Refuse about
	// each dial. They are set before the first dial, and must not block.
	Meet   func(request []byte) Fault
	Refuse func() bool

	mu    sync.Mutex
	conns map[*wire]struct{}
	held  bool
	dead  bool
	down  bool
}

// Node returns a new way to this Redis.
func (r *Redis) Node() *Node {
	return &Node{redis: r, conns: make(map[*wire]struct{})}
}

// Dial makes a connection, or is refused at once: go-redis dials while it holds a mutex,
// and in a bubble no time passes while anybody waits for one. The network and address
// do not matter.
func (n *Node) Dial(context.Context, string, string) (net.Conn, error) {
	refused := n.Refuse != nil && n.Refuse()
	n.mu.Lock()
	defer n.mu.Unlock()
	if refused || n.dead || n.held || n.down {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	w := newWire(n)
	n.conns[w] = struct{}{}
	n.redis.Server().ServeConn(&end{w: w, in: &w.up, out: &w.down})
	return &end{w: w, in: &w.down, out: &w.up, client: true}, nil
}

// Hold lets nothing through, in either direction, until Release.
func (n *Node) Hold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held = true
}

// Release ends Hold. What was held arrives now if late, as from a machine's own
// buffers; else the connections are broken and it is lost.
func (n *Node) Release(late bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.held {
		return
	}
	n.held = false
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

// setDown is Cut with no new connections until it is called again.
func (n *Node) setDown(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	if down {
		n.cut()
	}
}

func (n *Node) cut() {
	for w := range n.conns {
		w.reset()
		w.wake()
	}
}

// Kill ends the machine: nothing that is sent from now on reaches Redis.
func (n *Node) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead, n.held = true, false
	n.cut()
}

// dieSending ends the machine, but what is under way already stays so until Release.
func (n *Node) dieSending() {
	n.dead, n.held = true, true
	for w := range n.conns {
		if w.greeting {
			w.reset()
			continue
		}
		w.up.ended, w.down.reset, w.down.drops = true, true, true
		w.wake()
	}
}

// Dead says that Kill was called.
func (n *Node) Dead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead
}
