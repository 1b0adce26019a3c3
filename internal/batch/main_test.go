package batch

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestMain(m *testing.M) {
	flag.Set("rapid.checks", "30") // more with -rapid.checks
	conntest.Main(m)
}

const minute = time.Minute

// unknown is the wait of a task whose enqueue time nobody knows.
const unknown = -time.Microsecond

// fixture is a ledger on one Redis with a batch called "b".
type fixture struct {
	*Ledger
	t   *testing.T
	ctx context.Context
	c   redis.UniversalClient
}

var someOptions = Options{
	Type: "sleep", Lane: "slow", TimeoutMS: 1500, Retries: 3, BackoffMS: 10, MaxBackoffMS: 1000,
	Input: "urls.txt", KeepMS: minute.Milliseconds(),
}

// both runs f with an open batch "b" on an embedded and on a real Redis.
func both(t *testing.T, f func(t *testing.T, l *fixture)) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) { f(t, newFixture(t, c)) })
}

func newFixture(t *testing.T, c redis.UniversalClient) *fixture {
	l := &fixture{NewLedger(c), t, t.Context(), c}
	l.create("b")
	return l
}

func (l *fixture) create(name string) {
	l.t.Helper()
	if made, err := l.Create(l.ctx, name, someOptions); err != nil || !made {
		l.t.Fatalf("Create(%q) = %v, %v", name, made, err)
	}
}

func (l *fixture) info(name string) *Info {
	l.t.Helper()
	i, err := l.Info(l.ctx, name)
	if err != nil {
		l.t.Fatal(err)
	}
	return i
}

// record gives a task of "b" an outcome and wants it to be the first.
func (l *fixture) record(seq int64, s State) {
	l.t.Helper()
	if first, err := l.Record(l.ctx, "b", outcome(seq, s), unknown, []byte(`{}`)); err != nil || !first {
		l.t.Fatalf("record %d %s: first %v, %v", seq, s, first, err)
	}
}

func outcome(seq int64, s State) *Outcome {
	o := &Outcome{Seq: seq, State: s, Attempts: 1, Worker: "w"}
	switch s {
	case OK:
		o.Result = []byte(`{"n":1}`)
	case Failed:
		o.Class, o.Error = Permanent, "no"
	}
	return o
}

// begin wants an answer for a task of "b".
func (l *fixture) begin(seq int64, want Admission) {
	l.t.Helper()
	if a, _, err := l.Begin(l.ctx, "b", seq); err != nil || a != want {
		l.t.Fatalf("begin %d: %v, %v; want %v", seq, a, err, want)
	}
}

func (l *fixture) checkpoint(from, to int64) {
	l.t.Helper()
	if err := l.Checkpoint(l.ctx, "b", from, to, fmt.Sprint("hash", to)); err != nil {
		l.t.Fatal(err)
	}
}

func (l *fixture) ended(got Phase, err error, want Phase) {
	l.t.Helper()
	if err != nil || got != want {
		l.t.Fatalf("ended as %q, %v; want %q", got, err, want)
	}
}

// stream is the outcome stream of "b": each entry's seq and state, and "end".
func (l *fixture) stream() []string {
	l.t.Helper()
	entries, err := l.Read(l.ctx, "b", Start, 1000, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.End {
			got = append(got, "end")
			continue
		}
		o, err := ParseOutcome(e.Line)
		if err != nil {
			l.t.Fatal(err)
		}
		got = append(got, fmt.Sprint(o.Seq, " ", o.State))
	}
	return got
}

// contents is everything in a Redis, key by key.
func contents(t *testing.T, c redis.UniversalClient) map[string]string {
	t.Helper()
	ctx := t.Context()
	all := make(map[string]string)
	for _, key := range c.Keys(ctx, "*").Val() {
		var v any
		switch typ := c.Type(ctx, key).Val(); typ {
		case "string":
			v = c.Get(ctx, key).Val()
		case "hash":
			v = c.HGetAll(ctx, key).Val()
		case "set":
			v = slices.Sorted(maps.Keys(c.SMembersMap(ctx, key).Val()))
		case "list":
			v = c.LRange(ctx, key, 0, -1).Val()
		case "zset":
			v = c.ZRangeWithScores(ctx, key, 0, -1).Val()
		case "stream":
			v = c.XRange(ctx, key, "-", "+").Val()
		default:
			t.Fatalf("key %s is a %s", key, typ)
		}
		all[key] = fmt.Sprintf("%v expires=%v", v, c.PTTL(ctx, key).Val() > 0)
	}
	return all
}

// keysOf are the keys of a batch that exist.
func keysOf(t *testing.T, c redis.UniversalClient, name string) []string {
	t.Helper()
	keys, err := c.Keys(t.Context(), "weir:{"+name+"}:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

func wantNotFound(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("%s: %v, want ErrNotFound", what, err)
	}
}

func join(s []string) string { return strings.Join(s, ", ") }
