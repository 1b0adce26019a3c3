package simulation

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/weir-tasks/weir/internal/work"
)

// slots is how many tasks asynq holds for each that a worker runs: one that runs, and
// one whose outcome is being recorded.
const slots = 2

// worker is one life of a worker process.
type worker struct {
	*machine
	*work.Worker
	place       int // which of the seed's workers it is a life of
	concurrency int
	label       unsafe.Pointer
	ending      atomic.Bool

	// Guarded by the world's mutex.
	running, peak, narrow int
}

// startWorker begins a life of a place's worker.
func (w *world) startWorker(place int) {
	o := w.o.workers[place]
	wk := &worker{machine: w.machine(w.name("worker", place), o.skew), place: place, concurrency: o.concurrency}
	var err error
	wk.Worker, err = work.New(wk.rdb, wk.rdb, wk.ledger, work.Options{
		Concurrency: o.concurrency, ShutdownTimeout: o.grace, Log: w.log(wk.name),
	})
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	w.workers[place] = wk
	w.lives = append(w.lives, wk)
	w.mu.Unlock()
	if err := wk.owned(wk.Start); err != nil {
		panic(err) // it asks nothing of Redis
	}
}

// end ends a worker's goroutines: those of a dead one too, which cannot be killed.
// Whoever comes second need not wait.
func (wk *worker) end() {
	if wk.ending.CompareAndSwap(false, true) {
		_ = wk.Stop() // a dead one's cannot give anything back
	}
}

// killWorker lets a place's worker die at one of its requests, and another start.
func (w *world) killWorker(place int, d *death, again time.Duration) {
	wk := w.worker(place)
	d.then = func() {
		w.allow("worker killed", wk)
		w.timers.Go(wk.end)
		w.timers.Go(func() {
			time.Sleep(again)
			w.startWorker(place)
		})
	}
	wk.dieAt(d)
}

// stopWorker stops a place's worker in order, and starts another.
func (w *world) stopWorker(place int) {
	wk := w.worker(place)
	wk.dieAt(nil)
	if wk.gone() || wk.ending.Load() {
		return
	}
	w.note("%s is stopped", wk.name)
	w.allow("worker stopped", wk)
	wk.end()
	wk.isLost() // with what it could not give back
	wk.Kill()
	w.startWorker(place)
}

func (w *world) worker(place int) *worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.workers[place]
}
