package work

import (
	"errors"
	"fmt"
	"time"
)

// What a worker is at.
const (
	starting int32 = iota
	running
	stopping
)

// Alive is nil as long as the worker can run tasks, now or later, without being started
// anew: not every slot is held by a handler that ignores that its time is over.
func (w *Worker) Alive() error {
	if stuck := w.runner.Stuck(); stuck >= w.opts.Concurrency {
		return fmt.Errorf("all %d slots are held by handlers that ignore that their time is over; start it anew", w.opts.Concurrency)
	}
	return nil
}

// Ready is nil where the worker takes tasks, as far as it is concerned; else why it does not.
func (w *Worker) Ready() error {
	switch w.phase.Load() {
	case starting:
		return errors.New("it has not started yet")
	case stopping:
		return fmt.Errorf("stopping: it takes nothing new, %d still run", w.lanes.InFlight())
	}
	return nil
}

// Timely is nil unless this host's clock differs so much from Redis' that no tasks are taken.
func (w *Worker) Timely() error {
	if off := time.Duration(w.clock.offset.Load()); off.Abs() > ClockStop {
		return fmt.Errorf("this host's clock is %v ahead of Redis', more than %v; no tasks are taken", off.Round(time.Millisecond), ClockStop)
	}
	return nil
}
