package follow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestOutcomesComeAsTheyWereCompleted(t *testing.T) {
	both(t, func(t *testing.T, b *fixture) {
		var sink memory
		var seen []string
		f := New(b.ledger, &sink, Options{Name: "b", Seen: func(o *batch.Outcome, wait time.Duration) error {
			seen = append(seen, fmt.Sprint(o.Seq, " ", wait))
			return nil
		}})
		done := b.start(f)
		b.record(2, 0)
		b.await("they are handed on before the batch ends", func() bool { return f.Given() == 2 && f.Reached() == 2 })
		sink.want(t, "2 0")
		b.record(1)
		b.seal(3)
		if err := wait(t, done); err != nil {
			t.Fatal(err)
		}
		sink.want(t, "2 0 1")
		if sink.committed != 3 || b.inStream() != 0 || b.given() != 3 {
			t.Errorf("%d committed, %d in the stream, %d given", sink.committed, b.inStream(), b.given())
		}
		if got := strings.Join(seen, ", "); got != "2 2ms, 0 0s, 1 1ms" {
			t.Errorf("seen %s", got)
		}
	})
}

func TestOrderedOutcomesWaitForTheirTurn(t *testing.T) {
	both(t, func(t *testing.T, b *fixture) {
		var sink memory
		f := New(b.ledger, &sink, Options{Name: "b", Ordered: true})
		done := b.start(f)
		for _, step := range []struct {
			seqs  []int64
			turn  int64
			given string
		}{
			{[]int64{0, 3, 2}, 1, "0"},
			{[]int64{5, 1}, 4, "0 1 2 3"},
			{[]int64{4}, 6, "0 1 2 3 4 5"},
		} {
			b.record(step.seqs...)
			b.await("its turn", func() bool { return f.Reached() == step.turn })
			sink.want(t, step.given)
			if f.Given() != step.turn {
				t.Errorf("given %d", f.Given())
			}
		}
		b.seal(6)
		if err := wait(t, done); err != nil {
			t.Fatal(err)
		}
		if len(f.waiting) != 0 || b.inStream() != 0 {
			t.Errorf("waiting %v, %d in the stream", f.waiting, b.inStream())
		}
	})
}

func TestOrderedBeginsWithATurn(t *testing.T) {
	b := mini(t)
	b.record(1, 4, 0, 3, 2) // 0 and 1 were handed on in an earlier life, but not trimmed
	b.seal(5)
	var sink memory
	var seen []int64
	f := New(b.ledger, &sink, Options{Name: "b", Ordered: true, From: 2, Given: 2, Seen: func(o *batch.Outcome, _ time.Duration) error {
		seen = append(seen, o.Seq)
		return nil
	}})
	if f.Reached() != 2 || f.Given() != 2 {
		t.Errorf("begins at %d, given %d", f.Reached(), f.Given())
	}
	if err := wait(t, b.start(f)); err != nil {
		t.Fatal(err)
	}
	sink.want(t, "2 3 4")
	if b.inStream() != 0 || b.given() != 5 {
		t.Errorf("%d in the stream, %d given", b.inStream(), b.given())
	}
	// A failure that was handed on before is still one to act upon.
	if got := fmt.Sprint(seen); got != "[1 0 2 3 4]" {
		t.Errorf("seen %s", got)
	}
}

func TestATurnThatNeverComesIsReported(t *testing.T) {
	b := mini(t)
	b.record(1, 2, 0)
	b.seal(3)
	b.rdb.XDel(t.Context(), "weir:{b}:out", b.rdb.XRange(t.Context(), "weir:{b}:out", "-", "+").Val()[2].ID) // 0
	var sink memory
	err := b.follow(&sink, Options{Ordered: true})
	if err == nil || !strings.Contains(err.Error(), "seq 0 is missing from the stream, and 2 later ones wait") {
		t.Errorf("ended with %v", err)
	}
	sink.want(t, "")
	if b.inStream() != 2 {
		t.Errorf("%d in the stream", b.inStream())
	}
}

// More than one read's worth, and while they are recorded.
func TestManyOutcomesComeOnce(t *testing.T) {
	t.Parallel()
	b := newFixture(t, conntest.Server(t).Client())
	const n = 2*readCount + 500
	var sink memory
	done := b.start(New(b.ledger, &sink, Options{Name: "b", Ordered: true}))
	pipe := make(chan int64)
	for range 4 {
		go func() {
			for seq := range pipe {
				o := &batch.Outcome{Seq: seq, State: batch.OK}
				if _, err := b.ledger.Record(context.Background(), "b", o, 0, nil); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for seq := range int64(n) {
		pipe <- (seq + 700) % n
	}
	close(pipe)
	b.seal(n)
	if err := wait(t, done); err != nil {
		t.Fatal(err)
	}
	if len(sink.seqs) != n {
		t.Errorf("%d outcomes", len(sink.seqs))
	}
	for i, seq := range sink.seqs {
		if seq != int64(i) {
			t.Fatalf("outcome %d is of seq %d", i, seq)
		}
	}
}

func TestTheEndComesAlsoWithoutOutcomes(t *testing.T) {
	b := mini(t)
	b.seal(0)
	var sink memory
	if err := b.follow(&sink, Options{}); err != nil {
		t.Error(err)
	}
	if err := b.follow(&sink, Options{}); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestACancelledBatchEndsToo(t *testing.T) {
	both(t, func(t *testing.T, b *fixture) {
		var sink memory
		done := b.start(New(b.ledger, &sink, Options{Name: "b"}))
		b.record(1)
		if err := b.ledger.Checkpoint(t.Context(), "b", 0, 3, "hash"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ledger.GiveUp(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ledger.FillCancelled(t.Context(), "b", func(int64) bool { return false }); err != nil {
			t.Fatal(err)
		}
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
		sink.want(t, "1 0 2")
	})
}

// The end stays in the stream: whoever follows a done batch again sees it.
func TestADoneBatchCanBeFollowedAgain(t *testing.T) {
	both(t, func(t *testing.T, b *fixture) {
		b.record(0, 1)
		b.seal(2)
		for _, want := range []string{"0 1", "", ""} {
			var sink memory
			if err := b.follow(&sink, Options{}); err != nil {
				t.Fatal(err)
			}
			sink.want(t, want)
		}
	})
}

func TestKeepLeavesTheStreamToOthers(t *testing.T) {
	both(t, func(t *testing.T, b *fixture) {
		sinks := make([]memory, 3)
		var done []<-chan error
		for i := range sinks {
			done = append(done, b.start(New(b.ledger, &sinks[i], Options{Name: "b", Keep: true, Ordered: i == 2})))
		}
		b.record(3, 0, 1, 2)
		b.seal(4)
		for i := range sinks {
			if err := wait(t, done[i]); err != nil {
				t.Error(err)
			}
		}
		sinks[0].want(t, "3 0 1 2")
		sinks[1].want(t, "3 0 1 2")
		sinks[2].want(t, "0 1 2 3")
		if b.inStream() != 4 || b.given() != 0 {
			t.Errorf("%d in the stream, %d given", b.inStream(), b.given())
		}
	})
}

// What the sink did not take, or did not commit, stays in the stream.
func TestTheStreamIsTrimmedOnlyAfterTheCommit(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"put", "flush", "commit"} {
		t.Run(op, func(t *testing.T) {
			both(t, func(t *testing.T, b *fixture) {
				b.record(0, 1, 2)
				b.seal(3)
				sink := memory{fail: func(o string) error {
					if o == op {
						return errFull
					}
					return nil
				}}
				if err := b.follow(&sink, Options{}); !errors.Is(err, errFull) {
					t.Errorf("ended with %v", err)
				}
				if b.inStream() != 3 || b.given() != 0 {
					t.Errorf("%d in the stream, %d given", b.inStream(), b.given())
				}
				var healed memory
				if err := b.follow(&healed, Options{}); err != nil {
					t.Fatal(err)
				}
				healed.want(t, "0 1 2")
			})
		})
	}
}

// A sink that has taken two of three when it ends, as a reader who leaves.
func TestAnOutcomeThatWasNotTakenStaysInTheStream(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			b := mini(t)
			b.record(0, 1, 2)
			b.seal(3)
			puts := 0
			sink := memory{fail: func(op string) error {
				if op == "put" {
					if puts++; puts == 3 {
						return errFull
					}
				}
				return nil
			}}
			if err := b.follow(&sink, Options{Ordered: ordered}); !errors.Is(err, errFull) {
				t.Errorf("ended with %v", err)
			}
			if b.inStream() != 1 || b.given() != 2 {
				t.Errorf("%d in the stream, %d given", b.inStream(), b.given())
			}
			var rest memory
			if err := b.follow(&rest, Options{Ordered: ordered, From: b.given(), Given: b.given()}); err != nil {
				t.Fatal(err)
			}
			rest.want(t, "2")
		})
	}
}

// In order of input the stream can be trimmed only up to the oldest that waits.
func TestWhatWaitsForItsTurnStaysInTheStream(t *testing.T) {
	b := mini(t)
	ctx, cancel := context.WithCancel(t.Context())
	f := New(b.ledger, &memory{}, Options{Name: "b", Ordered: true})
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	b.record(0, 1, 9, 2)
	b.await("three are handed on", func() bool { return f.Given() == 3 })
	cancel()
	if err := wait(t, done); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if b.inStream() != 2 || b.given() != 3 {
		t.Errorf("%d in the stream, %d given", b.inStream(), b.given())
	}
}

func TestALongRunCommitsOnItsWay(t *testing.T) {
	b := mini(t)
	var commits atomic.Int64
	sink := memory{fail: func(op string) error {
		if op == "commit" {
			commits.Add(1)
		}
		return nil
	}}
	done := b.start(New(b.ledger, &sink, Options{Name: "b"}))
	b.record(0)
	b.await("the first is trimmed though the batch goes on", func() bool { return b.inStream() == 0 && commits.Load() > 0 })
	b.seal(1)
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
}

func TestTheFeederHearsWhatArrives(t *testing.T) {
	b := mini(t)
	arrived := make(chan struct{}, 100)
	b.start(New(b.ledger, &memory{}, Options{Name: "b", Arrived: func() { arrived <- struct{}{} }}))
	for seq := range int64(2) {
		b.record(seq)
		select {
		case <-arrived:
		case <-time.After(10 * time.Second):
			t.Fatal("heard nothing")
		}
	}
}

func TestAnErrorOfWhoSeesEndsTheFollower(t *testing.T) {
	b := mini(t)
	b.record(0, 1)
	b.seal(2)
	var sink memory
	err := b.follow(&sink, Options{Seen: func(*batch.Outcome, time.Duration) error { return errFull }})
	if !errors.Is(err, errFull) {
		t.Errorf("ended with %v", err)
	}
	sink.want(t, "0")
	if b.inStream() != 1 { // it was handed on
		t.Errorf("%d in the stream", b.inStream())
	}
}

func TestAnInterruptedFollowerCommitsWhatItHandedOn(t *testing.T) {
	both(t, func(t *testing.T, b *fixture) {
		ctx, cancel := context.WithCancelCause(t.Context())
		var sink memory
		f := New(b.ledger, &sink, Options{Name: "b"})
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		b.record(0, 1)
		b.await("both are handed on", func() bool { return f.Given() == 2 })
		cancel(errFull)
		if err := wait(t, done); !errors.Is(err, errFull) {
			t.Errorf("ended with %v", err)
		}
		if sink.committed != 2 || b.inStream() != 0 {
			t.Errorf("%d committed, %d in the stream", sink.committed, b.inStream())
		}
	})
}

func TestABatchThatVanishesIsAnErrorAndNoWaitForEver(t *testing.T) {
	both(t, func(t *testing.T, b *fixture) {
		f := New(b.ledger, &memory{}, Options{Name: "b"})
		done := b.start(f)
		b.record(0)
		b.await("it follows", func() bool { return f.Given() == 1 })
		b.rdb.FlushAll(t.Context())
		if err := wait(t, done); !errors.Is(err, batch.ErrNotFound) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("never there", func(t *testing.T) {
		b := mini(t)
		if err := wait(t, b.start(New(b.ledger, &memory{}, Options{Name: "other"}))); !errors.Is(err, batch.ErrNotFound) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestAServerThatRestartsIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	b := newFixture(t, server.Client())
	var trouble, over atomic.Int64
	var sink memory
	f := New(b.ledger, &sink, Options{Name: "b", Trouble: func(err error, _ time.Duration) {
		if err != nil {
			trouble.Add(1)
		} else {
			over.Add(1)
		}
	}})
	done := b.start(f)
	b.record(0, 1)
	b.await("both are handed on", func() bool { return f.Given() == 2 })
	server.Kill()
	b.await("it notices", func() bool { return trouble.Load() > 0 })
	server.Restart()
	b.await("Redis answers", func() bool { return b.rdb.Ping(t.Context()).Err() == nil })
	b.record(2)
	b.seal(3)
	if err := wait(t, done); err != nil {
		t.Fatal(err)
	}
	sink.want(t, "0 1 2")
	if over.Load() == 0 {
		t.Error("not told that it is over")
	}
}

func TestAnEntryThatIsNoOutcomeIsReported(t *testing.T) {
	b := mini(t)
	b.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "weir:{b}:out", Values: []any{"o", "not JSON", "w", "1"}})
	if err := b.follow(&memory{}, Options{}); err == nil || !strings.Contains(err.Error(), `outcome stream of batch "b", entry`) {
		t.Errorf("ended with %v", err)
	}
	if b.inStream() != 1 {
		t.Error("it was trimmed")
	}
}

// The trim of one commit failed; the last one makes up for it, also when nothing new
// has come.
func TestATrimThatFailedIsMadeUpFor(t *testing.T) {
	b := mini(t)
	b.record(0, 1, 2)
	ctx, cancel := context.WithCancel(t.Context())
	var sink memory
	f := New(b.ledger, &sink, Options{Name: "b"})
	entries, err := f.read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := f.take(e); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := f.commit(ctx); err != nil || b.inStream() != 3 {
		t.Fatalf("%v, %d in the stream", err, b.inStream())
	}
	if err := f.commit(t.Context()); err != nil || b.inStream() != 0 || b.given() != 3 {
		t.Errorf("%v, %d in the stream, %d given", err, b.inStream(), b.given())
	}
}

// A Redis that has lost its last writes has tasks run again whose outcomes were handed
// on: those stand.
func TestOutcomesThatComeAgainAreNotHandedOnAgain(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			b := mini(t)
			var sink memory
			seen := 0
			f := New(b.ledger, &sink, Options{Name: "b", Ordered: ordered, Seen: func(*batch.Outcome, time.Duration) error {
				seen++
				return nil
			}})
			done := b.start(f)
			b.record(0, 1, 3)
			b.await("they are read", func() bool { return f.Given() >= map[bool]int64{false: 3, true: 2}[ordered] })
			for seq := range int64(4) { // the ledger has forgotten them
				b.rdb.SetBit(t.Context(), "weir:{b}:bits:0", seq, 0)
			}
			b.rdb.HSet(t.Context(), "weir:{b}:batch", "ok", 0)
			b.record(1, 3, 0, 2)
			b.seal(4)
			if err := wait(t, done); err != nil {
				t.Fatal(err)
			}
			sink.want(t, map[bool]string{false: "0 1 3 2", true: "0 1 2 3"}[ordered])
			if seen != 4 || b.inStream() != 0 {
				t.Errorf("%d seen, %d in the stream", seen, b.inStream())
			}
		})
	}
}
