package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestCreateMakesABatchOnce(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		i := l.info("b")
		if i.Options != someOptions || i.Phase != Open || i.N != -1 || i.Next != 0 || i.Hash != "" || i.Outcomes() != 0 || i.Complete() {
			t.Errorf("a new batch is %+v", i)
		}
		if age := time.Since(i.Created); age < 0 || age > minute {
			t.Errorf("created %v ago", age)
		}
		other := someOptions
		other.Type = "http"
		if made, err := l.Create(l.ctx, "b", other); err != nil || made {
			t.Errorf("a second Create: %v, %v", made, err)
		}
		if got := l.info("b").Options; got != someOptions {
			t.Errorf("a second Create changed the options to %+v", got)
		}
	})
}

func TestCreateRefusesANameThatWouldMoveItsKeys(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		before := contents(t, l.c)
		for _, name := range []string{"", "a:b", "a}b", "{a", "A"} {
			if _, err := l.Create(l.ctx, name, someOptions); err == nil {
				t.Errorf("made batch %q", name)
			}
		}
		if after := contents(t, l.c); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("it left %v behind", after)
		}
	})
}

func TestOneOfManyCreatesABatch(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		var made atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if ok, err := l.Create(l.ctx, "race", someOptions); err != nil {
					t.Error(err)
				} else if ok {
					made.Add(1)
				}
			})
		}
		all.Wait()
		if made.Load() != 1 {
			t.Errorf("made %d times", made.Load())
		}
	})
}

func TestABatchThatIsNotThere(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		before := contents(t, l.c)
		_, err := l.Info(l.ctx, "no")
		wantNotFound(t, "Info", err)
		_, _, err = l.Snapshot(l.ctx, "no", []int64{1})
		wantNotFound(t, "Snapshot", err)
		_, err = l.Record(l.ctx, "no", outcome(0, Failed), unknown, []byte(`{}`))
		wantNotFound(t, "Record", err)
		_, err = l.Seal(l.ctx, "no")
		wantNotFound(t, "Seal", err)
		_, err = l.GiveUp(l.ctx, "no")
		wantNotFound(t, "GiveUp", err)
		_, err = l.FillCancelled(l.ctx, "no", nil)
		wantNotFound(t, "FillCancelled", err)
		if a, _, err := l.Begin(l.ctx, "no", 0); a != NoBatch || err != nil {
			t.Errorf("Begin: %v, %v", a, err)
		}
		var rewound *RewoundError
		if err := l.Checkpoint(l.ctx, "no", 0, 1, ""); !errors.As(err, &rewound) || rewound.Next != -1 || !strings.Contains(err.Error(), "gone") {
			t.Errorf("Checkpoint: %v", err)
		}
		if entries, err := l.Read(l.ctx, "no", Start, 10, 0); err != nil || len(entries) != 0 {
			t.Errorf("Read: %v, %v", entries, err)
		}
		if after := contents(t, l.c); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("asking after it made %v", after)
		}
	})
}

func TestANewerFormatIsRefused(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.c.HSet(l.ctx, batchKey("b"), "format", Format+1)
		_, err := l.Info(l.ctx, "b")
		if err == nil || !strings.Contains(err.Error(), "newer weir") || errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestListIsNewestFirstAndForgetsTheGone(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for n, name := range []string{"x", "y", "z"} {
			l.create(name)
			l.c.ZAdd(l.ctx, indexKey, redis.Z{Score: float64(time.Now().UnixMilli() + int64(n+1)*1000), Member: name})
		}
		l.c.Del(l.ctx, batchKey("y"))
		all, err := l.List(l.ctx)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, i := range all {
			names = append(names, i.Name)
		}
		if want := []string{"z", "x", "b"}; !slices.Equal(names, want) {
			t.Errorf("listed %v, want %v", names, want)
		}
		if n := l.c.ZCard(l.ctx, indexKey).Val(); n != 3 {
			t.Errorf("the index still has %d names", n)
		}
	})
}

// Between the two writes of a Create somebody may list: what he finds must not
// cost the batch its place in the index.
func TestAListDuringCreateDoesNotHideTheBatch(t *testing.T) {
	t.Parallel()
	c := conntest.Mini(t)
	l := newFixture(t, c)
	lister := NewLedger(c)
	var listing atomic.Bool
	c.AddHook(after{func(cmd redis.Cmder) error {
		if listing.CompareAndSwap(false, true) {
			if _, err := lister.List(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return nil
	}})
	l.create("new")
	all, err := l.List(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("listed %d batches, %v; want 2", len(all), err)
	}
}

// after is a hook that acts after each command, and may swallow its reply.
type after struct {
	do func(redis.Cmder) error
}

func (h after) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h after) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil {
			return err
		}
		if err := h.do(cmd); err != nil {
			cmd.SetErr(err)
			return err
		}
		return nil
	}
}
func (h after) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestBeginAnswers(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.begin(0, Run)
		if _, o, _ := l.Begin(l.ctx, "b", 0); o.Options == nil || *o.Options != someOptions || o.Left >= 0 {
			t.Errorf("came with options %+v", o)
		}
		l.begin(99, Run) // not passed by the checkpoint yet: it is enqueued before that
		l.record(0, OK)
		l.begin(0, HasOutcome)
		l.checkpoint(0, 2)
		if err := l.SetStopped(l.ctx, "b", "me", true); err != nil {
			t.Fatal(err)
		}
		l.begin(0, HasOutcome)
		l.begin(1, Forget)
		if err := l.SetStopped(l.ctx, "b", "me", false); err != nil {
			t.Fatal(err)
		}
		l.begin(1, Run)
		p, err := l.GiveUp(l.ctx, "b")
		l.ended(p, err, GivenUp)
		l.begin(0, HasOutcome)
		l.begin(1, IsCancelled)
		l.begin(2, Forget) // the batch ended before it
		_ = l.SetStopped(l.ctx, "b", "me", true)
		l.begin(1, IsCancelled) // cancelled is for good, stopped is not
	})
}

func TestTheFirstOutcomeStays(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		states := []State{OK, Failed, Cancelled}
		for seq, s := range states {
			l.record(int64(seq), s)
		}
		before := contents(t, l.c)
		for seq := range states {
			for _, s := range states {
				first, err := l.Record(l.ctx, "b", outcome(int64(seq), s), unknown, []byte(`{"x":1}`))
				if err != nil || first {
					t.Errorf("a second outcome, %s, of %d: first %v, %v", s, seq, first, err)
				}
			}
		}
		if after := contents(t, l.c); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("second outcomes changed\n%v\nto\n%v", before, after)
		}
		i := l.info("b")
		if i.OK != 1 || i.Failed != 1 || i.Cancelled != 1 {
			t.Errorf("counted %+v", i)
		}
	})
}

func TestOneOfManyWritersIsFirst(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		const tasks, writers = 20, 6
		l.checkpoint(0, tasks)
		p, err := l.Seal(l.ctx, "b")
		l.ended(p, err, Sealed)
		var firsts [tasks]atomic.Int64
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for seq := range int64(tasks) {
					first, err := l.Record(l.ctx, "b", outcome(seq, []State{OK, Failed, Cancelled}[w%3]), unknown, nil)
					if err != nil {
						t.Error(err)
					} else if first {
						firsts[seq].Add(1)
					}
				}
			})
		}
		all.Wait()
		for seq := range firsts {
			if n := firsts[seq].Load(); n != 1 {
				t.Errorf("%d writers of seq %d were told they were first", n, seq)
			}
		}
		i := l.info("b")
		if i.Outcomes() != tasks || i.Phase != Done {
			t.Errorf("ended as %+v", i)
		}
		if dead, _ := l.DeadLetters(l.ctx, "b"); dead != i.Failed {
			t.Errorf("%d dead letters of %d failed", dead, i.Failed)
		}
		if got := l.stream(); len(got) != tasks+1 || got[tasks] != "end" {
			t.Errorf("the stream has %d entries and ends with %q", len(got), got[len(got)-1])
		}
	})
}

// Whichever comes last, the last outcome or the end of the source, finds the
// batch complete: once.
func TestABatchIsDoneInWhateverOrderItEnds(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for _, end := range []string{"seal", "give up"} {
			for n, order := range permutations("0", "1", "2", "checkpoint", end) {
				if slices.Index(order, "checkpoint") > slices.Index(order, end) {
					continue
				}
				name := fmt.Sprintf("%s-%d", strings.ReplaceAll(end, " ", ""), n)
				l.create(name)
				endIn(l, name, order)
				i := l.info(name)
				want := map[string]Phase{"seal": Done, "give up": GivenUp}[end]
				if i.Phase != want || !i.Complete() || i.N != 3 || i.OK != 1 || i.Failed != 1 || i.Cancelled != 1 {
					t.Fatalf("%v: %+v", order, i)
				}
				entries, err := l.Read(l.ctx, name, Start, 10, 0)
				if err != nil || len(entries) != 4 || entries[0].End || entries[1].End || entries[2].End || !entries[3].End {
					t.Fatalf("%v: the stream is %+v, %v", order, entries, err)
				}
				for _, key := range keysOf(t, l.c, name) {
					if left := l.c.PTTL(l.ctx, key).Val(); left <= 0 || left > minute {
						t.Fatalf("%v: key %s goes in %v", order, key, left)
					}
				}
			}
		}
	})
}

func endIn(l *fixture, name string, order []string) {
	l.t.Helper()
	for _, step := range order {
		var err error
		switch step {
		case "checkpoint":
			err = l.Checkpoint(l.ctx, name, 0, 3, "")
		case "seal":
			_, err = l.Seal(l.ctx, name)
		case "give up":
			_, err = l.GiveUp(l.ctx, name)
		default:
			seq := int64(step[0] - '0')
			_, err = l.Record(l.ctx, name, outcome(seq, []State{OK, Failed, Cancelled}[seq]), unknown, []byte(`{}`))
		}
		if err != nil {
			l.t.Fatalf("%v: %s: %v", order, step, err)
		}
	}
}

func permutations(of ...string) (all [][]string) {
	if len(of) < 2 {
		return [][]string{of}
	}
	for i := range of {
		rest := slices.Delete(slices.Clone(of), i, i+1)
		for _, p := range permutations(rest...) {
			all = append(all, append([]string{of[i]}, p...))
		}
	}
	return all
}

func TestAnEmptyBatchIsDoneWhenItIsSealed(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		p, err := l.Seal(l.ctx, "b")
		l.ended(p, err, Done)
		if i := l.info("b"); !i.Complete() || i.N != 0 {
			t.Errorf("%+v", i)
		}
		if got := l.stream(); join(got) != "end" {
			t.Errorf("the stream is %v", got)
		}
		l.create("c")
		p, err = l.GiveUp(l.ctx, "c")
		l.ended(p, err, GivenUp)
		if i := l.info("c"); !i.Complete() || i.N != 0 {
			t.Errorf("%+v", i)
		}
	})
}

func TestEndsThatComeTooLate(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.checkpoint(0, 1)
		p, err := l.Seal(l.ctx, "b")
		l.ended(p, err, Sealed)
		p, err = l.Seal(l.ctx, "b")
		l.ended(p, err, Sealed)
		l.record(0, OK)
		p, err = l.GiveUp(l.ctx, "b")
		l.ended(p, err, Done) // what is done stays done
		p, err = l.Seal(l.ctx, "b")
		l.ended(p, err, Done)
		if got := l.stream(); join(got) != "0 ok, end" {
			t.Errorf("the stream is %v", got)
		}

		l.create("c")
		if err := l.Checkpoint(l.ctx, "c", 0, 2, ""); err != nil {
			t.Fatal(err)
		}
		p, err = l.Seal(l.ctx, "c")
		l.ended(p, err, Sealed)
		p, err = l.GiveUp(l.ctx, "c")
		l.ended(p, err, GivenUp)
		p, err = l.Seal(l.ctx, "c")
		l.ended(p, err, GivenUp)
		if i := l.info("c"); i.N != 2 || i.Complete() {
			t.Errorf("%+v", i)
		}
	})
}

func TestTheCheckpointMovesByCompareAndSet(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.checkpoint(0, 5)
		if i := l.info("b"); i.Next != 5 || i.Hash != "hash5" {
			t.Errorf("it stands at %d, hash %q", i.Next, i.Hash)
		}
		l.checkpoint(0, 5) // again: its reply was lost
		l.checkpoint(5, 5)
		for _, from := range []int64{0, 4, 6} {
			var rewound *RewoundError
			err := l.Checkpoint(l.ctx, "b", from, 9, "other")
			if !errors.As(err, &rewound) || rewound.Next != 5 || rewound.Phase != Open || rewound.Name != "b" {
				t.Errorf("from %d: %v", from, err)
			}
		}
		if i := l.info("b"); i.Next != 5 || i.Hash != "hash5" {
			t.Errorf("refused, it moved to %d, hash %q", i.Next, i.Hash)
		}
		p, err := l.GiveUp(l.ctx, "b")
		l.ended(p, err, GivenUp)
		var rewound *RewoundError
		if err := l.Checkpoint(l.ctx, "b", 5, 9, ""); !errors.As(err, &rewound) || rewound.Phase != GivenUp {
			t.Errorf("of a cancelled batch: %v", err)
		}
	})
}

func TestADoneBatchGoesAfterItsTime(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		o := someOptions
		o.KeepMS = 80
		if _, err := l.Create(l.ctx, "brief", o); err != nil {
			t.Fatal(err)
		}
		if err := l.AddLane(l.ctx, "brief", "slow"); err != nil {
			t.Fatal(err)
		}
		endIn(l, "brief", []string{"checkpoint", "0", "1"})
		for _, key := range keysOf(t, l.c, "brief") {
			if left := l.c.PTTL(l.ctx, key).Val(); left != -1 {
				t.Errorf("before its end key %s goes in %v", key, left)
			}
		}
		endIn(l, "brief", []string{"2", "seal"})
		conntest.Eventually(t, 10*time.Second, "its keys are gone", func(context.Context) bool {
			return len(keysOf(t, l.c, "brief")) == 0
		})
		all, err := l.List(l.ctx)
		if err != nil || len(all) != 1 || all[0].Name != "b" {
			t.Errorf("listed %v, %v", all, err)
		}
	})
}

// The worker that recorded the last outcome died before it set the expiry.
func TestListGivesACompleteBatchItsExpiry(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		endIn(l, "b", []string{"0", "1", "2", "checkpoint", "seal"})
		for _, key := range keysOf(t, l.c, "b") {
			l.c.Persist(l.ctx, key)
		}
		l.create("open")
		if _, err := l.List(l.ctx); err != nil {
			t.Fatal(err)
		}
		for _, key := range keysOf(t, l.c, "b") {
			if left := l.c.PTTL(l.ctx, key).Val(); left <= 0 {
				t.Errorf("key %s goes in %v", key, left)
			}
		}
		if left := l.c.PTTL(l.ctx, batchKey("open")).Val(); left != -1 {
			t.Errorf("an open batch goes in %v", left)
		}
		// Cancelling or listing it later does not make it stay longer.
		l.c.PExpire(l.ctx, batchKey("b"), 30*time.Second)
		if _, err := l.GiveUp(l.ctx, "b"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.List(l.ctx); err != nil {
			t.Fatal(err)
		}
		if left := l.c.PTTL(l.ctx, batchKey("b")).Val(); left > 30*time.Second {
			t.Errorf("it now goes in %v", left)
		}
	})
}

// What a program writes to a batch that has just expired is no batch.
func TestRemainsOfABatchAreNoBatch(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.c.HSet(l.ctx, batchKey("remains"), "given", 7)
		l.c.ZAdd(l.ctx, indexKey, redis.Z{Score: 1, Member: "remains"})
		_, err := l.Info(l.ctx, "remains")
		wantNotFound(t, "Info", err)
		_, _, err = l.Snapshot(l.ctx, "remains", nil)
		wantNotFound(t, "Snapshot", err)
		if all, err := l.List(l.ctx); err != nil || len(all) != 1 {
			t.Errorf("listed %v, %v", all, err)
		}
	})
}

func TestDeadLettersKeepThePayload(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for seq, c := range []struct{ payload, kept string }{
			{`{"url": "http://x", "n": 1}`, `{"url":"http://x","n":1}`},
			{"plain text", `"plain text"`},
			{"bad \xff\xfe text", "\"bad \uFFFD text\""},
			{"{\"a\":\"\xff\"}", "{\"a\":\"\uFFFD\"}"},
			{"", ``},
			{"{\n\"a\":\n1}", `{"a":1}`},
		} {
			if _, err := l.Record(l.ctx, "b", outcome(int64(seq), Failed), unknown, []byte(c.payload)); err != nil {
				t.Fatalf("payload %q: %v", c.payload, err)
			}
			raw := l.c.HGet(l.ctx, deadKey("b"), fmt.Sprint(seq)).Val()
			o, err := ParseOutcome([]byte(raw))
			if err != nil || string(o.Payload) != c.kept || o.Class != Permanent || o.Error != "no" || o.Seq != int64(seq) {
				t.Errorf("payload %q is kept as %s (%v)", c.payload, raw, err)
			}
		}
		l.record(100, OK)
		l.record(101, Cancelled)
		if n, err := l.DeadLetters(l.ctx, "b"); n != 6 || err != nil {
			t.Errorf("%d dead letters, %v; want those of the 6 failed", n, err)
		}
		for _, e := range l.read() {
			if strings.Contains(string(e.Line), "payload") || strings.Contains(string(e.Line), "\n") {
				t.Errorf("line %q", e.Line)
			}
		}
	})
}

// No payload, whoever put it there, may keep a task from getting its outcome.
func TestAnyPayloadCanBeRecorded(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for seq, payload := range []string{"", "\xff\xfe", "{", "nul", "a\nb", "{\"a\":\"\xc3\"}", "\x00"} {
			o := outcome(int64(seq), []State{OK, Failed}[seq%2])
			o.Payload = json.RawMessage(payload)
			if _, err := l.Record(l.ctx, "b", o, unknown, []byte(payload)); err != nil {
				t.Errorf("payload %q: %v", payload, err)
			}
		}
		for _, e := range l.read() {
			if !json.Valid(e.Line) || strings.Contains(string(e.Line), "\n") || strings.ToValidUTF8(string(e.Line), "") != string(e.Line) {
				t.Errorf("line %q", e.Line)
			}
		}
	})
}

func (l *fixture) read() []Entry {
	l.t.Helper()
	entries, err := l.Read(l.ctx, "b", Start, 1000, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	return entries
}

func TestRetriesAreCounted(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for seq, attempts := range []int{0, 1, 4, 2} {
			o := outcome(int64(seq), OK)
			o.Attempts = attempts
			if _, err := l.Record(l.ctx, "b", o, unknown, nil); err != nil {
				t.Fatal(err)
			}
		}
		if i := l.info("b"); i.Retries != 3+1 {
			t.Errorf("counted %d retries, want 4", i.Retries)
		}
	})
}

// What a producer has sent to stop its batch may come when another feeds it.
func TestOnlyItsProducerStopsABatch(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		if holder, err := l.Lease(l.ctx, "b", "another", "", time.Minute); err != nil || holder != "" {
			t.Fatal(holder, err)
		}
		for _, stopped := range []bool{true, false} {
			if err := l.SetStopped(l.ctx, "b", "me", stopped); !errors.Is(err, ErrNotItsProducer) {
				t.Errorf("set to %v: %v", stopped, err)
			}
			if i := l.info("b"); i.Stopped == stopped {
				t.Errorf("somebody else set it to %v", stopped)
			}
			if err := l.SetStopped(l.ctx, "b", "another", true); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Release(l.ctx, "b", "another"); err != nil {
			t.Fatal(err)
		}
		if err := l.SetStopped(l.ctx, "b", "me", false); !errors.Is(err, ErrNotItsProducer) || !l.info("b").Stopped {
			t.Errorf("after another has let it go: %v", err)
		}
		if err := l.SetStopped(l.ctx, "b", "another", false); err != nil || l.info("b").Stopped {
			t.Errorf("by the last producer: %v", err)
		}
		if err := l.SetStopped(l.ctx, "none", "me", true); !errors.Is(err, ErrNotFound) || l.rdb.Exists(l.ctx, batchKey("none")).Val() != 0 {
			t.Errorf("of no batch: %v", err)
		}
	})
}

func TestStoppedIsAMarkThatGoes(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for _, stopped := range []bool{true, true, false, false} {
			if err := l.SetStopped(l.ctx, "b", "me", stopped); err != nil {
				t.Fatal(err)
			}
			if i := l.info("b"); i.Stopped != stopped || i.Phase != Open {
				t.Errorf("set to %v: %+v", stopped, i)
			}
		}
	})
}

func TestLanesAreNotedOnce(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for _, lane := range []string{"a", "b", "a"} {
			if err := l.AddLane(l.ctx, "b", lane); err != nil {
				t.Fatal(err)
			}
		}
		lanes, err := l.Lanes(l.ctx, "b")
		slices.Sort(lanes)
		if err != nil || !slices.Equal(lanes, []string{"a", "b"}) {
			t.Errorf("lanes %v, %v", lanes, err)
		}
	})
}

func TestABatchHasOneProducer(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for n, step := range []struct{ id, dead, holder string }{
			{"a", "", ""},
			{"a", "", ""}, // renewed
			{"b", "", "a"},
			{"b", "c", "a"}, // another's death does not matter
			{"b", "a", ""},  // a is known to be dead
			{"a", "", "b"},
		} {
			if holder, err := l.Lease(l.ctx, "b", step.id, step.dead, minute); err != nil || holder != step.holder {
				t.Fatalf("step %d: holder %q, %v; want %q", n, holder, err, step.holder)
			}
		}
		if left, err := l.LeaseLeft(l.ctx, "b"); err != nil || left <= 50*time.Second || left > minute {
			t.Errorf("the lease lasts %v, %v", left, err)
		}
		if err := l.Release(l.ctx, "b", "a"); err != nil {
			t.Fatal(err)
		}
		if holder, _ := l.Lease(l.ctx, "b", "a", "", minute); holder != "b" {
			t.Errorf("a released b's lease: holder %q", holder)
		}
		if err := l.Release(l.ctx, "b", "b"); err != nil {
			t.Fatal(err)
		}
		if holder, _ := l.Lease(l.ctx, "b", "a", "", 50*time.Millisecond); holder != "" {
			t.Errorf("released, it is held by %q", holder)
		}
		conntest.Eventually(t, 10*time.Second, "the lease runs out", func(ctx context.Context) bool {
			holder, err := l.Lease(ctx, "b", "b", "", minute)
			return err == nil && holder == ""
		})
	})
}

func TestADiscardedBatchLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		if err := l.AddLane(l.ctx, "b", "a"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := l.Discard(l.ctx, "b"); err != nil {
				t.Fatal(err)
			}
		}
		if left := contents(t, l.c); len(left) != 0 {
			t.Errorf("it left %v", left)
		}
		l.create("b")
	})
}

func TestErrorsOfRedisComeWithTheBatch(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	l := newFixture(t, server.Client())
	server.Kill()
	for what, err := range l.everything() {
		if err == nil || !strings.Contains(err.Error(), "b") || errors.Is(err, ErrNotFound) {
			t.Errorf("%s without a Redis: %v", what, err)
		}
		var rewound *RewoundError
		if errors.As(err, &rewound) {
			t.Errorf("%s without a Redis takes that for an answer: %v", what, err)
		}
	}
}

// everything calls each method and returns its error.
func (l *fixture) everything() map[string]error {
	errs := make(map[string]error)
	_, errs["create"] = l.Create(l.ctx, "b", someOptions)
	_, errs["info"] = l.Info(l.ctx, "b")
	_, errs["list"] = l.List(l.ctx)
	_, _, errs["begin"] = l.Begin(l.ctx, "b", 0)
	_, errs["record"] = l.Record(l.ctx, "b", outcome(0, OK), unknown, nil)
	errs["checkpoint"] = l.Checkpoint(l.ctx, "b", 0, 1, "")
	_, errs["seal"] = l.Seal(l.ctx, "b")
	_, errs["give up"] = l.GiveUp(l.ctx, "b")
	errs["stop"] = l.SetStopped(l.ctx, "b", "me", true)
	errs["add lane"] = l.AddLane(l.ctx, "b", "x")
	_, errs["lanes"] = l.Lanes(l.ctx, "b")
	_, errs["dead letters"] = l.DeadLetters(l.ctx, "b")
	_, errs["lease"] = l.Lease(l.ctx, "b", "me", "", minute)
	_, errs["lease left"] = l.LeaseLeft(l.ctx, "b")
	errs["release"] = l.Release(l.ctx, "b", "me")
	errs["discard"] = l.Discard(l.ctx, "b")
	_, errs["have"] = l.Have(l.ctx, "b", 0, 1)
	_, _, errs["snapshot"] = l.Snapshot(l.ctx, "b", []int64{1})
	_, errs["fill"] = l.FillCancelled(l.ctx, "b", nil)
	_, errs["read"] = l.Read(l.ctx, "b", Start, 1, 0)
	errs["trim"] = l.Trim(l.ctx, "b", "1-1", 1)
	errs["announce"] = l.Announce(l.ctx, "b", EndStopped)
	return errs
}

// A batch may be given up while tasks beyond its checkpoint have run already: they count.
func TestGivingUpCountsWhatTheCheckpointHasNotPassed(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.checkpoint(0, 2)
		for _, seq := range []int64{1, 4} {
			if first, err := l.Record(l.ctx, "b", outcome(seq, OK), unknown, nil); !first || err != nil {
				t.Fatal(first, err)
			}
		}
		p, err := l.GiveUp(l.ctx, "b")
		l.ended(p, err, GivenUp)
		if i := l.info("b"); i.N != 5 || i.Next != 5 {
			t.Errorf("%d tasks, checkpoint %d", i.N, i.Next)
		}
		l.begin(3, IsCancelled)
		l.begin(5, Forget)
		before := contents(t, l.c)
		if first, err := l.Record(l.ctx, "b", outcome(5, OK), unknown, nil); first || err != nil {
			t.Errorf("what began before the end was known, behind it: recorded %v, %v", first, err)
		}
		if after := contents(t, l.c); !maps.Equal(before, after) {
			t.Errorf("it changed\n%v into\n%v", before, after)
		}
		if n, err := l.FillCancelled(l.ctx, "b", func(int64) bool { return false }); n != 3 || err != nil {
			t.Errorf("filled %d, %v", n, err)
		}
		if i := l.info("b"); !i.Complete() || i.OK != 2 || i.Cancelled != 3 {
			t.Errorf("%+v", i)
		}
	})
}

func TestAPausedBatchAdmitsNobody(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for _, paused := range []bool{true, true, false, false} {
			if err := l.SetPaused(l.ctx, "b", paused); err != nil || l.info("b").Paused != paused {
				t.Errorf("%v, %+v", err, l.info("b"))
			}
			l.begin(0, map[bool]Admission{true: IsPaused, false: Run}[paused])
		}
		l.record(0, OK)
		if err := l.SetPaused(l.ctx, "b", true); err != nil {
			t.Fatal(err)
		}
		l.begin(0, HasOutcome)
		p, err := l.GiveUp(l.ctx, "b")
		l.ended(p, err, GivenUp)
		l.begin(0, HasOutcome)
	})
}

func TestADeadlinePasses(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		o := someOptions
		o.DeadlineMS = 400
		if _, err := l.Create(l.ctx, "brief", o); err != nil {
			t.Fatal(err)
		}
		left, ok, err := l.Left(l.ctx, "brief")
		if !ok || err != nil || left > 401*time.Millisecond || left <= 0 {
			t.Errorf("%v left, %v, %v", left, ok, err)
		}
		if a, terms, err := l.Begin(l.ctx, "brief", 0); a != Run || err != nil || terms.Left > 401*time.Millisecond || terms.Left <= 0 {
			t.Errorf("%v, %+v, %v", a, terms, err)
		}
		conntest.Eventually(t, 10*time.Second, "it passes", func(ctx context.Context) bool {
			a, _, err := l.Begin(ctx, "brief", 0)
			return err == nil && a == HasExpired
		})
		if left, ok, err := l.Left(l.ctx, "brief"); !ok || err != nil || left > 0 {
			t.Errorf("%v left, %v, %v", left, ok, err)
		}
		if _, ok, err := l.Left(l.ctx, "b"); ok || err != nil {
			t.Errorf("a batch without one has a deadline: %v", err)
		}
	})
}

func TestWhatAnExpiredBatchLeavesOpenHasFailed(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.checkpoint(0, 3)
		l.record(1, OK)
		p, err := l.Expire(l.ctx, "b")
		l.ended(p, err, GivenUp)
		l.begin(0, HasExpired)
		if n, err := l.FillCancelled(l.ctx, "b", func(seq int64) bool { return seq == 2 }); n != 1 || err != nil {
			t.Errorf("filled %d, %v", n, err)
		}
		failed, err := l.Failures(l.ctx, "b", []int64{0, 1, 2})
		if err != nil || len(failed) != 1 || failed[0].Class != Expired || failed[0].Error != NotRun {
			t.Errorf("%+v, %v", failed, err)
		}
		p, err = l.GiveUp(l.ctx, "b") // later
		l.ended(p, err, GivenUp)
		if i := l.info("b"); !i.Expired || i.N != 3 {
			t.Errorf("%+v", i)
		}
	})
}
