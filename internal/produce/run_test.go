package produce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/follow"
	"github.com/weir-tasks/weir/internal/source"
	"github.com/weir-tasks/weir/tasks"
)

func TestEveryOutcomeIsHandedOn(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			both(t, func(t *testing.T, p *place) {
				p.work(5)
				o := p.named()
				o.Ordered = ordered
				var s sink
				b := p.begin(o)
				p.run(b, upTo(40), &s)
				wantEach(t, 40, &s)
				if s.told != 40 {
					t.Errorf("told of %d", s.told)
				}
				if ordered && !slices.IsSortedFunc(s.got, func(a, b *batch.Outcome) int { return int(a.Seq - b.Seq) }) {
					t.Error("not in order")
				}
				if i := p.info(b.Name()); i.Phase != batch.Done || i.OK != 40 || i.Stopped {
					t.Errorf("batch %+v", i)
				}
				p.await("the last one is acked", func() bool { return p.inRedis(b.Name()) == 0 })
			})
		})
	}
}

func TestAnInterruptedBatchIsTakenOutOfRedisAndGoesOn(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			both(t, func(t *testing.T, p *place) {
				o := p.named()
				o.Ordered, o.Window = ordered, 10
				g := p.hold(o.Name, func(n int64) bool { return n%10 == 7 })
				p.work(4)
				first := &sink{}
				run := p.start(p.begin(o), upTo(60), first)
				<-g.waiting
				p.await("the others of the window are handed on", func() bool { return first.len() >= 7 })
				run.interrupt()
				if i := p.info(o.Name); !i.Stopped || i.Phase == batch.GivenUp || p.inRedis(o.Name) != 0 {
					t.Errorf("after the interruption %d tasks are in Redis: %+v", p.inRedis(o.Name), i)
				}
				close(g.open)
				b := p.begin(o)
				if b.Resumed() == nil || p.info(o.Name).Stopped {
					t.Errorf("resumed %+v, now %+v", b.Resumed(), p.info(o.Name))
				}
				second := first.again()
				if second.before < b.Resumed().Given {
					t.Errorf("the ledger says %d were given, the sink had %d", b.Resumed().Given, second.before)
				}
				p.run(b, upTo(60), second)
				wantEach(t, 60, first, second)
				if i := p.info(o.Name); i.Phase != batch.Done || i.OK != 60 {
					t.Errorf("batch %+v", i)
				}
			})
		})
	}
}

// A worker that does not let go is told of, and does not hold the producer up for
// longer than a grace.
func TestAnInterruptedRunTellsWhatStillRuns(t *testing.T) {
	p := real(t)
	o := p.named()
	b := p.begin(o)
	p.work(1)
	var busy atomic.Bool
	release := make(chan struct{})
	handlers.Store(o.Name, func(context.Context, int64) error { busy.Store(true); <-release; return nil })
	t.Cleanup(func() { close(release) })
	run := p.start(b, upTo(5), &sink{})
	p.await("a task runs", busy.Load)
	began := time.Now()
	run.stop(errSignal)
	err := run.wait()
	// Its worker gives it up at last: half a second later it counts as stuck.
	if !errors.Is(err, errSignal) || time.Since(began) > graceToEnd+10*time.Second {
		t.Errorf("ended with %v after %v", err, time.Since(began))
	}
	if n := p.inRedis(o.Name); n != 0 {
		t.Errorf("%d tasks in Redis", n)
	}
}

func TestAReaderWhoHasGoneCancelsTheBatch(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		p.work(4)
		o := p.named()
		o.Window = 20
		s := &sink{fail: func(o *batch.Outcome) error {
			if o.Seq >= 10 {
				return ErrReaderGone
			}
			return nil
		}}
		err := p.start(p.begin(o), &numbers{n: 1 << 40}, s).wait() // | head on an endless source
		if !errors.Is(err, ErrReaderGone) {
			t.Errorf("ended with %v", err)
		}
		if i := p.info(o.Name); i.Phase != batch.GivenUp || !i.Complete() || p.inRedis(o.Name) != 0 {
			t.Errorf("%d tasks in Redis, batch %+v", p.inRedis(o.Name), i)
		}
	})
}

// A reader of the library who leaves ends the context with that cause.
func TestAReaderWhoLeavesCancelsTheBatch(t *testing.T) {
	p := mini(t)
	o := p.named()
	p.work(2)
	s := &sink{}
	run := p.start(p.begin(o), &numbers{n: 1 << 40}, s)
	p.await("an outcome", func() bool { return s.len() > 0 })
	run.stop(ErrReaderGone)
	if err := run.wait(); !errors.Is(err, ErrReaderGone) {
		t.Errorf("ended with %v", err)
	}
	if i := p.info(o.Name); i.Phase != batch.GivenUp || !i.Complete() || p.inRedis(o.Name) != 0 {
		t.Errorf("%d tasks in Redis, batch %+v", p.inRedis(o.Name), i)
	}
}

func TestTheFirstFailureCancelsTheSiblings(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		o := p.named()
		o.FailFast, o.Window = true, 20
		g := p.hold(o.Name, func(n int64) bool { return n > 5 })
		handler, _ := handlers.Load(o.Name)
		handlers.Store(o.Name, func(ctx context.Context, n int64) error {
			if n == 5 {
				select {
				case <-g.waiting:
					return tasks.Permanent(errors.New("five"))
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return handler.(func(context.Context, int64) error)(ctx, n)
		})
		p.work(4)
		var s sink
		p.run(p.begin(o), &numbers{n: 1 << 40}, &s)
		i := p.info(o.Name)
		if i.Phase != batch.GivenUp || !i.Complete() || i.Failed != 1 || i.OK != 5 || p.inRedis(o.Name) != 0 {
			t.Errorf("%d tasks in Redis, batch %+v", p.inRedis(o.Name), i)
		}
		if states := wantEach(t, int(i.N), &s); states[batch.Cancelled] != int(i.N)-6 {
			t.Errorf("states %v", states)
		}
	})
}

// What was read has its outcome, and the batch can be gone on with.
func TestASourcesErrorComesBehindTheOutcomes(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			both(t, func(t *testing.T, p *place) {
				p.work(3)
				o := p.named()
				o.Ordered = ordered
				s := &sink{}
				broken := &numbers{n: 12, end: errors.New("in.gz:13: truncated")}
				b := p.begin(o)
				err := p.start(b, broken, s).wait()
				if !errors.Is(err, feed.ErrInput) || !strings.Contains(err.Error(), "in.gz:13") {
					t.Errorf("ended with %v", err)
				}
				wantEach(t, 12, s)
				if i := p.info(o.Name); i.Phase != batch.Open || !i.Stopped {
					t.Errorf("batch %+v", i)
				}
				b.End()
				rest := s.again()
				p.run(p.begin(o), upTo(20), rest)
				wantEach(t, 20, s, rest)
			})
		})
	}
}

// A source that fails again before it has come to the checkpoint: there is nothing
// new to wait for, in no order.
func TestASourceThatFailsBeforeTheCheckpointEndsTheRun(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			p := mini(t)
			o := p.named()
			o.Ordered = ordered
			g := p.hold(o.Name, func(n int64) bool { return n == 2 })
			p.work(2)
			s := &sink{}
			run := p.start(p.begin(o), upTo(12), s)
			p.await("all but one are done", func() bool { return p.info(o.Name).OK == 11 })
			run.interrupt()
			close(g.open)
			b := p.begin(o)
			rest := s.again()
			err := p.start(b, &numbers{n: 5, end: errors.New("truncated")}, rest).wait()
			if !errors.Is(err, feed.ErrInput) {
				t.Errorf("ended with %v", err)
			}
			b.End()
			last := rest.again()
			p.run(p.begin(o), upTo(12), last)
			wantEach(t, 12, s, rest, last)
		})
	}
}

func TestTooManyFailuresStopTheBatchAfterWhatWasBegun(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.MaxFailures, o.Window = 3, 5
	handlers.Store(o.Name, func(context.Context, int64) error { return tasks.Permanent(errors.New("no")) })
	p.work(2)
	s := &sink{}
	b := p.begin(o)
	if err := p.start(b, &numbers{n: 1 << 40}, s).wait(); !errors.Is(err, feed.ErrTooManyFailures) {
		t.Errorf("ended with %v", err)
	}
	i := p.info(o.Name)
	if i.Phase != batch.Open || !i.Stopped || i.Failed < 3 || i.Failed != i.Next {
		t.Errorf("batch %+v", i)
	}
	wantEach(t, int(i.Next), s)
}

// The input is a terminal at which nobody types.
func TestACancellationFromElsewhereEndsARunThatWaitsForInput(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		o := p.named()
		g := p.hold(o.Name, all)
		p.work(2)
		s := &sink{}
		in := newStdin(t)
		run := p.start(p.begin(o), in, s)
		for range 3 {
			in.lines <- `{"n":1}`
		}
		<-g.waiting
		p.await("all are enqueued", func() bool { return p.info(o.Name).Next == 3 })
		if err := feed.Cancel(t.Context(), p.rdb, p.ledger, o.Name); err != nil {
			t.Fatal(err)
		}
		if err := run.wait(); err != nil {
			t.Errorf("ended with %v", err)
		}
		if states := wantEach(t, 3, s); states[batch.Cancelled] != 3 {
			t.Errorf("states %v", states)
		}
	})
}

// Whoever gave the batch up died before it gave all their outcome.
func TestARunFinishesWhatACancellerLeft(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		o := p.named()
		o.Window = 5
		s := &sink{}
		run := p.start(p.begin(o), upTo(50), s) // there is no worker
		p.await("the window is full", func() bool { return p.info(o.Name).Next == 5 })
		if _, err := p.ledger.GiveUp(t.Context(), o.Name); err != nil {
			t.Fatal(err)
		}
		if err := run.wait(); err != nil {
			t.Errorf("ended with %v", err)
		}
		wantEach(t, 5, s)
		if i := p.info(o.Name); i.Cancelled != 5 || p.inRedis(o.Name) != 0 {
			t.Errorf("%d tasks in Redis, batch %+v", p.inRedis(o.Name), i)
		}
	})
}

// A full disk: the batch stops, and goes on when there is room.
func TestASinkThatFailsStopsTheBatch(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		p.work(3)
		o := p.named()
		o.Window = 10
		s := &sink{fail: func(o *batch.Outcome) error {
			if o.Seq >= 15 {
				return errFull
			}
			return nil
		}}
		b := p.begin(o)
		if err := p.start(b, upTo(40), s).wait(); !errors.Is(err, errFull) {
			t.Errorf("ended with %v", err)
		}
		if i := p.info(o.Name); !i.Stopped || p.inRedis(o.Name) != 0 {
			t.Errorf("%d tasks in Redis, batch %+v", p.inRedis(o.Name), i)
		}
		b.End()
		rest := s.again()
		p.run(p.begin(o), upTo(40), rest)
		wantEach(t, 40, s, rest)
	})
}

// Other input is refused and leaves the batch as it was: stopped, or being worked
// at, or done.
func TestOtherInputLeavesTheBatchAsItWas(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, p *place, o Options, s *sink) {
		t.Helper()
		var input *feed.InputError
		other := upTo(8)
		other.i = 1 // 1 .. 7
		for what, run := range map[string]func(b *Batch) error{
			"run":     func(b *Batch) error { return p.start(b, other, s).wait() },
			"enqueue": func(b *Batch) error { return b.Feed(t.Context(), other) },
		} {
			other.i = 1
			b := p.begin(o)
			if err := run(b); !errors.As(err, &input) {
				t.Errorf("%s ended with %v", what, err)
			}
			b.End()
		}
	}
	t.Run("stopped", func(t *testing.T) {
		both(t, func(t *testing.T, p *place) {
			o := p.named()
			s := &sink{}
			run := p.start(p.begin(o), upTo(8), s)
			p.await("all are enqueued", func() bool { return p.info(o.Name).Phase == batch.Sealed })
			run.interrupt()
			before := p.info(o.Name)
			refused(t, p, o, s)
			if after := p.info(o.Name); *after != *before || !after.Stopped || p.inRedis(o.Name) != 0 {
				t.Errorf("%d tasks in Redis, batch %+v became %+v", p.inRedis(o.Name), before, after)
			}
			p.work(2)
			p.run(p.begin(o), upTo(8), s)
			wantEach(t, 8, s)
		})
	})
	t.Run("being worked at", func(t *testing.T) {
		both(t, func(t *testing.T, p *place) {
			o := p.named()
			b := p.begin(o)
			if err := b.Feed(t.Context(), upTo(8)); err != nil {
				t.Fatal(err)
			}
			b.End()
			before := p.info(o.Name)
			refused(t, p, o, &sink{})
			if after := p.info(o.Name); *after != *before || p.inRedis(o.Name) != 8 {
				t.Errorf("%d tasks in Redis, batch %+v became %+v", p.inRedis(o.Name), before, after)
			}
		})
	})
	t.Run("done", func(t *testing.T) {
		both(t, func(t *testing.T, p *place) {
			p.work(2)
			o := p.named()
			s := &sink{}
			b := p.begin(o)
			p.run(b, upTo(8), s)
			b.End()
			refused(t, p, o, s.again())
			if i := p.info(o.Name); i.Phase != batch.Done || i.Stopped {
				t.Errorf("batch %+v", i)
			}
			b = p.begin(o)
			p.run(b, upTo(8), s.again())
		})
	})
}

// An outcome file that was removed, or cut, cannot be made whole again.
func TestAFileThatLacksOutcomesIsRefused(t *testing.T) {
	p := mini(t)
	p.work(2)
	o := p.named()
	s := &sink{}
	b := p.begin(o)
	p.run(b, upTo(5), s)
	b.End()
	b = p.begin(o)
	var lost *LostOutcomesError
	if err := p.start(b, upTo(5), &sink{before: 3}).wait(); !errors.As(err, &lost) || lost.Given != 5 || lost.Held != 3 {
		t.Errorf("ended with %v", err)
	}
	if err := p.start(b, upTo(5), &sink{before: -1}).wait(); err != nil { // a pipe, which knows nothing
		t.Error(err)
	}
}

// Of a task that takes long, no more than some windows wait to be handed on.
func TestWhatWaitsForItsTurnIsBounded(t *testing.T) {
	p := real(t)
	o := p.named()
	o.Ordered, o.Window = true, 5
	g := p.hold(o.Name, func(n int64) bool { return n == 3 })
	p.work(3)
	s := &sink{}
	run := p.start(p.begin(o), upTo(200), s)
	<-g.waiting
	const most = 3 + unread*5
	p.await("what may be read is read", func() bool { return p.info(o.Name).Next == most })
	p.await("and is done", func() bool { return p.info(o.Name).OK == most-1 })
	p.await("what came before is handed on", func() bool { return s.len() == 3 })
	if next := p.info(o.Name).Next; next != most {
		t.Errorf("checkpoint at %d", next)
	}
	close(g.open)
	if err := run.wait(); err != nil {
		t.Fatal(err)
	}
	wantEach(t, 200, s)
}

// A reader who is slow, not gone: the feeder waits for them too.
func TestASlowReaderHoldsTheFeederUp(t *testing.T) {
	p := real(t)
	o := p.named()
	o.Window = 5
	p.work(3)
	read := make(chan struct{})
	s := &sink{fail: func(o *batch.Outcome) error { <-read; return nil }}
	run := p.start(p.begin(o), upTo(150), s)
	p.await("what may be read is read and done", func() bool { return p.info(o.Name).OK == unread*5 })
	if next := p.info(o.Name).Next; next != unread*5 {
		t.Errorf("checkpoint at %d", next)
	}
	close(read)
	if err := run.wait(); err != nil {
		t.Fatal(err)
	}
	wantEach(t, 150, s)
}

// The outcomes that were handed on in earlier lives do not count as unread.
func TestAResumedBatchIsNotHeldUpByWhatWasRead(t *testing.T) {
	p := real(t)
	o := p.named()
	o.Window = 2
	p.work(3)
	s := &sink{}
	b := p.begin(o)
	broken := &numbers{n: 3 * unread * 2, end: io.ErrUnexpectedEOF}
	if err := p.start(b, broken, s).wait(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	b.End()
	rest := s.again()
	p.run(p.begin(o), upTo(100), rest)
	wantEach(t, 100, s, rest)
}

func TestWindow1BlocksNeitherSide(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		o := p.named()
		o.Window = 1
		o.Retries = 1
		handlers.Store(o.Name, func(ctx context.Context, n int64) error {
			if info, _ := tasks.InfoFrom(ctx); n%3 == 0 && info.Attempt == 1 {
				return errors.New("fails before it is done")
			}
			return nil
		})
		p.work(3)
		s := &sink{}
		p.run(p.begin(o), upTo(12), s)
		wantEach(t, 12, s)
	})
}

func TestABatchThatVanishesEndsTheRun(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		o := p.named()
		o.Window = 5
		run := p.start(p.begin(o), upTo(50), &sink{})
		p.await("the window is full", func() bool { return p.info(o.Name).Next == 5 })
		p.rdb.FlushAll(t.Context())
		if err := run.wait(); !errors.Is(err, batch.ErrNotFound) {
			t.Errorf("ended with %v", err)
		}
		if keys := p.rdb.Keys(t.Context(), "weir:*:batch").Val(); len(keys) > 0 {
			t.Errorf("left in Redis: %v", keys)
		}
	})
}

// What Redis forgets is fed again, from a source that can be read again.
func TestACheckpointThatWasSetBackIsFedAgain(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprint("sealed ", sealed, ", ordered ", ordered), func(t *testing.T) {
				const n = 50
				p := mini(t)
				o := p.named()
				o.Ordered = ordered
				o.Window = map[bool]int64{false: 5, true: 100}[sealed]
				g := p.hold(o.Name, all)
				p.work(2)
				s := &sink{}
				run := p.start(p.begin(o), again{upTo(n)}, s)
				p.await("it is fed", func() bool {
					return p.info(o.Name).Next == min(n, o.Window) && (!sealed || p.info(o.Name).Phase == batch.Sealed)
				})
				key := "weir:{" + o.Name + "}:batch"
				p.rdb.HSet(t.Context(), key, "next", 0, "hash", "", "state", "open")
				p.rdb.HDel(t.Context(), key, "n")
				close(g.open)
				if err := run.wait(); err != nil {
					t.Fatal(err)
				}
				wantEach(t, n, s)
				if i := p.info(o.Name); i.Phase != batch.Done {
					t.Errorf("batch %+v", i)
				}
				p.await("what was enqueued twice is closed", func() bool { return p.inRedis(o.Name) == 0 })
			})
		}
	}
}

// A pipe's records come once: the batch stops, and the same command goes on with it.
func TestACheckpointThatWasSetBackStopsABatchOfAPipe(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Window = 5
	g := p.hold(o.Name, all)
	p.work(2)
	s := &sink{}
	b := p.begin(o)
	run := p.start(b, upTo(50), s)
	p.await("the window is full", func() bool { return p.info(o.Name).Next == 5 })
	p.rdb.HSet(t.Context(), "weir:{"+o.Name+"}:batch", "next", 0, "hash", "")
	close(g.open)
	var rewound *batch.RewoundError
	if err := run.wait(); !errors.As(err, &rewound) || !strings.Contains(err.Error(), "cannot be read a second time") {
		t.Errorf("ended with %v", err)
	}
	if i := p.info(o.Name); !i.Stopped || p.inRedis(o.Name) != 0 {
		t.Errorf("%d tasks in Redis, batch %+v", p.inRedis(o.Name), i)
	}
	b.End()
	rest := s.again() // the same command goes on
	p.run(p.begin(o), upTo(50), rest)
	wantEach(t, 50, s, rest)
}

// Redis is killed and started again while a batch runs: nothing is lost or doubled.
func TestARunOutlivesRedis(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	p := newPlace(t, server.Client())
	o := p.named()
	o.Window = 20
	g := p.hold(o.Name, func(n int64) bool { return n == 30 })
	p.work(4)
	s := &sink{}
	run := p.start(p.begin(o), upTo(300), s)
	<-g.waiting
	server.Restart()
	close(g.open)
	if err := run.wait(); err != nil {
		t.Fatal(err)
	}
	wantEach(t, 300, s)
}

// Feed alone: what is enqueued stays, and somebody else follows.
func TestFeedEnqueuesAndLeaves(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		o := p.named()
		b := p.begin(o)
		if err := b.Feed(t.Context(), upTo(100)); err != nil { // as many as the window is wide
			t.Fatal(err)
		}
		b.End()
		if i := p.info(o.Name); i.Phase != batch.Sealed || p.inRedis(o.Name) != 100 {
			t.Errorf("%d tasks in Redis, batch %+v", p.inRedis(o.Name), i)
		}
	})
}

func TestAnInterruptedFeedLeavesWhatIsEnqueued(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Window = 5
	ctx, cancel := context.WithCancelCause(t.Context())
	b := p.begin(o)
	done := make(chan error, 1)
	go func() { done <- b.Feed(ctx, upTo(20)) }()
	p.await("the window is full", func() bool { return p.info(o.Name).Next == 5 })
	cancel(errSignal)
	if err := <-done; !errors.Is(err, errSignal) {
		t.Errorf("ended with %v", err)
	}
	b.End()
	if i := p.info(o.Name); i.Stopped || p.inRedis(o.Name) != 5 {
		t.Errorf("%d tasks in Redis, batch %+v", p.inRedis(o.Name), i)
	}
	o.Window = 100
	b = p.begin(o)
	if err := b.Feed(t.Context(), upTo(20)); err != nil || p.inRedis(o.Name) != 20 {
		t.Errorf("%v, %d tasks in Redis", err, p.inRedis(o.Name))
	}
}

// The outcome file is exactly once over lives that end in every way.
func TestAnOutcomeFileIsWholeAfterInterruptions(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			p := real(t)
			p.work(3)
			o := p.named()
			o.Window, o.Ordered = 8, ordered
			name := t.TempDir() + "/out.ndjson"
			o.Out = name
			const n = 120
			for life := 1; ; life++ {
				b := p.begin(o)
				file, err := follow.OpenFile(name, b.Resumed() != nil)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				handed := 0
				err = b.Run(ctx, upTo(n), Outcomes{Sink: file, Given: file.Lines, Seen: func(*batch.Outcome, time.Duration) {
					if handed++; handed == 25 {
						cancel(errSignal)
					}
				}})
				cancel(nil)
				file.Close()
				b.End()
				if err == nil {
					if life < 3 {
						t.Errorf("it took %d lives", life)
					}
					break
				}
				if !errors.Is(err, errSignal) {
					t.Fatal(err)
				}
			}
			wantFile(t, name, n, ordered)
		})
	}
}

// While a batch is fed others are told about how many tasks it will have.
func TestOthersAreToldHowManyTasksAreExpected(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		b := p.begin(p.named())
		s := p.start(b, source.Limit(newStdin(t), 1000), &sink{})
		p.await("it is told", func() bool {
			all, err := p.ledger.Expected(t.Context(), []string{b.Name()})
			return err == nil && all[0] != nil && *all[0] == batch.Expected{N: 1000, How: "reading stops there (--limit)"}
		})
		s.interrupt()
	})
}
