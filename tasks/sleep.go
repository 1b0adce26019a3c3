package tasks

import (
	"context"
	"errors"
	"math"
	"os"
	"time"
)

// Sleep waits, then does as told: the task for trying weir out, and for seeing
// what becomes of each kind of failure.
var Sleep = Define("sleep", Policy{}, sleep)

// SleepPayload is the work of one sleep task.
type SleepPayload struct {
	TaskNumber int     `json:"task_number" weir:"line,required" validate:"gte=0" doc:"comes back in the result"`
	Seconds    float64 `json:"seconds,omitzero" validate:"gte=0" doc:"how long to sleep"`
	Fail       string  `json:"fail,omitzero" validate:"omitempty,oneof=expected unexpected panic hang exit" doc:"after the sleep: expected = permanent failure, unexpected = an error worth a retry, panic = divide by zero, exit = the worker process dies; hang = sleep (1000 s by default) without listening to the timeout"`
}

// SleepResult says that the sleep is over.
type SleepResult struct {
	TaskNumber int     `json:"task_number"`
	Slept      float64 `json:"slept" doc:"seconds"`
}

// hangSeconds is how long a hanging task sleeps that names no time.
const hangSeconds = 1000

// exit ends the process; tests put something gentler here.
var exit = os.Exit

func sleep(ctx context.Context, p SleepPayload) (SleepResult, error) {
	if p.Fail == "hang" {
		if p.Seconds == 0 {
			p.Seconds = hangSeconds
		}
		ctx = context.WithoutCancel(ctx)
	}
	timer := time.NewTimer(seconds(p.Seconds))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return SleepResult{}, ctx.Err()
	}
	switch p.Fail {
	case "expected":
		return SleepResult{}, Permanent(errors.New("expected failure"))
	case "unexpected":
		return SleepResult{}, errors.New("unexpected failure")
	case "panic":
		zero := p.TaskNumber - p.TaskNumber
		p.TaskNumber /= zero
	case "exit":
		exit(1)
	}
	return SleepResult{TaskNumber: p.TaskNumber, Slept: p.Seconds}, nil
}

// seconds makes a Duration of a number from a payload; more than a Duration
// can hold (292 years) is its most.
func seconds(s float64) time.Duration {
	if s >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(s * float64(time.Second))
}
