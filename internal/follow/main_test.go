package follow

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "16") // most of the time they wait
	flag.Set("rapid.checks", "30")  // more with -rapid.checks
	conntest.Main(m)
}

// fixture is a batch "b" whose outcomes are followed.
type fixture struct {
	t      testing.TB
	rdb    redis.UniversalClient
	ledger *batch.Ledger
}

func both(t *testing.T, f func(t *testing.T, b *fixture)) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) { f(t, newFixture(t, rdb)) })
}

func mini(t *testing.T) *fixture {
	t.Parallel()
	return newFixture(t, conntest.Mini(t))
}

func newFixture(t testing.TB, rdb redis.UniversalClient) *fixture {
	b := &fixture{t, rdb, batch.NewLedger(rdb)}
	b.create()
	return b
}

func (b *fixture) create() {
	b.t.Helper()
	if made, err := b.ledger.Create(b.t.Context(), "b", batch.Options{Type: "square", KeepMS: 60_000}); err != nil || !made {
		b.t.Fatal(made, err)
	}
}

// record gives tasks their outcomes, in that order.
func (b *fixture) record(seqs ...int64) {
	b.t.Helper()
	for _, seq := range seqs {
		o := &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1, Result: fmt.Appendf(nil, `"%d"`, seq)}
		if first, err := b.ledger.Record(b.t.Context(), "b", o, time.Duration(seq)*time.Millisecond, nil); err != nil || !first {
			b.t.Fatalf("record %d: %v, %v", seq, first, err)
		}
	}
}

// seal makes n the number of tasks.
func (b *fixture) seal(n int64) {
	b.t.Helper()
	if n > 0 {
		if err := b.ledger.Checkpoint(b.t.Context(), "b", 0, n, "hash"); err != nil {
			b.t.Fatal(err)
		}
	}
	if _, err := b.ledger.Seal(b.t.Context(), "b"); err != nil {
		b.t.Fatal(err)
	}
}

// inStream is how many outcomes are in the stream.
func (b *fixture) inStream() int64 {
	b.t.Helper()
	n := int64(0)
	for _, m := range b.rdb.XRange(b.t.Context(), "weir:{b}:out", "-", "+").Val() {
		if _, end := m.Values["end"]; !end {
			n++
		}
	}
	return n
}

func (b *fixture) given() int64 {
	b.t.Helper()
	i, err := b.ledger.Info(b.t.Context(), "b")
	if err != nil {
		b.t.Fatal(err)
	}
	return i.Given
}

// follow follows to the end.
func (b *fixture) follow(sink Sink, o Options) error {
	b.t.Helper()
	return wait(b.t, b.start(New(b.ledger, sink, named(o))))
}

func named(o Options) Options { o.Name = "b"; return o }

// start follows until the test ends.
func (b *fixture) start(f *Follower) <-chan error {
	ctx, cancel := context.WithCancel(b.t.Context())
	done, gone := make(chan error, 1), make(chan struct{})
	go func() { done <- f.Run(ctx); close(gone) }()
	b.t.Cleanup(func() { cancel(); <-gone })
	return done
}

func wait(t testing.TB, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the follower did not end")
		return nil
	}
}

func (b *fixture) await(what string, f func() bool) {
	b.t.Helper()
	conntest.Eventually(b.t, 20*time.Second, what, func(context.Context) bool { return f() })
}

var errFull = errors.New("no space left")

// memory is a sink that keeps the seqs it is given, and fails when told to.
type memory struct {
	mu        sync.Mutex
	seqs      []int64
	flushed   int // of seqs
	committed int
	fail      func(op string) error
}

func (m *memory) do(op string, f func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(op); err != nil {
			return err
		}
	}
	f()
	return nil
}

func (m *memory) Put(line []byte) error {
	o, err := batch.ParseOutcome(line)
	if err != nil {
		return err
	}
	return m.do("put", func() { m.seqs = append(m.seqs, o.Seq) })
}
func (m *memory) Flush() error   { return m.do("flush", func() { m.flushed = len(m.seqs) }) }
func (m *memory) Commit() error  { return m.do("commit", func() { m.committed = len(m.seqs) }) }
func (m *memory) Has(int64) bool { return false }

func (m *memory) got() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Trim(fmt.Sprint(m.seqs), "[]")
}

func (m *memory) want(t testing.TB, want string) {
	t.Helper()
	if got := m.got(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// outFile is the name of an outcome file that does not exist yet.
func outFile(t testing.TB) string { return filepath.Join(t.TempDir(), "out.ndjson") }

func open(t testing.TB, name string, resume bool) *File {
	t.Helper()
	f, err := OpenFile(name, resume)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// lines are the seqs in a file.
func lines(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var seqs []int64
	for line := range strings.Lines(string(text)) {
		o, err := batch.ParseOutcome([]byte(line))
		if err != nil || !strings.HasSuffix(line, "\n") || string(o.Result) != fmt.Sprintf(`"%d"`, o.Seq) {
			t.Fatalf("line %q: %v", line, err)
		}
		seqs = append(seqs, o.Seq)
	}
	return strings.Trim(fmt.Sprint(seqs), "[]")
}
