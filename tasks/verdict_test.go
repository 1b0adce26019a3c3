package tasks

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestPermanent(t *testing.T) {
	if Permanent(nil) != nil {
		t.Error("Permanent(nil) is not nil")
	}
	cause := errors.New("gone")
	err := fmt.Errorf("look: %w", Permanent(cause))
	if !IsPermanent(err) || !errors.Is(err, cause) || err.Error() != "look: gone" {
		t.Errorf("got %v, permanent %v", err, IsPermanent(err))
	}
	if IsPermanent(cause) || IsPermanent(nil) {
		t.Error("an ordinary error is permanent")
	}
}

func TestThrottled(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{
		-time.Second:    0,
		0:               0,
		time.Minute:     time.Minute,
		100 * time.Hour: 24 * time.Hour,
	} {
		got, ok := AsThrottled(fmt.Errorf("call: %w", Throttled(after)))
		if !ok || got.After != want {
			t.Errorf("Throttled(%v): got %v, %v; want %v", after, got, ok, want)
		}
	}
	if got, ok := AsThrottled(&ThrottledError{After: -1}); !ok || got.After != 0 {
		t.Errorf("a negative time set by hand: got %v, %v", got, ok)
	}
	if _, ok := AsThrottled(errors.New("x")); ok {
		t.Error("an ordinary error is throttled")
	}
	if _, ok := AsThrottled(Permanent(Throttled(time.Second))); ok {
		t.Error("a permanent error is throttled")
	}
}

func TestInfo(t *testing.T) {
	if _, ok := InfoFrom(context.Background()); ok {
		t.Error("info out of nowhere")
	}
	want := Info{ID: "b:7", Batch: "b", Seq: 7, Attempt: 2}
	if got, ok := InfoFrom(WithInfo(context.Background(), want)); !ok || got != want {
		t.Errorf("got %v, %v", got, ok)
	}
}
