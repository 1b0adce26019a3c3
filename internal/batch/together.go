package batch

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// together sends questions that are asked at the same time with one another: while one
// round trip is under way, those that come wait for the next. Known as group commit.
type together[Q, A any] struct {
	send func(ctx context.Context, questions []Q) []answer[A]

	mu      sync.Mutex
	waiting *group[Q, A]
	sending bool
}

// answer is one question's.
type answer[A any] struct {
	value A
	err   error
}

type group[Q, A any] struct {
	questions []Q
	answers   []answer[A]
	answered  chan struct{}
}

// do asks, and waits for the answer or ctx's end. The question may go out all the same.
func (t *together[Q, A]) do(ctx context.Context, q Q) (a A, err error) {
	if err := ctx.Err(); err != nil {
		return a, context.Cause(ctx)
	}
	t.mu.Lock()
	if t.waiting == nil {
		t.waiting = &group[Q, A]{answered: make(chan struct{})}
	}
	g, i := t.waiting, len(t.waiting.questions)
	g.questions = append(g.questions, q)
	if !t.sending {
		t.sending = true
		go t.sendAll()
	}
	t.mu.Unlock()
	select {
	case <-g.answered:
		return g.answers[i].value, g.answers[i].err
	case <-ctx.Done():
		return a, context.Cause(ctx)
	}
}

// sendAll sends group after group, until nobody waits.
func (t *together[Q, A]) sendAll() {
	for {
		t.mu.Lock()
		g := t.waiting
		t.waiting = nil
		t.sending = g != nil
		t.mu.Unlock()
		if g == nil {
			return
		}
		g.answers = t.send(context.Background(), g.questions)
		close(g.answered)
	}
}

// span is a segment of a batch.
type span struct {
	name string
	k    int64
}

func (s span) bits() string { return bitsKey(s.name, s.k*segment) }

// scriptCall is one call of a script, for several tasks of a segment.
type scriptCall struct {
	keys   []string
	args   []any
	places []int // of the tasks, among all that are asked for
	size   int   // of their arguments, about
	cmd    *redis.Cmd
}

const (
	// mostTogether is how many tasks one call of a script is for: that long others wait.
	mostTogether = 100

	// bytesTogether is about how much one call of a script holds.
	bytesTogether = 1 << 20
)

// scriptCalls are those that are needed for some tasks.
type scriptCalls struct {
	begin func(span) *scriptCall
	open  map[span]*scriptCall // those that take more
	all   []*scriptCall
}

// add adds a task's arguments to a call of its segment.
func (c *scriptCalls) add(of span, place, size int, args ...any) {
	s := c.open[of]
	if s == nil || len(s.places) == mostTogether || s.size+size > bytesTogether {
		s = c.begin(of)
		c.open[of] = s
		c.all = append(c.all, s)
	}
	s.args = append(s.args, args...)
	s.places = append(s.places, place)
	s.size += size
}

// run makes the calls in one round trip; in another one too where Redis does not know the
// script yet.
func (c *scriptCalls) run(ctx context.Context, rdb redis.UniversalClient, script *redis.Script) {
	if len(c.all) == 1 {
		c.all[0].cmd = script.Run(ctx, rdb, c.all[0].keys, c.all[0].args...)
		return
	}
	missing := c.all
	for range 2 {
		pipe := rdb.Pipeline()
		for _, s := range missing {
			s.cmd = script.EvalSha(ctx, pipe, s.keys, s.args...)
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		missing = slices.DeleteFunc(slices.Clone(c.all), func(s *scriptCall) bool { return !redis.HasErrorPrefix(s.cmd.Err(), "NOSCRIPT") })
		if len(missing) == 0 || script.Load(ctx, rdb).Err() != nil {
			return
		}
	}
}

// beginAll is begin.lua for tasks of any batches.
func (l *Ledger) beginAll(ctx context.Context, tasks []asked) []answer[admitted] {
	calls := scriptCalls{begin: func(of span) *scriptCall { return beginCall(of, "") }, open: make(map[span]*scriptCall, 1)}
	for i, t := range tasks {
		calls.add(t.segment(), i, 0, t.seq)
	}
	calls.run(ctx, l.rdb, beginScript)
	answers := make([]answer[admitted], len(tasks))
	for _, c := range calls.all {
		all, err := l.admissions(c.cmd, len(c.places))
		for k, place := range c.places {
			if answers[place].err = err; err == nil {
				answers[place].value = all[k]
			}
		}
	}
	return answers
}

// recordEntries is record.lua for outcomes of any batches.
func (l *Ledger) recordEntries(ctx context.Context, entries []entry) []answer[int64] {
	calls := scriptCalls{begin: recordCall, open: make(map[span]*scriptCall, 1)}
	answers := make([]answer[int64], len(entries))
	for i, e := range entries {
		args, size, err := e.encode()
		if err != nil {
			answers[i].err = err
			continue
		}
		calls.add(e.segment(), i, size, args...)
	}
	calls.run(ctx, l.rdb, recordScript)
	for _, c := range calls.all {
		codes, err := c.cmd.Int64Slice()
		if err == nil && len(codes) != len(c.places) {
			err = orShape(nil)
		}
		for k, place := range c.places {
			if answers[place].err = err; err == nil {
				answers[place].value = codes[k]
			}
		}
	}
	return answers
}
