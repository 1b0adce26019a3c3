package work

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// says fails the test unless an error has words, or is nil where there are none.
func says(t *testing.T, err error, words string) {
	t.Helper()
	if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
		t.Errorf("%v, want %q", err, words)
	}
}

// A worker is ready from its start to its stop, and alive all the time.
func TestAWorkerIsReadyWhileItTakesTasks(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		f := newFixture(t, c, func(_ context.Context, in payload) (int64, error) { return in.N, nil })
		w, err := New(c, c, f.ledger, Options{Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		says(t, w.Ready(), "not started")
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		says(t, w.Ready(), "")
		says(t, w.Timely(), "")
		if err := w.Stop(); err != nil {
			t.Fatal(err)
		}
		says(t, w.Ready(), "takes nothing new")
		says(t, w.Alive(), "")
	})
}

// One whose slots are all stuck wants a new start; one with a slot left does not.
func TestAWorkerIsAliveWhileASlotIsNotStuck(t *testing.T) {
	t.Parallel()
	c := conntest.Mini(t)
	release := make(chan struct{})
	defer close(release)
	f := newFixture(t, c, func(context.Context, payload) (int64, error) { <-release; return 0, nil })
	short := someOptions
	short.TimeoutMS, short.Retries = 50, 0
	w := f.worker(Options{Concurrency: 2, ShutdownTimeout: time.Millisecond})
	f.batchOf("one", short, job.Type(), 1, "a")
	conntest.Eventually(t, 10*time.Second, "one is stuck", func(context.Context) bool { return w.Stat().Stuck == 1 })
	says(t, w.Alive(), "")
	f.batchOf("two", short, job.Type(), 1, "a")
	conntest.Eventually(t, 10*time.Second, "both are", func(context.Context) bool { return w.Alive() != nil })
	says(t, w.Alive(), "all 2 slots")
}

// A clock that is off by so much that no tasks are taken is told; a bit off is not.
func TestAWorkerIsNotTimelyWhereItsClockIsOff(t *testing.T) {
	t.Parallel()
	c := conntest.Mini(t)
	for off, words := range map[time.Duration]string{5 * time.Second: "", -time.Minute: "no tasks are taken"} {
		f := newFixture(t, c, func(_ context.Context, in payload) (int64, error) { return in.N, nil })
		w := f.worker(Options{Concurrency: 1, Now: func() time.Time { return time.Now().Add(off) }})
		says(t, w.Timely(), words)
		if held := w.Stat().Gate.Held; held != (words != "") {
			t.Errorf("at %v its gate is held: %v", off, held)
		}
	}
}
