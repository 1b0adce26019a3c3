package batch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// have wants to know of seqs from ... exactly which have an outcome, by both ways
// of asking.
func (l *fixture) have(from int64, n int, want ...int64) {
	l.t.Helper()
	got, err := l.Have(l.ctx, "b", from, n)
	if err != nil || len(got) != n {
		l.t.Fatalf("Have(%d, %d): %d answers, %v", from, n, len(got), err)
	}
	seqs := make([]int64, n)
	for i := range seqs {
		seqs[i] = from + int64(i)
	}
	_, snapshot, err := l.Snapshot(l.ctx, "b", seqs)
	if err != nil {
		l.t.Fatal(err)
	}
	for i, seq := range seqs {
		if w := slices.Contains(want, seq); got[i] != w || snapshot[i] != w {
			l.t.Errorf("seq %d: Have %v, Snapshot %v, want %v", seq, got[i], snapshot[i], w)
		}
	}
}

func TestHaveAtEdges(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.have(0, 0)
		l.have(0, 10)
		l.have(segment-3, 6)
		// Edges of bytes, of Snapshot's pages, of segments.
		seqs := []int64{0, 7, 8, 15, 17, page - 1, page, segment - 1, segment, segment + 1, 2*segment - 1, 2 * segment, MaxTasks - 1}
		for _, seq := range seqs {
			l.record(seq, OK)
		}
		l.have(0, 20, seqs...)
		l.have(7, 1, seqs...)
		l.have(3, 6, seqs...)
		l.have(page-2, 4, seqs...)
		l.have(segment-2, 4, seqs...)
		l.have(2*segment-9, 18, seqs...)
		l.have(MaxTasks-5, 5, seqs...)
		for _, seq := range seqs {
			l.begin(seq, HasOutcome)
			l.begin(seq^1<<5, Run)
		}
	})
}

func TestHaveAcrossThreeSegments(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.record(3, OK)
		l.record(segment+5, OK)
		l.record(2*segment, OK)
		got, err := l.Have(l.ctx, "b", 3, 2*segment)
		if err != nil || len(got) != 2*segment {
			t.Fatalf("%d answers, %v", len(got), err)
		}
		for i, has := range got {
			if seq := 3 + i; has != (seq == 3 || seq == segment+5 || seq == 2*segment) {
				t.Errorf("seq %d: %v", seq, has)
			}
		}
	})
}

// fill gives all seqs of the first segment but the last an outcome, as if by so
// many calls of Record.
func (l *fixture) fill() {
	l.t.Helper()
	bits := []byte(strings.Repeat("\xff", segment/8))
	bits[segment/8-1] = 0xfe
	l.c.SetRange(l.ctx, bitsKey("b", 0), 0, string(bits))
	if err := l.c.HSet(l.ctx, batchKey("b"), "set:0", segment-1, "ok", segment-1).Err(); err != nil {
		l.t.Fatal(err)
	}
}

func TestAFullSegmentIsOneBitOfMemory(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.fill()
		l.record(segment+2, OK) // another segment does not count
		l.have(segment-5, 10, segment-5, segment-4, segment-3, segment-2, segment+2)
		l.begin(segment-1, Run)
		l.record(segment-1, OK)
		if n := l.c.Exists(l.ctx, bitsKey("b", 0)).Val(); n != 0 {
			t.Error("its bitmap is still there")
		}
		if l.c.HExists(l.ctx, batchKey("b"), "set:0").Val() {
			t.Error("its count is still there")
		}
		for _, seq := range []int64{0, 1, segment / 2, segment - 1} {
			l.begin(seq, HasOutcome)
			if first, err := l.Record(l.ctx, "b", outcome(seq, Failed), unknown, nil); first || err != nil {
				t.Errorf("a second outcome of %d: first %v, %v", seq, first, err)
			}
		}
		if n := l.c.Exists(l.ctx, bitsKey("b", 0)).Val(); n != 0 {
			t.Error("second outcomes brought its bitmap back")
		}
		l.begin(segment, Run)
		l.have(segment-3, 6, segment-3, segment-2, segment-1, segment+2)
		if i := l.info("b"); i.OK != segment+1 || i.Failed != 0 {
			t.Errorf("counted %d ok, %d failed", i.OK, i.Failed)
		}
	})
}

func TestABatchMayEndWithAFullSegment(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.checkpoint(0, segment)
		l.fill()
		p, err := l.Seal(l.ctx, "b")
		l.ended(p, err, Sealed)
		l.record(segment-1, OK)
		if i := l.info("b"); i.Phase != Done || !i.Complete() {
			t.Errorf("%+v", i)
		}
		if keys := keysOf(t, l.c, "b"); join(keys) != "weir:{b}:batch, weir:{b}:out" {
			t.Errorf("keys %v", keys)
		}
	})
}

// A segment that becomes full while Have reads must not look empty.
func TestHaveDuringTheLastOutcomeOfASegment(t *testing.T) {
	t.Parallel()
	c := conntest.Mini(t)
	l := newFixture(t, c)
	l.fill()
	reader := NewLedger(&interrupted{UniversalClient: c, between: func() { l.record(segment-1, OK) }})
	have, err := reader.Have(t.Context(), "b", 0, segment-1)
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.Index(have, false); i >= 0 {
		t.Errorf("seq %d has lost its outcome", i)
	}
}

// interrupted is a client whose pipelines are no transactions: between the first
// command and the second somebody else gets in.
type interrupted struct {
	redis.UniversalClient
	between func()
}

func (c *interrupted) Pipeline() redis.Pipeliner {
	return &interruptedPipe{c.UniversalClient.Pipeline(), c}
}

type interruptedPipe struct {
	redis.Pipeliner
	c *interrupted
}

func (p *interruptedPipe) Exec(ctx context.Context) ([]redis.Cmder, error) {
	cmds := p.Pipeliner.Cmds()
	for i, cmd := range cmds {
		if i == 1 {
			p.c.between()
		}
		if err := p.c.Process(ctx, cmd); err != nil {
			return cmds, err
		}
	}
	return cmds, nil
}

func TestFillCancelledGivesTheRestTheirOutcome(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.checkpoint(0, 40)
		for seq := int64(0); seq < 40; seq += 3 {
			l.record(seq, OK)
		}
		if _, err := l.FillCancelled(l.ctx, "b", none); err == nil || !strings.Contains(err.Error(), "open") {
			t.Errorf("of an open batch: %v", err)
		}
		p, err := l.GiveUp(l.ctx, "b")
		l.ended(p, err, GivenUp)
		running := func(seq int64) bool { return seq == 1 || seq == 3 }
		n, err := l.FillCancelled(l.ctx, "b", running)
		if n != 40-14-1 || err != nil {
			t.Errorf("filled %d, %v; want 25", n, err)
		}
		l.begin(1, IsCancelled)
		l.begin(2, HasOutcome)
		if i := l.info("b"); i.Complete() || i.OK != 14 || i.Cancelled != 25 {
			t.Errorf("%+v", i)
		}
		n, err = l.FillCancelled(l.ctx, "b", none)
		if n != 1 || err != nil {
			t.Errorf("filled %d more, %v", n, err)
		}
		i := l.info("b")
		if !i.Complete() || i.Phase != GivenUp || i.OK != 14 || i.Cancelled != 26 || i.Retries != 0 {
			t.Errorf("%+v", i)
		}
		got := l.stream()
		if len(got) != 41 || got[40] != "end" || !slices.Contains(got, "39 ok") || !slices.Contains(got, "38 cancelled") {
			t.Errorf("the stream is %v", got)
		}
		n, err = l.FillCancelled(l.ctx, "b", none)
		if n != 0 || err != nil {
			t.Errorf("a third time it filled %d, %v", n, err)
		}
	})
}

func none(int64) bool { return false }

func TestSnapshotIsOfOneMoment(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.record(5, OK)
		l.record(page+1, Failed)
		i, have, err := l.Snapshot(l.ctx, "b", []int64{page + 1, 4, 5})
		if err != nil || fmt.Sprint(have) != "[true false true]" || i.Outcomes() != 2 {
			t.Errorf("%+v, %v, %v", i, have, err)
		}
		i, have, err = l.Snapshot(l.ctx, "b", nil)
		if err != nil || len(have) != 0 || i.Name != "b" {
			t.Errorf("%+v, %v, %v", i, have, err)
		}
	})
}
