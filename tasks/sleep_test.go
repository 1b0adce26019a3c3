package tasks

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		got, err := run(t, t.Context(), Sleep, `{"task_number":7,"seconds":1.5}`)
		if err != nil || got != (SleepResult{7, 1.5}) || time.Since(start) != 1500*time.Millisecond {
			t.Errorf("got %v, %v after %v", got, err, time.Since(start))
		}
	})
}

func TestSleepStopsAtTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, err := run(t, ctx, Sleep, `{"task_number":7,"seconds":1000}`)
		if !errors.Is(err, context.DeadlineExceeded) || IsPermanent(err) || time.Since(start) != 10*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestSleepHangs(t *testing.T) {
	for payload, want := range map[string]time.Duration{
		`{"task_number":7,"fail":"hang"}`:              1000 * time.Second,
		`{"task_number":7,"seconds":20,"fail":"hang"}`: 20 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			start := time.Now()
			if _, err := run(t, ctx, Sleep, payload); err != nil || time.Since(start) != want {
				t.Errorf("%s: got %v after %v", payload, err, time.Since(start))
			}
		})
	}
}

func TestSleepFails(t *testing.T) {
	ctx := context.Background()
	if _, err := run(t, ctx, Sleep, `{"task_number":1,"fail":"expected"}`); !IsPermanent(err) {
		t.Errorf("expected: got %v", err)
	}
	if _, err := run(t, ctx, Sleep, `{"task_number":1,"fail":"unexpected"}`); err == nil || IsPermanent(err) {
		t.Errorf("unexpected: got %v", err)
	}
	func() {
		defer func() {
			err, _ := recover().(runtime.Error)
			if err == nil || !strings.Contains(err.Error(), "divide by zero") {
				t.Errorf("panic: got %v", err)
			}
		}()
		_, _ = run(t, ctx, Sleep, `{"task_number":1,"fail":"panic"}`)
	}()
	code := -1
	exit = func(c int) { code = c }
	_, _ = run(t, ctx, Sleep, `{"task_number":1,"fail":"exit"}`)
	if code != 1 {
		t.Errorf("exit: got status %d", code)
	}
}

func TestSeconds(t *testing.T) {
	for s, want := range map[float64]time.Duration{
		0: 0, 0.0015: 1500 * time.Microsecond, 1e300: math.MaxInt64, 9223372036.9: math.MaxInt64, 9e9: 9e18,
	} {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%v) = %d, want %d", s, got, want)
		}
	}
}
