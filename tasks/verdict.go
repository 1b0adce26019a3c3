package tasks

import (
	"errors"
	"fmt"
	"time"
)

// maxThrottle is the longest a service is believed when it says "later".
const maxThrottle = 24 * time.Hour

// permanentError marks an error that a retry cannot help. Its text is the
// cause's own: the outcome's class says that it was permanent.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks err as one that a retry cannot help. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether a retry cannot help: err, or an error it wraps,
// came from Permanent or Rejected, or is an *InvalidError.
func IsPermanent(err error) bool {
	var permanent *permanentError
	var invalid *InvalidError
	return errors.As(err, &permanent) || errors.As(err, &invalid) || IsRejected(err)
}

// rejectedError marks an error as this worker's refusal.
type rejectedError struct{ err error }

func (e *rejectedError) Error() string { return e.err.Error() }
func (e *rejectedError) Unwrap() error { return e.err }

// Rejected marks err as a rule of this worker's that the task breaks, as one on what it
// may connect to: permanent, and no word of the service. Rejected(nil) is nil.
func Rejected(err error) error {
	if err == nil {
		return nil
	}
	return &rejectedError{err}
}

// IsRejected reports whether err, or an error it wraps, came from Rejected.
func IsRejected(err error) bool {
	var rejected *rejectedError
	return errors.As(err, &rejected)
}

// ThrottledError is the service's "later". The task is not at fault: it is
// delayed by After and spends no attempt, and its lane learns of it.
type ThrottledError struct {
	After time.Duration
	Err   error // what was answered; may be nil

	told bool // the lane knows already; it need not be the task's own
}

// Told says that this is no news for the task's lane: it knows already, or another lane
// is meant.
func (e *ThrottledError) Told() bool { return e.told }

func (e *ThrottledError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("throttled: again in %v", e.After)
	}
	return fmt.Sprintf("throttled: again in %v: %v", e.After, e.Err)
}

func (e *ThrottledError) Unwrap() error { return e.Err }

// Throttled says that the service asked to be called again after a while. A
// negative time counts as 0, more than 24 h as 24 h.
func Throttled(after time.Duration) error {
	return &ThrottledError{After: clampThrottle(after)}
}

func clampThrottle(after time.Duration) time.Duration {
	return min(max(after, 0), maxThrottle)
}

// AsThrottled returns the ThrottledError in err's tree. A permanent error is
// never throttled, whatever it wraps: who says Permanent has decided. After is
// within 0 and 24 h, also for a ThrottledError not made by Throttled.
func AsThrottled(err error) (*ThrottledError, bool) {
	if err == nil {
		return nil, false // as nearly always, at no cost
	}
	var throttled *ThrottledError
	if IsPermanent(err) || !errors.As(err, &throttled) {
		return nil, false
	}
	clamped := *throttled
	clamped.After = clampThrottle(throttled.After)
	return &clamped, true
}

// overloadedError marks an error as the service's overload.
type overloadedError struct{ err error }

func (e *overloadedError) Error() string { return e.err.Error() }
func (e *overloadedError) Unwrap() error { return e.err }

// Overloaded marks err as the service's overload: it refused the call, or did not
// answer. The task is tried again as after any error; its lane learns of it.
// Overloaded(nil) is nil.
func Overloaded(err error) error {
	if err == nil {
		return nil
	}
	return &overloadedError{err}
}

// IsOverloaded reports whether err, or an error it wraps, came from Overloaded.
func IsOverloaded(err error) bool {
	var overloaded *overloadedError
	return errors.As(err, &overloaded)
}
