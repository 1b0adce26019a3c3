package retry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("away")

// failing fails n times and counts its calls.
func failing(n int, err error) (call func() error, calls *int) {
	calls = new(int)
	return func() error {
		if *calls++; *calls <= n {
			return err
		}
		return nil
	}, calls
}

func TestUntilRepeatsUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call, calls := failing(20, errAway)
		var heard []string
		var waited time.Duration
		start := time.Now()
		err := Until(t.Context(), call, func(err error, next time.Duration) {
			heard = append(heard, fmt.Sprint(err))
			waited += next
			if next < 0 || next > 1500*time.Millisecond { // 1 s and its jitter
				t.Errorf("waits %v", next)
			}
		})
		if err != nil || *calls != 21 {
			t.Errorf("%v after %d calls", err, *calls)
		}
		if len(heard) != 21 || heard[0] != "away" || heard[19] != "away" || heard[20] != "<nil>" {
			t.Errorf("heard %q; want 20 failures and the success", heard)
		}
		if took := time.Since(start); took != waited || took < 7*time.Second {
			t.Errorf("took %v, was told to wait %v in all", took, waited)
		}
	})
}

// After a while the waits do not grow any more, but the calls go on: for hours.
func TestUntilDoesNotGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		calls := 0
		err := Until(t.Context(), func() error {
			calls++
			if time.Since(start) < 10*time.Hour {
				return errAway
			}
			return nil
		}, nil)
		if err != nil || calls < 20_000 || calls > 72_000 {
			t.Errorf("%v after %d calls in 10 h", err, calls)
		}
	})
}

func TestUntilDoesNotNotifyOfPlainSuccess(t *testing.T) {
	err := Until(t.Context(), func() error { return nil }, func(err error, _ time.Duration) { t.Errorf("heard %v", err) })
	if err != nil {
		t.Error(err)
	}
}

func TestUntilStopsAtAPermanentError(t *testing.T) {
	call, calls := failing(5, Permanent(fmt.Errorf("it says: %w", errAway)))
	err := Until(t.Context(), call, func(error, time.Duration) { t.Error("notified") })
	if *calls != 1 || !errors.Is(err, errAway) || err.Error() != "it says: away" {
		t.Errorf("%v after %d calls", err, *calls)
	}
}

func TestUntilEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(why) })
		call, _ := failing(1e9, errAway)
		start := time.Now()
		if err := Until(ctx, call, nil); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}
