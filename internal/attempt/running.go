package attempt

import (
	"context"
	"errors"
	"sync"

	"github.com/weir-tasks/weir/internal/batch"
)

// Why a batch's attempts are cut off.
var (
	errBatchCancelled = errors.New("the batch was cancelled")
	errBatchStopped   = errors.New("the batch was stopped")
)

// Listen obeys the ledger's announcements until ctx ends.
func (r *Runner) Listen(ctx context.Context) {
	r.opts.Ledger.Listen(ctx, func(name string, end batch.Ending) {
		cause := errBatchStopped
		if end == batch.EndCancelled {
			cause = errBatchCancelled
		}
		r.running.end(name, cause)
	})
}

// running knows the attempts of each batch that run now.
type running struct {
	mu      sync.Mutex
	batches map[string]map[*cancelFunc]struct{}
	ends    int64 // that were announced
}

type cancelFunc struct{ cancel context.CancelCauseFunc }

// enter notes an attempt; the returned function ends it.
func (r *running) enter(ctx context.Context, name string) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if name == "" {
		return ctx, cancel
	}
	f := &cancelFunc{cancel}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.batches[name] == nil {
		r.batches[name] = make(map[*cancelFunc]struct{})
	}
	r.batches[name][f] = struct{}{}
	return ctx, func(cause error) {
		cancel(cause)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.batches[name], f)
		if len(r.batches[name]) == 0 {
			delete(r.batches, name)
		}
	}
}

// end cuts off all attempts of a batch.
func (r *running) end(name string, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends++
	for f := range r.batches[name] {
		f.cancel(cause)
	}
}

// announced is how many ends of batches were announced.
func (r *running) announced() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ends
}

// calls counts the calls of ProcessTask that have not returned, and those of the ledger
// ahead of them.
type calls struct {
	mu    sync.Mutex
	n     int
	ended chan struct{} // closed when there are none; nil while nobody waits for that
}

func (c *calls) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *calls) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.n == 0 && c.ended != nil {
		close(c.ended)
		c.ended = nil
	}
}

// none is closed as soon as there are none.
func (c *calls) none() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	if c.ended == nil {
		c.ended = make(chan struct{})
	}
	return c.ended
}
