package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what a batch is, written as plainly as can be.
type model struct {
	exists, stopped bool
	phase           Phase
	Mark
	n        int64
	hash     string
	outcomes map[int64]State
	dead     int64
	retries  int64
	stream   []string // "seq state", and "end"
}

func (m *model) count(s State) (n int64) {
	for _, o := range m.outcomes {
		if o == s {
			n++
		}
	}
	return n
}

// checkEnd closes the stream when every task has its outcome.
func (m *model) checkEnd() {
	if m.n >= 0 && int64(len(m.outcomes)) == m.n {
		if m.phase == Sealed {
			m.phase = Done
		}
		m.stream = append(m.stream, "end")
	}
}

func (m *model) admission(seq int64) Admission {
	_, has := m.outcomes[seq]
	switch {
	case !m.exists:
		return NoBatch
	case has:
		return HasOutcome
	case m.phase != Open && seq >= m.n:
		return Forget
	case m.phase == GivenUp:
		return IsCancelled
	case m.stopped:
		return Forget
	}
	return Run
}

func (m *model) end(want Phase) Phase {
	switch {
	case m.phase == Open:
		for seq := range m.outcomes {
			m.Next = max(m.Next, seq+1) // skipped for Sealed
		}
		if want == GivenUp {
			m.Next = max(m.Next, m.Upto)
		}
		m.Mark = At(m.Next)
		m.phase, m.n = want, m.Next
		m.checkEnd()
	case m.phase == Sealed && want == GivenUp:
		m.phase = GivenUp
	}
	return m.phase
}

// The ledger against the model, step by step. Every step asks for the same answer
// of both, and after each the whole record is compared.
func TestTheLedgerIsItsModel(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		run := 0
		rapid.Check(t, func(t *rapid.T) {
			run++
			s := &machine{fixture: l, m: &model{n: -1, outcomes: make(map[int64]State)}, name: fmt.Sprintf("run-%d", run)}
			t.Repeat(map[string]func(*rapid.T){
				"":           s.check,
				"create":     s.create,
				"begin":      s.begin,
				"record":     s.record,
				"checkpoint": s.checkpoint,
				"seal":       func(t *rapid.T) { s.end(t, Sealed) },
				"give up":    func(t *rapid.T) { s.end(t, GivenUp) },
				"stop":       s.stop,
				"fill":       s.fill,
				"have":       s.have,
			})
			s.checkStream(t)
			l.c.Del(l.ctx, keysOf(l.t, l.c, s.name)...)
		})
	})
}

type machine struct {
	*fixture
	m    *model
	name string
}

// seqs that matter lie about the edges of bytes, pages and segments; there are few
// of them, so that they meet again.
var edges = []int64{0, 1, 2, 7, 8, 9, 15, 16, 17, 18, 19, 20}

// seq draws a seq that a task of the batch may have: while it is open also one
// that is enqueued and not yet passed by the checkpoint.
func (s *machine) seq(t *rapid.T) int64 {
	seq := rapid.SampledFrom(edges).Draw(t, "seq")
	if s.m.n >= 0 && seq >= s.m.n {
		t.Skip("beyond the end")
	}
	return seq
}

func (s *machine) create(t *rapid.T) {
	made, err := s.Create(s.ctx, s.name, someOptions)
	if err != nil || made == s.m.exists {
		t.Fatalf("made %v, %v", made, err)
	}
	if made {
		s.m.exists, s.m.phase = true, Open
	}
}

func (s *machine) begin(t *rapid.T) {
	seq := rapid.SampledFrom(edges).Draw(t, "seq")
	a, _, err := s.Begin(s.ctx, s.name, seq)
	if want := s.m.admission(seq); err != nil || a != want {
		t.Fatalf("begin %d: %v, %v; want %v", seq, a, err, want)
	}
}

func (s *machine) record(t *rapid.T) {
	seq := s.seq(t)
	o := outcome(seq, rapid.SampledFrom([]State{OK, Failed, Cancelled}).Draw(t, "state"))
	o.Attempts = rapid.IntRange(0, 3).Draw(t, "attempts")
	first, err := s.Record(s.ctx, s.name, o, time.Second, []byte(`{"p":1}`))
	if !s.m.exists {
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("record: %v", err)
		}
		return
	}
	_, had := s.m.outcomes[seq]
	if err != nil || first == had {
		t.Fatalf("record %d: first %v, %v", seq, first, err)
	}
	if had {
		return
	}
	s.m.outcomes[seq] = o.State
	s.m.retries += int64(max(0, o.Attempts-1))
	if o.State == Failed {
		s.m.dead++
	}
	s.m.stream = append(s.m.stream, fmt.Sprint(seq, " ", o.State))
	s.m.checkEnd()
}

func (s *machine) checkpoint(t *rapid.T) {
	from := rapid.SampledFrom([]Mark{s.m.Mark, s.m.Mark, s.m.Mark, {}, At(5), {5, 1, 9}}).Draw(t, "from")
	to := At(from.Next + rapid.Int64Range(0, 12).Draw(t, "records"))
	if overtaken := rapid.Int64Range(0, 9).Draw(t, "overtaken"); overtaken > 4 {
		to.Ahead, to.Upto = overtaken-4, to.Next+2*overtaken
	}
	hash := fmt.Sprint("sum", to)
	err := s.Advance(s.ctx, s.name, from, to, hash)
	var rewound *RewoundError
	switch {
	case !s.m.exists:
		if !errors.As(err, &rewound) || rewound.Next != -1 {
			t.Fatalf("checkpoint: %v", err)
		}
	case s.m.phase != Open, from != s.m.Mark && to != s.m.Mark:
		if !errors.As(err, &rewound) || rewound.Next != s.m.Next || rewound.Phase != s.m.phase {
			t.Fatalf("checkpoint from %d to %d: %v; it stands at %d", from, to, err, s.m.Mark)
		}
	case err != nil:
		t.Fatal(err)
	case from == s.m.Mark:
		s.m.Mark, s.m.hash = to, hash
	}
}

func (s *machine) end(t *rapid.T, want Phase) {
	if want == Sealed && s.m.phase == Open && slices.ContainsFunc(edges, func(seq int64) bool {
		_, has := s.m.outcomes[seq]
		return has && seq >= s.m.Next
	}) {
		t.Skip("outcomes beyond the checkpoint")
	}
	at := s.m.Mark
	if s.m.Ahead > 0 { // the producer waits until nothing is
		at = At(s.m.Next)
	}
	call := func(ctx context.Context, name string) (Phase, error) { return s.SealAt(ctx, name, at) }
	if want == Sealed && s.m.exists && s.m.phase == Open && at != s.m.Mark {
		if phase, err := call(s.ctx, s.name); phase != Open || err != nil {
			t.Fatalf("sealed at %v as %s, %v; the checkpoint is at %v", at, phase, err, s.m.Mark)
		}
		return
	}
	if want == GivenUp {
		call = s.GiveUp
	}
	phase, err := call(s.ctx, s.name)
	if !s.m.exists {
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("end: %v", err)
		}
		return
	}
	if expect := s.m.end(want); err != nil || phase != expect {
		t.Fatalf("ended as %s, %v; want %s", phase, err, expect)
	}
}

func (s *machine) stop(t *rapid.T) {
	if !s.m.exists {
		return
	}
	s.m.stopped = rapid.Bool().Draw(t, "stopped")
	if err := s.SetStopped(s.ctx, s.name, "me", s.m.stopped); err != nil {
		t.Fatal(err)
	}
}

func (s *machine) fill(t *rapid.T) {
	running := rapid.SampledFrom(edges).Draw(t, "running")
	n, err := s.FillCancelled(s.ctx, s.name, func(seq int64) bool { return seq == running })
	if s.m.phase != GivenUp {
		if err == nil {
			t.Fatal("filled a batch that is not cancelled")
		}
		return
	}
	var want int64
	for seq := range s.m.n {
		if _, has := s.m.outcomes[seq]; !has && seq != running {
			want++
			s.m.outcomes[seq] = Cancelled
			s.m.stream = append(s.m.stream, fmt.Sprint(seq, " ", Cancelled))
			s.m.checkEnd()
		}
	}
	if err != nil || n != want {
		t.Fatalf("filled %d, %v; want %d", n, err, want)
	}
}

func (s *machine) have(t *rapid.T) {
	from := rapid.Int64Range(0, 20).Draw(t, "from")
	n := rapid.IntRange(0, 20).Draw(t, "n")
	got, err := s.Have(s.ctx, s.name, from, n)
	if err != nil || len(got) != n {
		t.Fatalf("%d answers, %v", len(got), err)
	}
	for i := range got {
		if _, has := s.m.outcomes[from+int64(i)]; has != got[i] {
			t.Fatalf("have %d: %v", from+int64(i), got[i])
		}
	}
}

// check compares the record.
func (s *machine) check(t *rapid.T) {
	i, have, err := s.Snapshot(s.ctx, s.name, edges)
	if !s.m.exists {
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("info: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(i.Phase, i.Mark, i.Hash, i.N, i.OK, i.Failed, i.Cancelled, i.Retries, i.Stopped, i.Complete())
	want := fmt.Sprint(s.m.phase, s.m.Mark, s.m.hash, s.m.n, s.m.count(OK), s.m.count(Failed), s.m.count(Cancelled),
		s.m.retries, s.m.stopped, int64(len(s.m.outcomes)) == s.m.n)
	if got != want {
		t.Fatalf("the record is\n%s, want\n%s", got, want)
	}
	for k, seq := range edges {
		if _, has := s.m.outcomes[seq]; has != have[k] {
			t.Fatalf("bit of %d: %v", seq, have[k])
		}
	}
}

// checkStream compares what a reader gets.
func (s *machine) checkStream(t *rapid.T) {
	if n, err := s.DeadLetters(s.ctx, s.name); err != nil || n != s.m.dead {
		t.Fatalf("%d dead letters, %v; want %d", n, err, s.m.dead)
	}
	entries, err := s.Read(s.ctx, s.name, Start, 1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		if e.End {
			lines = append(lines, "end")
			continue
		}
		o, err := ParseOutcome(e.Line)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(o.Seq, " ", o.State))
	}
	if !slices.Equal(lines, s.m.stream) {
		t.Fatalf("the stream is\n%s, want\n%s", strings.Join(lines, ", "), strings.Join(s.m.stream, ", "))
	}
}
