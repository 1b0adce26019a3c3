package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/source"
)

const lane = "square" // a lane no worker serves in these tests

// lines is a source of payloads; one that begins with ! is invalid.
type lines struct {
	records []string
	end     error
	taken   int
}

func (l *lines) Next() (source.Record, error) {
	if l.taken == len(l.records) {
		return source.Record{}, l.end
	}
	r := l.records[l.taken]
	l.taken++
	if strings.HasPrefix(r, "!") {
		return source.Record{Err: fmt.Errorf("in.txt:%d: not a number", l.taken), Raw: []byte(r)}, nil
	}
	return source.Record{Payload: []byte(r), Raw: []byte(r)}, nil
}

func (l *lines) Close() error { return nil }

func numbered(n int) *lines {
	l := &lines{end: io.EOF}
	for i := range n {
		l.records = append(l.records, fmt.Sprintf(`{"n":%d}`, i))
	}
	return l
}

// bench is a batch to feed.
type bench struct {
	t      *testing.T
	rdb    redis.UniversalClient
	ledger *batch.Ledger
	name   string
}

func newBench(t *testing.T, rdb redis.UniversalClient) *bench {
	b := &bench{t, rdb, batch.NewLedger(rdb), "b"}
	if made, err := b.ledger.Create(t.Context(), b.name, batch.Options{Type: "square", Lane: lane, KeepMS: 60_000}); err != nil || !made {
		t.Fatal(made, err)
	}
	return b
}

func (b *bench) feeder(src source.Source, window int64) *Feeder {
	return New(b.rdb, b.ledger, src, Options{
		Name: b.name, TaskType: "square", Lane: lane, Timeout: time.Second,
		Window: func(context.Context) int64 { return window },
	})
}

func (b *bench) info() *batch.Info {
	b.t.Helper()
	i, err := b.ledger.Info(b.t.Context(), b.name)
	if err != nil {
		b.t.Fatal(err)
	}
	return i
}

// pending are the IDs that wait, the next one first.
func (b *bench) pending() []string {
	b.t.Helper()
	ids, err := b.rdb.LRange(b.t.Context(), queue.Pending(lane), 0, -1).Result()
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Reverse(ids)
	return ids
}

func (b *bench) finish(seqs ...int64) {
	b.t.Helper()
	for _, seq := range seqs {
		if _, err := b.ledger.Record(b.t.Context(), b.name, &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1}, 0, nil); err != nil {
			b.t.Fatal(err)
		}
	}
}

func ids(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, batch.TaskID("b", int64(i)))
	}
	return all
}

func TestTasksAreEnqueuedInTheOrderOfInputAndTheBatchIsSealed(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		b := newBench(t, rdb)
		const n = 3*chunk + 7
		if err := b.feeder(numbered(n), 10_000).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.pending(); !slices.Equal(got, ids(0, n)) {
			t.Errorf("%d tasks pending, not the %d in order", len(got), n)
		}
		if i := b.info(); i.Phase != batch.Sealed || i.N != n || i.Next != n {
			t.Errorf("batch is %+v", i)
		}
	})
}

func TestABadRecordGetsItsOutcomeAndStopsNoOther(t *testing.T) {
	b := newBench(t, conntest.Mini(t))
	src := &lines{records: []string{`{"n":0}`, "!x", `{"n":2}`}, end: io.EOF}
	if err := b.feeder(src, 10).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.pending(); !slices.Equal(got, []string{"b:0", "b:2"}) {
		t.Errorf("pending %v", got)
	}
	entries, err := b.ledger.Read(t.Context(), "b", batch.Start, 10, time.Millisecond)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	o, err := batch.ParseOutcome(entries[0].Line)
	if err != nil || o.Seq != 1 || o.Class != batch.Invalid || o.Error != "in.txt:2: not a number" {
		t.Errorf("outcome %+v, %v", o, err)
	}
}

func TestTheWindowIsNeverExceeded(t *testing.T) {
	for _, window := range []int64{1, 7} {
		b := newBench(t, conntest.Mini(t))
		f := b.feeder(numbered(40), window)
		done := make(chan error, 1)
		go func() { done <- f.Run(t.Context()) }()
		for seq := int64(0); seq < 40; seq++ {
			conntest.Eventually(t, 10*time.Second, "the next task is let in", func(context.Context) bool {
				return b.info().Next > seq
			})
			if i := b.info(); i.Next-i.Outcomes() > window {
				t.Fatalf("%d tasks without outcome in a window of %d", i.Next-i.Outcomes(), window)
			}
			b.finish(seq)
			f.Settled()
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheFeederStaysWithinWhatItsReaderHasReached(t *testing.T) {
	b := newBench(t, conntest.Mini(t))
	f := b.feeder(numbered(100), 1000)
	f.opts.Ahead = func() int64 { return 10 }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	conntest.Eventually(t, 10*time.Second, "ten tasks are in", func(context.Context) bool { return b.info().Next == 10 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if next := b.info().Next; next != 10 {
		t.Errorf("checkpoint at %d, past what the reader allows", next)
	}
}

func TestARestartFillsGapsAndEnqueuesNothingTwice(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		b := newBench(t, rdb)
		ctx, cancel := context.WithCancel(t.Context())
		first := b.feeder(numbered(50), 20) // the window stops it at 20
		done := make(chan error, 1)
		go func() { done <- first.Run(ctx) }()
		conntest.Eventually(t, 10*time.Second, "twenty tasks are in", func(context.Context) bool { return b.info().Next == 20 })
		cancel()
		<-done
		// 3 and 4 have outcomes and are gone; 5 was lost; the others still wait.
		b.finish(3, 4)
		for _, id := range []string{"b:3", "b:4", "b:5"} {
			rdb.LRem(t.Context(), queue.Pending(lane), 0, id)
			rdb.Del(t.Context(), queue.TaskPrefix(lane)+id)
		}
		if err := b.feeder(numbered(50), 1000).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := b.pending()
		want := append(ids(0, 3), ids(5, 50)...)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("pending %v", got)
		}
	})
}

func TestOtherInputIsRefused(t *testing.T) {
	b := newBench(t, conntest.Mini(t))
	if err := b.feeder(numbered(30), 1000).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := numbered(30)
	other.records[4] = `{"n":4444}`
	for what, src := range map[string]*lines{"another record": other, "shorter": numbered(29), "longer": numbered(31)} {
		before := len(b.pending())
		var input *InputError
		if err := b.feeder(src, 1000).Run(t.Context()); !errors.As(err, &input) {
			t.Errorf("%s: %v", what, err)
		}
		if what != "another record" && len(b.pending()) != before {
			t.Errorf("%s: tasks were enqueued", what)
		}
	}
	if err := b.feeder(numbered(30), 1000).Run(t.Context()); err != nil {
		t.Errorf("the same input: %v", err)
	}
}

func TestTheSourcesErrorKeepsWhatWasRead(t *testing.T) {
	b := newBench(t, conntest.Mini(t))
	src := numbered(5)
	src.end = errors.New("in.gz:6: the gzip data is truncated")
	err := b.feeder(src, 100).Run(t.Context())
	if !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "in.gz:6") {
		t.Errorf("error %v", err)
	}
	if i := b.info(); i.Next != 5 || i.Phase != batch.Open || len(b.pending()) != 5 {
		t.Errorf("batch %+v, pending %v", i, b.pending())
	}
}

func TestTooManyFailuresPause(t *testing.T) {
	b := newBench(t, conntest.Mini(t))
	src := &lines{end: io.EOF}
	for range 2 * chunk {
		src.records = append(src.records, "!")
	}
	f := b.feeder(src, 100_000)
	f.opts.MaxFailures = 5
	if err := f.Run(t.Context()); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("error %v", err)
	}
}

func TestForgottenScriptsAreLoadedAgain(t *testing.T) {
	b := newBench(t, conntest.Server(t).Client())
	f := b.feeder(numbered(2), 1)
	done := make(chan error, 1)
	go func() { done <- f.Run(t.Context()) }()
	conntest.Eventually(t, 10*time.Second, "the first task is in", func(context.Context) bool { return b.info().Next == 1 })
	b.rdb.ScriptFlush(t.Context())
	b.finish(0)
	if err := <-done; err != nil || b.info().N != 2 {
		t.Errorf("%v, %+v", err, b.info())
	}
}

func TestAServerKilledWhileFeedingIsWaitedFor(t *testing.T) {
	server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	b := newBench(t, server.Client())
	f := b.feeder(numbered(2000), 600)
	done := make(chan error, 1)
	go func() { done <- f.Run(t.Context()) }()
	conntest.Eventually(t, 10*time.Second, "the window is full", func(context.Context) bool { return b.info().Next == 600 })
	server.Kill()
	server.Restart()
	for seq := int64(0); seq < 2000; seq++ {
		for {
			if _, err := b.ledger.Record(t.Context(), "b", &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1}, 0, nil); err == nil {
				break
			}
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if i := b.info(); i.N != 2000 {
		t.Errorf("batch %+v", i)
	}
}

func TestCancelGivesEveryTaskTheOutcomeCancelled(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		b := newBench(t, rdb)
		if err := b.feeder(numbered(700), 1000).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.finish(0, 5)
		for range 2 { // the second finds nothing to do
			if err := Cancel(t.Context(), rdb, b.ledger, "b"); err != nil {
				t.Fatal(err)
			}
			if i := b.info(); i.Phase != batch.GivenUp || i.OK != 2 || i.Cancelled != 698 || len(b.pending()) != 0 {
				t.Fatalf("batch %+v, %d pending", i, len(b.pending()))
			}
		}
		if err := b.feeder(numbered(700), 1000).Run(t.Context()); !errors.Is(err, ErrCancelled) {
			t.Errorf("feeding a cancelled batch: %v", err)
		}
	})
}

func TestADoneBatchStaysDone(t *testing.T) {
	b := newBench(t, conntest.Mini(t))
	if err := b.feeder(numbered(1), 10).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.finish(0)
	if err := Cancel(t.Context(), b.rdb, b.ledger, "b"); err != nil || b.info().Phase != batch.Done {
		t.Errorf("%v, %+v", err, b.info())
	}
}

func TestAStoppedBatchIsOutOfRedisAndGoesOn(t *testing.T) {
	b := newBench(t, conntest.Mini(t))
	if err := b.feeder(numbered(30), 1000).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.finish(1)
	left, err := Stop(t.Context(), b.rdb, b.ledger, "b")
	if err != nil || left != 0 || len(b.pending()) != 0 {
		t.Fatalf("left %d, %v, pending %v", left, err, b.pending())
	}
	if a, _, err := b.ledger.Begin(t.Context(), "b", 7); err != nil || a != batch.Forget {
		t.Errorf("a straggler is answered %v, %v", a, err)
	}
	if err := Resume(t.Context(), b.rdb, b.ledger, "b"); err != nil {
		t.Fatal(err)
	}
	if err := b.feeder(numbered(30), 1000).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(b.pending()); got != 29 {
		t.Errorf("%d tasks pending again, want the 29 without outcome", got)
	}
}
