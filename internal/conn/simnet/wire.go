package simnet

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// wire is a connection: two directions, each a buffer. The node's mutex guards all.
type wire struct {
	n        *Node
	up, down half // to Redis, from Redis

	// greeting until the client has Redis' first answer. go-redis waits for it with a
	// mutex held, and between tries sleeps so; in a bubble no time passes while anybody
	// waits for that mutex. So nothing becomes of this first request but its answer, and
	// a connection that is to break meanwhile is doomed: it breaks then.
	greeting, doomed bool
}

type half struct {
	buf   []byte
	ended bool // nothing more will be written
	reset bool // what was written is lost
	drops bool // what is written from now on is lost; and when all answers are, the connection breaks
	until time.Time
	woken chan struct{} // its reader is to look again
}

func newWire(n *Node) *wire {
	w := &wire{n: n, greeting: true}
	w.up.woken, w.down.woken = make(chan struct{}, 1), make(chan struct{}, 1)
	return w
}

func (w *wire) reset() {
	if w.greeting {
		w.doomed = true
		return
	}
	for _, h := range []*half{&w.up, &w.down} {
		h.buf, h.reset, h.ended = nil, true, true
	}
	delete(w.n.conns, w)
}

func (w *wire) greeted() {
	w.greeting = false
	if w.doomed {
		w.reset()
		w.wake()
	}
}

func (w *wire) wake() {
	w.up.wake()
	w.down.wake()
}

func (w *wire) isGreeting() bool {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	return w.greeting
}

func (h *half) wake() {
	select {
	case h.woken <- struct{}{}:
	default:
	}
}

// end is one end of a wire. One goroutine reads at a time.
type end struct {
	w       *wire
	in, out *half
	client  bool
}

func (e *end) Read(p []byte) (int, error) {
	for {
		n, wait, err := e.tryRead(p)
		if n > 0 || err != nil {
			return n, err
		}
		if wait < 0 {
			<-e.in.woken
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-e.in.woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tryRead reads what there is. Without any and without an error it says how long to
// wait at most; negative is for ever.
func (e *end) tryRead(p []byte) (n int, wait time.Duration, err error) {
	e.w.n.mu.Lock()
	defer e.w.n.mu.Unlock()
	h := e.in
	wait = -1
	if !h.until.IsZero() {
		if wait = time.Until(h.until); wait <= 0 {
			return 0, 0, &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
		}
	}
	switch {
	case h.reset:
		return 0, 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	case e.w.n.held && !e.w.greeting && !(e.client && h.ended):
		return 0, wait, nil
	case len(h.buf) > 0:
		n = copy(p, h.buf)
		if h.buf = h.buf[n:]; len(h.buf) == 0 {
			h.buf = nil
		}
		if e.client && e.w.greeting {
			e.w.greeted()
		}
		return n, 0, nil
	case h.ended:
		return 0, 0, io.EOF
	case !e.client && e.out.drops:
		// Redis has taken all there is, and executes it.
		e.w.reset()
		e.w.wake()
		return 0, 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return 0, wait, nil
}

func (e *end) Write(p []byte) (int, error) {
	fault := None
	if e.client && e.w.n.Meet != nil && !e.w.isGreeting() {
		fault = e.w.n.Meet(p)
	}
	e.w.n.mu.Lock()
	defer e.w.n.mu.Unlock()
	h := e.out
	if h.ended {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	}
	defer h.wake()
	if h.drops {
		return len(p), nil
	}
	switch fault {
	case CutBefore:
		e.w.reset()
		e.w.wake()
		return len(p), nil
	case CutAmid:
		h.buf = append(h.buf, p[:len(p)/2]...)
		e.in.drops = true
		return len(p), nil
	case LoseReply:
		e.in.drops = true
	}
	h.buf = append(h.buf, p...)
	if fault == DieSending {
		e.w.n.dieSending()
	}
	return len(p), nil
}

// Close ends both directions. What was written before still arrives.
func (e *end) Close() error {
	e.w.n.mu.Lock()
	defer e.w.n.mu.Unlock()
	e.out.ended, e.in.ended = true, true
	e.in.drops, e.in.buf = true, nil
	if len(e.out.buf) == 0 || e.out.reset {
		delete(e.w.n.conns, e.w)
	}
	e.w.wake()
	return nil
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.w.n.mu.Lock()
	defer e.w.n.mu.Unlock()
	e.in.until = t
	e.in.wake()
	return nil
}

func (e *end) SetDeadline(t time.Time) error      { return e.SetReadDeadline(t) }
func (e *end) SetWriteDeadline(t time.Time) error { return nil } // Write does not wait
func (e *end) LocalAddr() net.Addr                { return addr }
func (e *end) RemoteAddr() net.Addr               { return addr }

var addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}

var _ net.Conn = (*end)(nil)
