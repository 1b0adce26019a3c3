package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

// The process dies between the enqueue of a chunk and the move of the checkpoint,
// life after life: each gets one chunk further.
func TestAChunkIsEnqueuedBeforeTheCheckpointPassesIt(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		const n = 12
		for life := range 4 {
			ctx, dying := b.dieBefore(2)
			f := New(dying, batch.NewLedger(dying), numbered(n), b.feeder(nil, 100).opts)
			f.opts.Ahead = func() int64 { return f.next + 2 }
			if err := f.Run(ctx); !errors.Is(err, errDied) {
				t.Fatalf("life %d ended with %v", life, err)
			}
			got := b.pending()
			if !slices.Equal(got, ids(0, len(got))) {
				t.Fatalf("after life %d the tasks are %v", life, got)
			}
			if next := b.info().Next; next >= int64(len(got)) {
				t.Fatalf("after life %d the checkpoint is at %d, and %d tasks are there", life, next, len(got))
			}
		}
		b.run(numbered(n), 100)
		b.wantPending(ids(0, n)...)
	})
}

// What ran between the crash and the restart was past the checkpoint: it has its
// outcome, and asynq has forgotten its ID.
func TestWhatRanPastTheCheckpointIsNotEnqueuedAgain(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		ctx, dying := b.dieBefore(1)
		f := b.feeder(numbered(20), 10)
		f.ledger = batch.NewLedger(dying)
		if err := f.Run(ctx); !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		enqueued := len(b.pending())
		if b.info().Next != 0 || enqueued == 0 {
			t.Fatalf("%d tasks enqueued, batch %+v", enqueued, b.info())
		}
		for seq := range enqueued {
			b.done(int64(seq))
		}
		b.run(numbered(20), 20)
		b.wantPending(ids(enqueued, 20)...)
	})
}

// The same where the chunk is read in parts; and what has lost its outcome since, as a
// failover may make it, is enqueued again.
func TestWhatRanPastTheCheckpointIsLookedForInParts(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		ctx, dying := b.dieBefore(1)
		f := b.feeder(nil, 20)
		f.ledger, f.found = batch.NewLedger(dying), b.info()
		if err := f.feed(ctx, nil, records(0, 20)); !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		b.wantPending(ids(0, 20)...)
		b.done(1, 4, 5, 11, 12)
		b.gone(7)
		f = b.feeder(numbered(20), 20)
		f.opts.Ahead = func() int64 {
			if f.next > 0 { // what there was has been looked for
				b.rdb.SetBit(t.Context(), "weir:{b}:bits:0", 12, 0)
			}
			return f.next + 2
		}
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(ids(0, 20), func(id string) bool {
			return slices.Contains([]string{"b:1", "b:4", "b:5", "b:7", "b:11", "b:12"}, id)
		})
		b.wantPending(append(want, "b:7", "b:12")...)
	})
}

func TestAResumedBatchSkipsOutcomesAndFillsGaps(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		src := numbered(20)
		src.records, src.end = src.records[:12], errors.New("the disk is gone")
		if err := b.feeder(src, 100).Run(t.Context()); !errors.Is(err, ErrInput) {
			t.Fatal(err)
		}
		// 3 and 10 are done, 4 and 11 were taken out by hand, 0 is being run.
		b.done(3, 10)
		b.gone(4, 11)
		b.take()
		f := b.feeder(numbered(20), 100)
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := append(ids(1, 3), ids(5, 10)...)
		want = append(want, "b:4", "b:11") // the gaps, behind those that were there
		b.wantPending(append(want, ids(12, 20)...)...)
		if f.Read() != 20 {
			t.Errorf("read %d", f.Read())
		}
	})
}

// Reading up to the checkpoint may take long; those that get their outcome
// meanwhile are no gaps.
func TestAGapThatClosesMeanwhileIsNotFilled(t *testing.T) {
	b := mini(t)
	b.run(numbered(4), 10)
	b.gone(0, 1, 2, 3)
	b.finish(1)
	f := b.feeder(numbered(4), 10)
	f.found = b.info()
	tasks, err := f.number(t.Context(), records(0, 4))
	if err != nil || len(tasks) != 3 {
		t.Fatalf("held %v, %v", tasks, err)
	}
	b.finish(2)
	if err := f.fillGaps(t.Context(), tasks); err != nil {
		t.Fatal(err)
	}
	b.wantPending("b:0", "b:3")
}

// Other input is refused, and leaves nothing behind: no task, no outcome.
func TestOtherInputIsRefused(t *testing.T) {
	t.Parallel()
	const n = 20
	change := func(to ...string) func() *lines {
		return func() *lines {
			l := numbered(n)
			copy(l.records[n-len(to):], to)
			return l
		}
	}
	of := func(n int) func() *lines { return func() *lines { return numbered(n) } }
	cases := []struct {
		what   string
		src    func() *lines
		reason string
	}{
		{"the first record differs", func() *lines { l := numbered(n); l.records[0] = "{}"; return l }, "first 20 records differ"},
		{"the last record differs", change("{}"), "first 20 records differ"},
		{"one is invalid now", change("!"), "first 20 records differ"},
		{"cut at another place", change(`{"n":18}{`, `"n":19}`), "first 20 records differ"},
		{"shorter", of(n - 1), "20 records or more, and now has 19"},
		{"empty", of(0), "20 records or more, and now has 0"},
		// These begin with the same: the gaps are filled with the right tasks.
		{"longer", of(n + 1), "had 20 records, and now has more"},
		{"much longer", of(3 * n), "had 20 records, and now has more"},
	}
	for _, window := range []int64{n, 10 * n} { // with and without room for more
		t.Run(fmt.Sprint("window ", window), func(t *testing.T) {
			both(t, func(t *testing.T, b *bench) {
				b.run(numbered(n), window)
				b.done(0, 11, 12)
				if _, err := Stop(t.Context(), b.rdb, b.ledger, "b", "me"); err != nil { // as an interrupted run leaves it
					t.Fatal(err)
				}
				if err := Resume(t.Context(), b.rdb, b.ledger, "b", "me"); err != nil {
					t.Fatal(err)
				}
				before := b.info()
				for _, c := range cases {
					var input *InputError
					err := wait(t, start(t, b.feeder(c.src(), window)))
					if !errors.As(err, &input) || !strings.Contains(err.Error(), c.reason) {
						t.Errorf("%s: %v", c.what, err)
					}
					if after := b.info(); *after != *before {
						t.Errorf("%s: %+v became %+v", c.what, before, after)
					}
					if got := len(b.outcomes()); got != 3 {
						t.Errorf("%s: %d outcomes", c.what, got)
					}
					if got := len(b.pending()); got != 0 && !strings.Contains(c.what, "longer") {
						t.Errorf("%s: %d tasks were enqueued", c.what, got)
					}
				}
				b.run(numbered(n), window)
				if got := len(b.pending()); got != n-3 {
					t.Errorf("the same input: %d tasks pending, want %d", got, n-3)
				}
			})
		})
	}
}

func TestASourceThatFailsBeforeTheCheckpointEnqueuesNothing(t *testing.T) {
	b := mini(t)
	b.run(numbered(20), 100)
	b.gone(3, 4)
	src := numbered(10)
	src.end = errors.New("no such disk")
	f := b.feeder(src, 100)
	if err := f.Run(t.Context()); !errors.Is(err, ErrInput) {
		t.Errorf("ended with %v", err)
	}
	if got := len(b.pending()); got != 18 || f.Read() != 0 {
		t.Errorf("%d tasks pending, read %d", got, f.Read())
	}
}

// What one life does before it dies: any number of records let in, any of them run
// or lost; whatever the lives were, at the end each seq has one outcome or one task.
func TestLivesOfAFeederAddUp(t *testing.T) {
	t.Parallel()
	rdb := conntest.Mini(t)
	batches := 0
	rapid.Check(t, func(rt *rapid.T) {
		batches++
		b := &bench{t, rdb, batch.NewLedger(rdb), fmt.Sprint("b", batches)}
		if _, err := b.ledger.Create(t.Context(), b.name, batch.Options{Type: "square", Lane: lane, TimeoutMS: 60_000, KeepMS: 60_000}); err != nil {
			rt.Fatal(err)
		}
		defer rdb.Del(t.Context(), queue.Pending(lane))
		n := rapid.IntRange(0, 40).Draw(rt, "records")
		input := func() *lines {
			l := numbered(n)
			for i := range n {
				if i%7 == 3 {
					l.records[i] = "!"
				}
			}
			return l
		}
		for range rapid.IntRange(0, 4).Draw(rt, "lives") {
			reach := rapid.Int64Range(0, int64(n)).Draw(rt, "reach")
			ctx, die := context.WithCancel(t.Context())
			f := b.feeder(input(), 1000)
			f.opts.Ahead = func() int64 {
				if f.next >= reach {
					die()
				}
				return max(reach, f.next)
			}
			_ = f.Run(ctx)
			die()
			for _, id := range b.pending() {
				_, seq, _ := batch.ParseTaskID(id)
				switch rapid.IntRange(0, 2).Draw(rt, "fate") {
				case 0:
					b.done(seq)
				case 1:
					b.gone(seq)
				}
			}
		}
		b.run(input(), 1000)
		seen := make(map[string]int)
		for _, id := range b.pending() {
			seen[id]++
		}
		for _, o := range b.outcomes() {
			seen[batch.TaskID(b.name, o.Seq)]++
		}
		for seq := range int64(n) {
			id := batch.TaskID(b.name, seq)
			if seen[id] != 1 {
				rt.Errorf("%s is there %d times", id, seen[id])
			}
			delete(seen, id)
		}
		if len(seen) > 0 {
			rt.Errorf("besides there are %v", seen)
		}
		if i := b.info(); i.N != int64(n) {
			rt.Errorf("batch %+v", i)
		}
	})
}

// However many records there are to read again, only those without an outcome are
// held, and they are enqueued whole.
func TestOfWhatIsReadAgainLittleIsHeld(t *testing.T) {
	b := real(t)
	const n = 5 * chunk
	b.run(numbered(n), n)
	b.rdb.Del(t.Context(), queue.Pending(lane))
	for seq := range int64(n) {
		if seq%1000 != 0 {
			b.finish(seq)
		}
	}
	f := b.feeder(numbered(n), n)
	f.found = b.info()
	most := 0
	for from := 0; from < n; from += chunk {
		if err := f.feed(t.Context(), nil, records(from, chunk)); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(f.held))
	}
	if most > 3 || f.held != nil {
		t.Errorf("held %d records, and %d at the end", most, len(f.held))
	}
}

// More gaps than a chunk has tasks.
func TestManyGapsAreFilledInOrder(t *testing.T) {
	b := real(t)
	const n = 2*chunk + 100
	b.run(numbered(n), n)
	if _, err := Stop(t.Context(), b.rdb, b.ledger, "b", "me"); err != nil {
		t.Fatal(err)
	}
	b.wantPending()
	if err := Resume(t.Context(), b.rdb, b.ledger, "b", "me"); err != nil {
		t.Fatal(err)
	}
	b.run(numbered(n), n)
	if got := b.pending(); !slices.Equal(got, ids(0, n)) {
		t.Errorf("%d tasks pending, not the %d in order", len(got), n)
	}
}
