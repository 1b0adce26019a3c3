package attempt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
)

// What failed attempts were is remembered beside their task, and tasks that are ok at
// once leave nothing.
func TestFailedAttemptsAreRemembered(t *testing.T) {
	var w *world
	do := func(_ context.Context, in payload) (string, error) {
		if in.N == 0 {
			return "", fmt.Errorf("no.\x1b[2J %d", len(w.ran()))
		}
		return "yes", nil
	}
	inBubble(t, someOptions, func(ctx context.Context, in payload) (string, error) { return do(ctx, in) }, func(t *testing.T, is *world) {
		w = is
		w.deliver(1)
		if n := w.c.Exists(w.ctx, "weir:{b}:tries").Val(); n != 0 {
			t.Error("a task that was ok has left something")
		}
		w.deliver(0)
		tries, err := w.ledger.Tries(w.ctx, "b", 0)
		if err != nil || len(tries) != 2 {
			t.Fatalf("%+v, %v", tries, err)
		}
		for i, try := range tries {
			want := batch.Try{Attempt: i + 1, Worker: w.Name(), Class: batch.Exhausted, Error: fmt.Sprintf("no.\ufffd[2J %d", i+2), MS: try.MS, At: try.At}
			if try != want || time.Since(time.UnixMilli(try.At)) > time.Minute {
				t.Errorf("attempt %d: %+v", i+1, try)
			}
		}
		if all := w.outcomes(); len(all) != 2 || all[1].Attempts != 3 {
			t.Errorf("%+v", all)
		}
		w.wantNothingLeft()
	})
}

// That an attempt cannot be remembered changes nothing of what becomes of its task.
func TestAnAttemptThatCannotBeRememberedIsFollowedByTheNext(t *testing.T) {
	do := func(context.Context, payload) (string, error) { return "", errors.New("no") }
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		w.c.Set(w.ctx, "weir:{b}:tries", "something else", 0)
		if all := w.run(1); len(all) != 1 || all[0].State != batch.Failed || all[0].Attempts != 3 {
			t.Errorf("%+v", all)
		}
		w.wantNothingLeft()
	})
}
