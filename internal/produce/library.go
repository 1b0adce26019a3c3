package produce

import (
	"context"
	"io"
	"iter"
	"os"
	"sync"

	"github.com/weir-tasks/weir/internal/source"
)

// payloads is a source.Source of Go values.
type payloads struct {
	next  func() ([]byte, error, bool)
	stop  func()
	again func() source.Source

	mu     sync.Mutex
	busy   bool // next runs: neither it nor stop may be called
	closed bool
}

// Payloads is the source of a sequence of payloads, each encoded by encode. Close
// does not wait for a sequence that is just making one: it is ended after that.
func Payloads[P any](seq iter.Seq[P], encode func(P) ([]byte, error)) source.Source {
	next, stop := iter.Pull2(func(yield func([]byte, error) bool) {
		for p := range seq {
			if !yield(encode(p)) {
				return
			}
		}
	})
	return &payloads{next: next, stop: stop, again: func() source.Source { return Payloads(seq, encode) }}
}

// Reopen goes over the sequence once more. One that then gives something else is
// found out by the hash of the batch's input.
func (s *payloads) Reopen() (source.Source, error) { return s.again(), nil }

func (s *payloads) Next() (source.Record, error) {
	if !s.enter() {
		return source.Record{}, os.ErrClosed
	}
	payload, err, ok := s.next()
	s.leave()
	if !ok {
		return source.Record{}, io.EOF
	}
	if err != nil {
		return source.Record{Err: err}, nil
	}
	return source.Record{Payload: payload, Raw: payload}, nil
}

func (s *payloads) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = !s.closed
	return s.busy
}

func (s *payloads) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if s.closed {
		s.stop()
	}
}

func (s *payloads) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if !s.busy {
		s.stop()
	}
	return nil
}

// Pipe is a Sink that hands lines to a loop in another goroutine.
type Pipe struct {
	ctx   context.Context
	lines chan []byte
	done  chan struct{}
	err   error
}

// NewPipe returns a Pipe that refuses lines once ctx has ended.
func NewPipe(ctx context.Context) *Pipe {
	return &Pipe{ctx: ctx, lines: make(chan []byte), done: make(chan struct{})}
}

// Put hands a line over, when the loop takes it.
func (p *Pipe) Put(line []byte) error {
	select {
	case p.lines <- line:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// Flush does nothing.
func (p *Pipe) Flush() error { return nil }

// Commit does nothing.
func (p *Pipe) Commit() error { return nil }

// Has is always false.
func (p *Pipe) Has(int64) bool { return false }

// Lines are the lines, until Close.
func (p *Pipe) Lines() <-chan []byte { return p.lines }

// Close ends Lines; err is what Wait returns.
func (p *Pipe) Close(err error) {
	p.err = err
	close(p.lines)
	close(p.done)
}

// Wait waits for Close.
func (p *Pipe) Wait() error {
	<-p.done
	return p.err
}

// keep is a Sink that keeps the last line.
type keep struct{ last *[]byte }

// NewKeep returns a Sink that keeps the last line in *last.
func NewKeep(last *[]byte) interface {
	Put([]byte) error
	Flush() error
	Commit() error
	Has(int64) bool
} {
	return keep{last}
}

func (k keep) Put(line []byte) error { *k.last = line; return nil }
func (k keep) Flush() error          { return nil }
func (k keep) Commit() error         { return nil }
func (k keep) Has(int64) bool        { return false }
