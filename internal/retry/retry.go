// Package retry repeats calls to Redis until it answers.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Permanent marks an error that repeating cannot mend.
func Permanent(err error) error { return backoff.Permanent(err) }

// Until repeats call, with exponential backoff from 50 ms to 1 s, until it
// succeeds, returns a Permanent error, or ctx ends. notify, if not nil, hears of
// each failure and of the wait before the next try; and, with a nil error, of
// success after failures.
func Until(ctx context.Context, call func() error, notify func(err error, next time.Duration)) error {
	err := call()
	if err == nil {
		return nil // as nearly always: the rest is not needed
	}
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, time.Second
	if notify == nil {
		notify = func(error, time.Duration) {}
	}
	first, failed := true, false
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		if !first {
			err = call()
		}
		first = false
		return struct{}{}, err
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, next time.Duration) {
		failed = true
		notify(err, next)
	}))
	if err == nil && failed {
		notify(nil, 0)
	}
	return err
}
