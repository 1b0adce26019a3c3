package produce

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/work"
)

// wantFile wants one outcome of each seq from 0 to n-1 in a file.
func wantFile(t *testing.T, name string, n int, ordered bool) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var s sink
	for line := range strings.Lines(string(text)) {
		if err := s.Put([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	wantEach(t, n, &s)
	for i, o := range s.got {
		if ordered && o.Seq != int64(i) {
			t.Fatalf("line %d is of seq %d", i+1, o.Seq)
		}
	}
}

// producerKey is the lease of a batch.
func producerKey(name string) string { return "weir:{" + name + "}:producer" }

func TestABatchIsBegunOnce(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		o := p.named()
		b := p.begin(o)
		if b.Name() != o.Name || b.Resumed() != nil {
			t.Errorf("%s, resumed %+v", b.Name(), b.Resumed())
		}
		if holder := p.rdb.Get(t.Context(), producerKey(o.Name)).Val(); holder != b.p.ID {
			t.Errorf("the lease is held by %q", holder)
		}
		b.End()
		if holder := p.rdb.Get(t.Context(), producerKey(o.Name)).Val(); holder != "" {
			t.Errorf("after End the lease is held by %q", holder)
		}
		b = p.begin(o)
		if b.Resumed() == nil || b.Resumed().Name != o.Name {
			t.Errorf("resumed %+v", b.Resumed())
		}
	})
}

func TestWrongNamesAreRefused(t *testing.T) {
	p := mini(t)
	for _, o := range []Options{{Name: "No"}, {Name: strings.Repeat("x", 65)}, {Stem: "a b"}, {Stem: "-", Again: true}} {
		o.Options = p.named().Options
		if _, err := p.producer().Begin(t.Context(), o); err == nil || !strings.Contains(err.Error(), "must be 1 to 64 of") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestOtherOptionsAreRefused(t *testing.T) {
	p := mini(t)
	o := p.named()
	p.begin(o).End()
	for want, change := range map[string]func(o *batch.Options){
		"task type":      func(o *batch.Options) { o.Type = "x" },
		"--lane":         func(o *batch.Options) { o.Lane = "x" },
		"--timeout":      func(o *batch.Options) { o.TimeoutMS = 1 },
		"--retries":      func(o *batch.Options) { o.Retries = 7 },
		"--backoff":      func(o *batch.Options) { o.BackoffMS = 7 },
		"--with-payload": func(o *batch.Options) { o.WithPayload = true },
		"input":          func(o *batch.Options) { o.Input = "x" },
		"--out":          func(o *batch.Options) { o.Out = "x" },
	} {
		other := o
		change(&other.Options)
		_, err := p.producer().Begin(t.Context(), other)
		var inUse *InUseError
		if !errors.As(err, &inUse) || inUse.Name != o.Name || !strings.Contains(inUse.Reason, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if n := p.rdb.Exists(t.Context(), producerKey(o.Name)).Val(); n != 0 {
		t.Error("a refused producer left a lease")
	}
	o.KeepMS, o.Window = 1, 1 // these may change
	p.begin(o)
}

func TestARandomNameIsANewBatchEveryTime(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Name, o.Stem = "", "square"
	one, two := p.begin(o), p.begin(o)
	for _, b := range []*Batch{one, two} {
		if !regexp.MustCompile(`^square-[0-9a-f]{8}$`).MatchString(b.Name()) || b.Resumed() != nil {
			t.Errorf("%q, resumed %+v", b.Name(), b.Resumed())
		}
	}
	if one.Name() == two.Name() {
		t.Error("both have the same name")
	}
}

func TestLongStemsAreCutFromTheFront(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Name, o.Stem, o.Again = "", strings.Repeat("a", 59)+"_-bcdefghi-0123abcd", true
	first := p.begin(o)
	if first.Name() != strings.Repeat("a", 45)+"_-bcdefghi-0123abcd" {
		t.Errorf("%q has %d", first.Name(), len(first.Name()))
	}
	o.Retries = 9
	if second := p.begin(o); second.Name() != strings.Repeat("a", 43)+"_-bcdefghi-0123abcd-2" {
		t.Errorf("%q", second.Name())
	}
	o.Stem = "x_-" + strings.Repeat("b", 63)
	if third := p.begin(o); third.Name() != strings.Repeat("b", 63) {
		t.Errorf("%q", third.Name())
	}
}

// The same command goes on with its unfinished batch; a finished one, a cancelled
// one and one of other options stay what they are.
func TestADerivedNameFindsItsUnfinishedBatch(t *testing.T) {
	both(t, func(t *testing.T, p *place) {
		o := p.named()
		o.Name, o.Stem, o.Again = "", "square-1234", true
		next := func(what, want string, resumed bool) *Batch {
			t.Helper()
			b := p.begin(o)
			if b.Name() != want || (b.Resumed() != nil) != resumed {
				t.Errorf("%s: %s, resumed %+v", what, b.Name(), b.Resumed())
			}
			return b
		}
		b := next("new", "square-1234", false)
		b.End()
		b = next("unfinished", "square-1234", true)
		if err := b.Feed(t.Context(), upTo(0)); err != nil {
			t.Fatal(err)
		}
		b.End()
		b = next("finished", "square-1234-2", false)
		b.End()
		if err := feed.Cancel(t.Context(), p.rdb, p.ledger, b.Name()); err != nil {
			t.Fatal(err)
		}
		next("cancelled", "square-1234-3", false).End()
		o.Retries = 7
		next("other options", "square-1234-4", false).End()
		o.Retries = 0
		next("the first options again", "square-1234-3", true)
	})
}

// All outcomes are recorded, but the process died before they were in the file.
func TestWithAnOutcomeFileABatchIsFinishedWhenItIsInTheFile(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Name, o.Stem, o.Again, o.Out = "", "square-1234", true, "/out"
	b := p.begin(o)
	if err := b.Feed(t.Context(), upTo(2)); err != nil {
		t.Fatal(err)
	}
	for seq := range int64(2) {
		if _, err := p.ledger.Record(t.Context(), b.Name(), &batch.Outcome{Seq: seq, State: batch.OK, Result: []byte(`{"n":` + string(rune('0'+2*seq)) + `}`)}, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	b.End()
	b = p.begin(o)
	if b.Name() != "square-1234" || b.Resumed() == nil {
		t.Fatalf("%s, resumed %+v", b.Name(), b.Resumed())
	}
	s := &sink{}
	p.run(b, upTo(2), s)
	wantEach(t, 2, s)
	b.End()
	if b = p.begin(o); b.Name() != "square-1234-2" {
		t.Errorf("then %s", b.Name())
	}
}

// A producer that lives renews its lease: the second is refused, or with a derived
// name makes a batch of its own.
func TestASecondProducerIsRefusedWhileTheFirstLives(t *testing.T) {
	p := mini(t)
	o := p.named()
	first := p.begin(o)
	began := time.Now()
	_, err := p.producer().Begin(t.Context(), o)
	var inUse *InUseError
	if !errors.As(err, &inUse) || !strings.Contains(inUse.Reason, "producer "+work.Name()+" feeds it now") {
		t.Errorf("refused with %v", err)
	}
	if waited := time.Since(began); waited > leaseRenew+10*time.Second { // of any machine
		t.Errorf("waited %v", waited)
	}
	if holder := p.rdb.Get(t.Context(), producerKey(o.Name)).Val(); holder != first.p.ID {
		t.Errorf("the lease is held by %q", holder)
	}
	o.Name, o.Stem, o.Again = "", o.Name, true
	if b := p.begin(o); b.Name() != o.Stem+"-2" || b.Resumed() != nil {
		t.Errorf("%s, resumed %+v", b.Name(), b.Resumed())
	}
}

// deadProcess is the number of a process that is gone.
func deadProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestADeadProducerOfThisHostIsReplacedAtOnce(t *testing.T) {
	p := mini(t)
	o := p.named()
	host, _, _ := strings.Cut(work.Name(), ":")
	dead := ID(host + ":" + itoa(deadProcess(t)))
	if _, err := p.ledger.Lease(t.Context(), o.Name, dead, "", time.Hour); err != nil {
		t.Fatal(err)
	}
	b := p.begin(o) // gives up after 20 s
	if holder := p.rdb.Get(t.Context(), producerKey(o.Name)).Val(); holder != b.p.ID {
		t.Errorf("the lease is held by %q", holder)
	}
}

func TestWhoIsDeadHere(t *testing.T) {
	t.Parallel()
	host, _, _ := strings.Cut(work.Name(), ":")
	dead := itoa(deadProcess(t))
	for id, want := range map[string]bool{
		host + ":" + dead + "/ab":                true,
		work.Name() + "/ab":                      false, // this process
		host + ":1/ab":                           false, // somebody else's
		"other-" + host + ":" + dead + "/ab":     false,
		host + ":0/ab":                           false,
		host + ":-1/ab":                          false,
		host + ":x/ab":                           false,
		host + "/ab":                             false,
		"":                                       false,
		"what ever":                              false,
		host + ":" + dead + ":" + dead + "/ab":   false,
		host + ":99999999999999999999999999/abc": false,
	} {
		if got := deadHere(id); got != want {
			t.Errorf("%q: dead here %v", id, got)
		}
	}
}

// Whether a producer of another host lives can only be seen by its lease.
func TestAnotherHostsLeaseIsWaitedFor(t *testing.T) {
	p := mini(t)
	o := p.named()
	if _, err := p.ledger.Lease(t.Context(), o.Name, "elsewhere:1/ab", "", 700*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	b := p.begin(o)
	if waited := time.Since(began); waited < 500*time.Millisecond || waited > 10*time.Second {
		t.Errorf("waited %v", waited)
	}
	if holder := p.rdb.Get(t.Context(), producerKey(o.Name)).Val(); holder != b.p.ID {
		t.Errorf("the lease is held by %q", holder)
	}
}

func TestWaitingForALeaseEndsWithTheContext(t *testing.T) {
	p := mini(t)
	o := p.named()
	if _, err := p.ledger.Lease(t.Context(), o.Name, "elsewhere:1/ab", "", time.Hour); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(200*time.Millisecond, func() { cancel(errSignal) })
	if _, err := p.producer().Begin(ctx, o); !errors.Is(err, errSignal) {
		t.Errorf("ended with %v", err)
	}
}

// told is a log that tells of its first line.
type told chan struct{}

func (l told) Write(line []byte) (int, error) {
	select {
	case l <- struct{}{}:
	default:
	}
	return len(line), nil
}

// beginBehind has a second producer begin the batch of a first, and returns when it waits for
// the lease. The first has that for an hour, and renews it no more: where the machine is slow
// the second would see it renewed, and leave.
func (p *place) beginBehind(first *Batch, o Options) <-chan *Batch {
	p.t.Helper()
	first.release()
	first.keeper.Wait()
	if holder, err := p.ledger.Lease(p.t.Context(), first.Name(), first.p.ID, "", time.Hour); err != nil || holder != "" {
		p.t.Fatalf("the lease is held by %q: %v", holder, err)
	}
	waits := make(told, 1)
	second := p.producer()
	second.Log = slog.New(slog.NewTextHandler(waits, nil))
	begun := make(chan *Batch, 1)
	go func() {
		b, err := second.Begin(p.t.Context(), o)
		if err != nil {
			p.t.Error(err)
		}
		begun <- b
	}()
	select {
	case <-waits:
	case <-time.After(20 * time.Second):
		p.t.Fatal("the second does not wait for the lease")
	}
	return begun
}

// While the second waits, the first is interrupted: what it left counts, not what
// the second had seen before.
func TestWhatHappensWhileWaitingForTheLeaseIsSeen(t *testing.T) {
	t.Parallel()
	for what, again := range map[string]bool{"named": false, "derived": true} {
		t.Run(what, func(t *testing.T) {
			p := mini(t)
			o := p.named()
			if again {
				o.Name, o.Stem, o.Again = "", o.Name, true
			}
			first := p.begin(o)
			s := &sink{}
			run := p.start(first, upTo(10), s)
			p.await("all are enqueued", func() bool { return p.info(first.Name()).Phase == batch.Sealed })
			begun := p.beginBehind(first, o)
			run.interrupt()
			b := <-begun
			if b == nil {
				return
			}
			defer b.End()
			if b.Name() != first.Name() || b.Resumed() == nil || !b.Resumed().Stopped || p.info(b.Name()).Stopped {
				t.Errorf("%s, resumed %+v, now %+v", b.Name(), b.Resumed(), p.info(first.Name()))
			}
			p.work(2)
			p.run(b, upTo(10), s)
			wantEach(t, 10, s)
		})
	}
}

// While the second waits, the first finishes: a derived name goes on to the next.
func TestABatchThatIsFinishedWhileItsLeaseIsWaitedForIsNotGoneOnWith(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Name, o.Stem, o.Again = "", o.Name, true
	first := p.begin(o)
	begun := p.beginBehind(first, o)
	if err := first.Feed(t.Context(), upTo(0)); err != nil {
		t.Fatal(err)
	}
	first.End()
	b := <-begun
	if b == nil {
		return
	}
	defer b.End()
	if b.Name() != first.Name()+"-2" || b.Resumed() != nil {
		t.Errorf("%s, resumed %+v", b.Name(), b.Resumed())
	}
	if n := p.rdb.Exists(t.Context(), producerKey(first.Name())).Val(); n != 0 {
		t.Error("the lease of the finished batch is still held")
	}
}

// steal gives a batch's lease to somebody else.
func (p *place) steal(name string) {
	p.t.Helper()
	if err := p.rdb.Set(p.t.Context(), producerKey(name), "elsewhere:1/ab", time.Hour).Err(); err != nil {
		p.t.Fatal(err)
	}
}

func TestALostLeaseEndsTheRun(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Window = 5
	b := p.begin(o)
	run := p.start(b, upTo(50), &sink{})
	p.await("the window is full", func() bool { return p.info(o.Name).Next == 5 })
	p.steal(o.Name)
	if err := run.wait(); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("ended with %v", err)
	}
	if i := p.info(o.Name); i.Stopped || p.inRedis(o.Name) != 5 {
		t.Errorf("the batch is another's, and became %+v with %d tasks in Redis", i, p.inRedis(o.Name))
	}
	b.End()
	if holder := p.rdb.Get(t.Context(), producerKey(o.Name)).Val(); holder != "elsewhere:1/ab" {
		t.Errorf("the lease is held by %q", holder)
	}
}

// Whoever is interrupted before it has heard that its batch is another's hears it then.
func TestAnInterruptedRunLeavesTheBatchOfAnother(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Window = 5
	b := p.begin(o)
	run := p.start(b, upTo(50), &sink{})
	p.await("the window is full", func() bool { return p.info(o.Name).Next == 5 })
	p.steal(o.Name)
	run.stop(errSignal)
	if err := run.wait(); !errors.Is(err, batch.ErrNotItsProducer) && !errors.Is(err, ErrLeaseLost) {
		t.Errorf("ended with %v", err)
	}
	if i := p.info(o.Name); i.Stopped || p.inRedis(o.Name) != 5 {
		t.Errorf("the batch is another's, and became %+v with %d tasks in Redis", i, p.inRedis(o.Name))
	}
}

func TestALostLeaseEndsTheFeed(t *testing.T) {
	p := mini(t)
	o := p.named()
	o.Window = 5
	b := p.begin(o)
	done := make(chan error, 1)
	go func() { done <- b.Feed(t.Context(), upTo(50)) }()
	p.await("the window is full", func() bool { return p.info(o.Name).Next == 5 })
	p.steal(o.Name)
	if err := <-done; !errors.Is(err, ErrLeaseLost) {
		t.Errorf("ended with %v", err)
	}
}

func TestALeaseIsRenewed(t *testing.T) {
	p := mini(t)
	o := p.named()
	p.begin(o)
	last := leaseLength
	p.await("the lease is longer than before", func() bool {
		left := p.rdb.PTTL(t.Context(), producerKey(o.Name)).Val()
		longer := left > last
		last = left
		return longer
	})
}

// Interrupted right after it has the lease, a producer gives it back.
func TestAnInterruptedBeginLeavesNoLease(t *testing.T) {
	p := mini(t)
	o := p.named()
	p.begin(o).End()
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := p.producer()
	interrupted.Ledger = batch.NewLedger(&afterLease{UniversalClient: p.rdb, do: func() { cancel(errSignal) }})
	if _, err := interrupted.Begin(ctx, o); !errors.Is(err, errSignal) {
		t.Fatal(err)
	}
	if n := p.rdb.Exists(t.Context(), producerKey(o.Name)).Val(); n != 0 {
		t.Error("the lease is still held")
	}
}

// afterLease does something when a producer has got its lease.
type afterLease struct {
	redis.UniversalClient
	do func()
}

func (c *afterLease) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	cmd := c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	if len(args) == 3 && strings.HasSuffix(keys[0], "producer") && cmd.Err() == nil {
		c.do()
	}
	return cmd
}

// What still runs of a stopped batch is waited for: a worker could drop a task that
// was enqueued again.
func TestAStoppedBatchIsGoneOnWithWhenNothingOfItRuns(t *testing.T) {
	p := mini(t)
	o := p.named()
	b := p.begin(o)
	if err := b.Feed(t.Context(), upTo(2)); err != nil {
		t.Fatal(err)
	}
	b.End()
	id := batch.TaskID(o.Name, 0)
	p.rdb.LMove(t.Context(), "asynq:{produce-double}:pending", "asynq:{produce-double}:active", "RIGHT", "LEFT")
	p.rdb.HSet(t.Context(), "asynq:{produce-double}:t:"+id, "state", "active")
	if err := p.ledger.SetStopped(t.Context(), o.Name, b.p.ID, true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(errSignal) })
	if _, err := p.producer().Begin(ctx, o); !errors.Is(err, errSignal) || !p.info(o.Name).Stopped {
		t.Errorf("begun with %v: %+v", err, p.info(o.Name))
	}
	if n := p.rdb.Exists(t.Context(), producerKey(o.Name)).Val(); n != 0 {
		t.Error("the lease is still held")
	}
	p.rdb.LRem(t.Context(), "asynq:{produce-double}:active", 0, id)
	p.rdb.Del(t.Context(), "asynq:{produce-double}:t:"+id)
	b = p.begin(o)
	if err := b.Feed(t.Context(), upTo(2)); err != nil || p.inRedis(o.Name) != 2 || p.info(o.Name).Stopped {
		t.Errorf("%v, %d tasks in Redis, batch %+v", err, p.inRedis(o.Name), p.info(o.Name))
	}
}

func TestADiscardedBatchWasNeverThere(t *testing.T) {
	p := mini(t)
	o := p.named()
	b := p.begin(o)
	if err := b.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.End()
	if keys := p.rdb.Keys(t.Context(), "*"+o.Name+"*").Val(); len(keys) > 0 {
		t.Errorf("left in Redis: %v", keys)
	}
	if all, err := p.ledger.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("batches %v, %v", all, err)
	}
}

func TestBeginWaitsForRedis(t *testing.T) {
	p, server := restarting(t)
	o := p.named()
	server.Kill()
	told := make(chan error, 100)
	producer := p.producer()
	producer.Trouble = func(err error, _ time.Duration) { told <- err }
	begun := make(chan *Batch, 1)
	go func() {
		b, err := producer.Begin(t.Context(), o)
		if err != nil {
			t.Error(err)
		}
		begun <- b
	}()
	if err := <-told; err == nil {
		t.Error("told of no trouble")
	}
	server.Restart()
	if b := <-begun; b != nil {
		b.End()
	}
}
