package feed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/source"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "16") // most of the time they wait
	flag.Set("rapid.checks", "30")  // more with -rapid.checks
	conntest.Main(m)
}

const lane = "square" // a lane no worker serves in these tests

// patience is how long a test waits: some serve a lane task by task, in turn with the feeder,
// with hundreds of commands that an embedded Redis on a loaded machine takes 20 s for.
const patience = time.Minute

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
	if made, err := b.ledger.Create(t.Context(), b.name, batch.Options{Type: "square", Lane: lane, TimeoutMS: 60_000, KeepMS: 60_000}); err != nil || !made {
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
	for seq := int64(from); seq < int64(to); seq++ {
		all = append(all, batch.TaskID("b", seq))
	}
	return all
}

// both runs f with an open batch "b" on an embedded and on a real Redis.
func both(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) { f(t, newBench(t, rdb)) })
}

func mini(t *testing.T) *bench {
	t.Parallel()
	return newBench(t, conntest.Mini(t))
}

// real is for many tasks: an embedded Redis runs some hundred scripts a second
// under the race detector.
func real(t *testing.T) *bench {
	t.Parallel()
	return newBench(t, conntest.Server(t).Client())
}

// start runs a feeder until the test ends; its error comes through the channel.
func start(t *testing.T, f *Feeder) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done, gone := make(chan error, 1), make(chan struct{})
	go func() { done <- f.Run(ctx); close(gone) }()
	t.Cleanup(func() { cancel(); <-gone })
	return done
}

func wait(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the feeder did not end")
		return nil
	}
}

// run feeds to the end.
func (b *bench) run(src source.Source, window int64) {
	b.t.Helper()
	if err := b.feeder(src, window).Run(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) await(what string, f func() bool) {
	b.t.Helper()
	conntest.Eventually(b.t, patience, what, func(context.Context) bool { return f() })
}

func (b *bench) wantPending(want ...string) {
	b.t.Helper()
	if got := b.pending(); !slices.Equal(got, want) {
		b.t.Errorf("pending %v, want %v", got, want)
	}
}

// gone takes tasks out of Redis, as an ack does, or an operator.
func (b *bench) gone(seqs ...int64) {
	b.t.Helper()
	for _, seq := range seqs {
		id := batch.TaskID(b.name, seq)
		if n := b.rdb.LRem(b.t.Context(), queue.Pending(lane), 0, id).Val(); n != 1 {
			b.t.Fatalf("task %s was pending %d times", id, n)
		}
		b.rdb.Del(b.t.Context(), queue.TaskPrefix(lane)+id)
	}
}

// done runs pending tasks: their outcome, then asynq's ack.
func (b *bench) done(seqs ...int64) {
	b.t.Helper()
	b.finish(seqs...)
	b.gone(seqs...)
}

// take makes the next pending task active, as asynq's dequeue does.
func (b *bench) take() (seq int64) {
	b.t.Helper()
	id := b.rdb.RPopLPush(b.t.Context(), queue.Pending(lane), queue.Active(lane)).Val()
	b.rdb.HSet(b.t.Context(), queue.TaskPrefix(lane)+id, "state", "active")
	_, seq, ok := batch.ParseTaskID(id)
	if !ok {
		b.t.Fatalf("took %q", id)
	}
	return seq
}

// ack closes an active task.
func (b *bench) ack(seq int64) {
	b.t.Helper()
	id := batch.TaskID(b.name, seq)
	if n := b.rdb.LRem(b.t.Context(), queue.Active(lane), 0, id).Val(); n != 1 {
		b.t.Errorf("task %s was active %d times", id, n)
	}
	b.rdb.Del(b.t.Context(), queue.TaskPrefix(lane)+id)
}

// outcomes is the outcome stream.
func (b *bench) outcomes() []*batch.Outcome {
	b.t.Helper()
	entries, err := b.ledger.Read(b.t.Context(), b.name, batch.Start, 100_000, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []*batch.Outcome
	for _, e := range entries {
		if e.End {
			continue
		}
		o, err := batch.ParseOutcome(e.Line)
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// pipe is a source whose records come one by one.
type pipe chan string

func (p pipe) Next() (source.Record, error) {
	r, ok := <-p
	if !ok {
		return source.Record{}, io.EOF
	}
	return source.Record{Payload: []byte(r), Raw: []byte(r)}, nil
}

func (p pipe) Close() error { return nil }

// hook comes between a client and its Redis.
type hook struct {
	redis.Hook
	one  func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error
	many func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error
}

func (h hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	if h.one == nil {
		return next
	}
	return func(ctx context.Context, cmd redis.Cmder) error { return h.one(ctx, cmd, next) }
}

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	if h.many == nil {
		return next
	}
	return func(ctx context.Context, cmds []redis.Cmder) error { return h.many(ctx, cmds, next) }
}

var errLost = errors.New("the connection broke")

// enqueues says that a command is of a chunk.
func enqueues(cmd redis.Cmder) bool {
	args := cmd.Args()
	return strings.HasPrefix(strings.ToLower(cmd.Name()), "eval") && len(args) > 4 && args[4] == queue.TaskPrefix(lane)
}

// isCheckpoint says that a command moves the checkpoint: no other script that a
// feeder calls has the batch's key alone.
func isCheckpoint(cmd redis.Cmder) bool {
	args := cmd.Args()
	return strings.HasPrefix(strings.ToLower(cmd.Name()), "eval") && len(args) == 7 && fmt.Sprint(args[2]) == "1" && args[3] == "weir:{b}:batch"
}

// dieBefore makes the process die before the nth move of the checkpoint: it ends
// the context, and nothing of it reaches Redis any more.
func (b *bench) dieBefore(nth int64) (context.Context, redis.UniversalClient) {
	ctx, cancel := context.WithCancelCause(b.t.Context())
	b.t.Cleanup(func() { cancel(nil) })
	o := *b.rdb.(*redis.Client).Options()
	c := redis.NewClient(&o)
	b.t.Cleanup(func() { c.Close() })
	var moves atomic.Int64
	c.AddHook(hook{one: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		if isCheckpoint(cmd) && moves.Add(1) == nth {
			cancel(errDied)
		}
		if err := context.Cause(ctx); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}})
	return ctx, c
}

var errDied = errors.New("the process died")

// records are n of numbered, from one on.
func records(from, n int) []source.Record {
	src := numbered(from + n)
	src.taken = from
	var all []source.Record
	for range n {
		r, _ := src.Next()
		all = append(all, r)
	}
	return all
}
