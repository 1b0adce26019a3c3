package simulation

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A bubble's clock stands still while a goroutine of it runs, or waits for what the
// bubble cannot know of: a mutex, the network, a sync.Once. Nothing else bounds a busy
// loop, or a mutex whose holder waits for time to pass.

// hangs is for how long, in real time, simulated time may stand still: many times of
// what a second takes on a machine that has much else to do.
const hangs = time.Minute

// tick notes that simulated time passes, until stop is called.
func (w *world) tick() (stop func()) {
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			w.ticks.Add(1)
			select {
			case <-quit:
				return
			case <-time.After(time.Second):
			}
		}
	}()
	return func() {
		close(quit)
		<-gone
	}
}

// watchdog ends the process when simulated time stands still, and says who holds it up.
// It is called outside of the bubble, and so is stop.
func (w *world) watchdog() (stop func()) {
	quit := make(chan struct{})
	go func() {
		check := time.NewTicker(hangs)
		defer check.Stop()
		for before := int64(-1); ; {
			select {
			case <-quit:
				return
			case <-check.C:
			}
			now := w.ticks.Load()
			if now == before {
				debug.SetTraceback("none") // busy has it in a better order
				panic(fmt.Sprintf("seed %d, profile %s, hangs: no simulated time has passed for %v\n%s\n%s\n%s",
					w.seed, *profileName, hangs, w.o, w.soFar(), busy()))
			}
			before = now
		}
	}()
	return func() { close(quit) }
}

// soFar is the end of the timeline, if nobody holds it up.
func (w *world) soFar() string {
	if !w.mu.TryLock() {
		return "the timeline is locked"
	}
	defer w.mu.Unlock()
	return strings.Join(w.timeline[max(0, len(w.timeline)-50):], "\n")
}

// busy are the stacks of those goroutines in bubbles that keep simulated time from
// passing: all but those that wait for time, or for others in their bubble. Below them
// are all others, because one of these has the mutex that a busy one waits for.
func busy() string {
	all := make([]byte, 64<<20)
	all = all[:runtime.Stack(all, true)]
	var busy, others []string
	for one := range strings.SplitSeq(string(all), "\n\n") {
		head, _, _ := strings.Cut(one, "\n")
		switch {
		case !strings.Contains(head, "synctest bubble"):
		case strings.Contains(head, "(durable)"):
			others = append(others, one)
		default:
			busy = append(busy, one)
		}
	}
	return strings.Join(busy, "\n\n") + "\n\nThe others:\n\n" + strings.Join(others, "\n\n")
}
