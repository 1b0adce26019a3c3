package produce

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/source"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "16") // most of the time they wait
	conntest.Main(m)
}

type number struct {
	N int64 `json:"n"`
}

// handlers are what batches' tasks do, by the batch's name; others double.
var handlers sync.Map // string -> func(context.Context, int64) error

var _ = tasks.Define("produce-double", tasks.Policy{}, func(ctx context.Context, in number) (number, error) {
	info, _ := tasks.InfoFrom(ctx)
	if f, ok := handlers.Load(info.Batch); ok {
		if err := f.(func(context.Context, int64) error)(ctx, in.N); err != nil {
			return number{}, err
		}
	}
	return number{in.N * 2}, nil
})

// place is a Redis with producers and workers.
type place struct {
	t      *testing.T
	rdb    redis.UniversalClient
	ledger *batch.Ledger
}

func both(t *testing.T, f func(t *testing.T, p *place)) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) { f(t, newPlace(t, rdb)) })
}

func mini(t *testing.T) *place {
	t.Parallel()
	return newPlace(t, conntest.Mini(t))
}

// real is for many tasks: an embedded Redis is slow under the race detector.
func real(t *testing.T) *place {
	t.Parallel()
	return newPlace(t, conntest.Server(t).Client())
}

func newPlace(t *testing.T, rdb redis.UniversalClient) *place {
	return &place{t, rdb, batch.NewLedger(rdb)}
}

func (p *place) producer() *Producer {
	return &Producer{RDB: p.rdb, Ledger: p.ledger, ID: ID(work.Name()), Log: slog.New(slog.DiscardHandler)}
}

// named are options of a batch with a name of its own, as handlers are found by it.
func (p *place) named() Options {
	return Options{Name: strings.ToLower(fmt.Sprintf("b-%s", random())), Window: 100, Options: batch.Options{
		Type: "produce-double", Lane: "produce-double", TimeoutMS: 60_000, BackoffMS: 1, MaxBackoffMS: 1, KeepMS: 60_000,
	}}
}

func (p *place) begin(o Options) *Batch {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	b, err := p.producer().Begin(ctx, o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(b.End)
	return b
}

func (p *place) work(concurrency int) {
	p.t.Helper()
	w, err := work.New(p.rdb, p.rdb, p.ledger, work.Options{Concurrency: concurrency, ShutdownTimeout: time.Second})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = w.Stop() })
}

func (p *place) info(name string) *batch.Info {
	p.t.Helper()
	i, err := p.ledger.Info(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return i
}

// inRedis is how many of a batch's tasks are in its lane.
func (p *place) inRedis(name string) int {
	p.t.Helper()
	in, err := queue.Places(p.t.Context(), p.rdb, []string{"produce-double"}, name)
	if err != nil {
		p.t.Fatal(err)
	}
	return len(in)
}

func (p *place) await(what string, f func() bool) {
	p.t.Helper()
	conntest.Eventually(p.t, 20*time.Second, what, func(context.Context) bool { return f() })
}

// started is a Run that goes on.
type started struct {
	p    *place
	b    *Batch
	sink *sink
	done chan error
	stop context.CancelCauseFunc
}

// start runs a batch until the test ends.
func (p *place) start(b *Batch, src source.Source, sink *sink) *started {
	ctx, cancel := context.WithCancelCause(p.t.Context())
	s := &started{p, b, sink, make(chan error, 1), cancel}
	gone := make(chan struct{})
	go func() {
		s.done <- b.Run(ctx, src, Outcomes{Sink: sink, Given: sink.before, Seen: sink.seen})
		close(gone)
	}()
	p.t.Cleanup(func() { cancel(nil); <-gone })
	return s
}

func (s *started) wait() error {
	s.p.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(25 * time.Second):
		s.p.t.Fatal("Run did not end")
		return nil
	}
}

// run runs a batch to its end.
func (p *place) run(b *Batch, src source.Source, sink *sink) {
	p.t.Helper()
	if err := p.start(b, src, sink).wait(); err != nil {
		p.t.Fatal(err)
	}
}

// interrupt ends a run as Ctrl-C does.
func (s *started) interrupt() {
	s.p.t.Helper()
	s.stop(errSignal)
	if err := s.wait(); !errors.Is(err, errSignal) {
		s.p.t.Errorf("interrupted, Run ended with %v", err)
	}
	s.b.End()
}

var (
	errSignal = errors.New("stopped by a signal")
	errFull   = errors.New("no space left")
)

// sink keeps outcomes.
type sink struct {
	before int64 // what it had from earlier lives
	mu     sync.Mutex
	got    []*batch.Outcome
	told   int
	fail   func(o *batch.Outcome) error // of Put
}

func (s *sink) Put(line []byte) error {
	o, err := batch.ParseOutcome(line)
	if err != nil {
		return err
	}
	if s.fail != nil {
		if err := s.fail(o); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, o)
	return nil
}
func (s *sink) Flush() error   { return nil }
func (s *sink) Commit() error  { return nil }
func (s *sink) Has(int64) bool { return false }

func (s *sink) seen(*batch.Outcome, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told++
}

func (s *sink) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// again is a sink that goes on where another ended.
func (s *sink) again() *sink { return &sink{before: s.before + int64(s.len())} }

// wantEach wants one outcome of each seq from 0 to n-1, in some sinks together.
func wantEach(t *testing.T, n int, sinks ...*sink) map[batch.State]int {
	t.Helper()
	seen, states := make(map[int64]bool), make(map[batch.State]int)
	for _, s := range sinks {
		for _, o := range s.got {
			if seen[o.Seq] || o.Seq < 0 || o.Seq >= int64(n) {
				t.Errorf("an outcome of seq %d too many", o.Seq)
			}
			seen[o.Seq] = true
			states[o.State]++
			if want := fmt.Sprintf(`{"n":%d}`, o.Seq*2); o.State == batch.OK && string(o.Result) != want {
				t.Errorf("seq %d gave %s", o.Seq, o.Result)
			}
		}
	}
	if len(seen) != n {
		t.Errorf("%d outcomes, want %d", len(seen), n)
	}
	return states
}

// numbers is a source of n numbers and then an end, or of endlessly many.
type numbers struct {
	n   int64
	end error
	i   int64
}

func upTo(n int64) *numbers { return &numbers{n: n, end: io.EOF} }

func (s *numbers) Next() (source.Record, error) {
	if s.i == s.n {
		return source.Record{}, s.end
	}
	payload := fmt.Appendf(nil, `{"n":%d}`, s.i)
	s.i++
	return source.Record{Payload: payload, Raw: payload}, nil
}

func (s *numbers) Close() error { return nil }

// again are numbers that can be read again, as a file's are.
type again struct{ *numbers }

func (s again) Reopen() (source.Source, error) { return again{&numbers{n: s.n, end: s.end}}, nil }

// stdin is a source that somebody types.
type stdin struct{ lines chan string }

func newStdin(t *testing.T) stdin {
	s := stdin{make(chan string)}
	t.Cleanup(func() { close(s.lines) }) // or its reader would stay
	return s
}

func (s stdin) Next() (source.Record, error) {
	line, ok := <-s.lines
	if !ok {
		return source.Record{}, io.EOF
	}
	return source.Record{Payload: []byte(line), Raw: []byte(line)}, nil
}

func (s stdin) Close() error { return nil }

// gate holds tasks up until it is opened.
type gate struct {
	open    chan struct{}
	waiting chan int64
}

// hold makes the tasks of a batch that f picks wait.
func (p *place) hold(name string, f func(n int64) bool) *gate {
	g := &gate{make(chan struct{}), make(chan int64, 10_000)}
	handlers.Store(name, func(ctx context.Context, n int64) error {
		if !f(n) {
			return nil
		}
		g.waiting <- n
		select {
		case <-g.open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	p.t.Cleanup(func() { handlers.Delete(name) })
	return g
}

func all(int64) bool { return true }
