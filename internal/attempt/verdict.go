package attempt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/tasks"
)

// maxErrorText is the most of an error's text that is kept, in bytes.
const maxErrorText = 1024

// later is the verdict "again": asynq moves the task to its lane's retry set.
type later struct {
	err   error
	after time.Duration
	// counts says that an attempt was spent.
	counts bool
}

func (l *later) Error() string { return sanitize(l.err.Error()) }
func (l *later) Unwrap() error { return l.err }

// errInterrupted is the verdict of an attempt that was cut off by no fault of the
// task: asynq has given it back, or rescue will.
var errInterrupted = errors.New("interrupted")

// panicError is a handler's panic, or its call of runtime.Goexit.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// timeoutError says that an attempt took too long.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("attempt took longer than %v", e.limit) }

// errExpired says that an attempt was cut off by its batch's deadline.
var errExpired = errors.New("the batch's deadline passed while it ran")

// errPaused puts a task off whose batch is paused.
var errPaused = errors.New("the batch is paused")

// pausedDelay is how long a task waits that was met while its batch is paused.
const pausedDelay = 2 * time.Second

// classify names the class of a failure that is the task's last.
func classify(err error) batch.Class {
	var invalid *tasks.InvalidError
	var panicked *panicError
	var timeout *timeoutError
	switch {
	case errors.As(err, &invalid):
		return batch.Invalid
	case tasks.IsRejected(err):
		return batch.Rejected
	case tasks.IsPermanent(err):
		return batch.Permanent
	case errors.As(err, &panicked):
		return batch.Panic
	case errors.Is(err, errExpired):
		return batch.Expired
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return batch.Timeout
	}
	return batch.Exhausted
}

// final says whether a failure is the task's last, retried times before.
func final(err error, retried, retries int) bool {
	var invalid *tasks.InvalidError
	return errors.As(err, &invalid) || errors.Is(err, errExpired) || tasks.IsPermanent(err) || retried >= retries
}

// backoffDelay is the wait before the next attempt: exponential, with full jitter
// ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
func backoffDelay(base, most time.Duration, retried int) time.Duration {
	if base <= 0 {
		return 0
	}
	d := most
	if base <= most>>retried { // or the shift below could overflow
		d = base << retried
	}
	return rand.N(d + 1)
}

// notBefore is the delay to tell asynq so that a task does not run earlier: asynq
// keeps the time of a retry in seconds, rounded down.
func notBefore(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d + time.Second - time.Nanosecond
}

// sanitize makes text fit for proto3 strings, JSON and terminals, and bounded:
// asynq cannot write an error that is not UTF-8, and its task would be stuck.
func sanitize(s string) string {
	cut := len(s) > maxErrorText
	if cut {
		s = s[:maxErrorText]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return -1
		case unicode.IsControl(r) && r != '\n' && r != '\t':
			return utf8.RuneError
		}
		return r // what is not UTF-8 comes as RuneError
	}, s)
	for len(s) > maxErrorText {
		_, n := utf8.DecodeLastRuneInString(s)
		s, cut = s[:len(s)-n], true
	}
	if cut {
		s += "..."
	}
	return s
}
