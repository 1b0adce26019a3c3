package simulation

import (
	"context"
	"runtime/pprof"
	"sync"
	"unsafe"
)

// A handler is not told whose worker runs it, and all workers are in one process. So
// each worker is started under a profiling label, which every goroutine inherits from
// the one that started it.

//go:linkname profLabel runtime/pprof.runtime_getProfLabel
func profLabel() unsafe.Pointer

var owners sync.Map // label -> *worker

// owned calls f so that owner tells, in every goroutine that f starts, that it is w.
func (w *worker) owned(f func() error) error {
	failed := make(chan error)
	go func() {
		pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("worker", w.name)))
		w.label = profLabel()
		owners.Store(w.label, w)
		failed <- f()
	}()
	return <-failed
}

func (w *worker) disown() { owners.Delete(w.label) }

func owner() *worker {
	w, _ := owners.Load(profLabel())
	return w.(*worker)
}
