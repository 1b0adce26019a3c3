package batch

import (
	"testing"

	"github.com/weir-tasks/weir/internal/queue"
)

// died wants the count of a task of "b" after a death of its worker.
func (l *fixture) died(seq int64, lease string, want int) {
	l.t.Helper()
	if n, err := l.CountCrash(l.ctx, "b", seq, lease); n != want || err != nil {
		l.t.Errorf("death %s of %d's worker: %d, %v; want %d", lease, seq, n, err, want)
	}
}

func (l *fixture) beginAlone(seq int64, want Admission) {
	l.t.Helper()
	if a, terms, err := l.BeginAlone(l.ctx, "b", seq, 0); err != nil || a != want || a == Run && terms.Options == nil {
		l.t.Fatalf("begin %d alone: %v, %v; want %v", seq, a, err, want)
	}
}

func TestDeathsCount(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.begin(7, Run)
		l.died(7, "1800000030", 1)
		l.died(7, "1800000030", 1) // another rescuer, or a lost reply
		l.begin(7, Run)            // among others: whoever killed the worker is not known
		l.died(7, "1800000050", 2)
		l.begin(7, RunAlone)
		l.died(7, "1800000070", 2) // it waited for its turn
		l.beginAlone(7, Run)
		l.died(7, "1800000090", 3)
		l.begin(8, Run)
		l.beginAlone(8, Run)
		if keys := keysOf(t, l.c, "b"); join(keys) != "weir:{b}:batch, weir:{b}:suspects" {
			t.Errorf("keys are %s", join(keys))
		}
	})
}

// A copy that runs alone, in a worker whose task others have by now, is not to blame for
// the death of theirs.
func TestADeathCountsWhereTheTaskRan(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		const zombie, other = queue.Mark(7), queue.Mark(8)
		l.died(7, other.Lease(1_800_000_030), 1)
		l.died(7, zombie.Lease(1_800_000_050), 2)
		if a, _, err := l.BeginAlone(l.ctx, "b", 7, zombie); a != Run || err != nil {
			t.Fatal(a, err)
		}
		l.died(7, other.Lease(1_800_000_070), 2)
		l.died(7, "1800000070", 2) // of asynq's own servers
		l.died(7, zombie.Lease(1_800_000_090), 3)
	})
}

// A worker that lives on is no death, whoever gets the task after it.
func TestAttemptThatEndedIsNotBlamed(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.died(7, "1", 1)
		l.died(7, "2", 2)
		l.beginAlone(7, Run)
		for range 2 {
			if err := l.Rest(l.ctx, "b", 7); err != nil {
				t.Fatal(err)
			}
		}
		l.begin(7, Run) // it is no suspect any more
		l.died(7, "3", 1)
		l.died(7, "4", 2)
		l.beginAlone(7, Run)
		l.died(7, "5", 3)
		if err := l.Rest(l.ctx, "b", 1000); err != nil {
			t.Errorf("rest of no suspect: %v", err)
		}
	})
}

func TestOutcomeEndsASuspicion(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for seq := range int64(3) {
			l.died(seq, "1", 1)
			l.died(seq, "2", 2)
		}
		for seq, s := range []State{OK, Failed, Cancelled} {
			l.beginAlone(int64(seq), Run)
			l.record(int64(seq), s)
			l.died(int64(seq), "3", 0)
			l.begin(int64(seq), HasOutcome)
		}
		if n := l.c.Exists(l.ctx, suspectsKey("b")).Val(); n != 0 || l.c.HExists(l.ctx, batchKey("b"), "suspects").Val() {
			t.Errorf("the suspects are still there: %v", contents(t, l.c))
		}
		if _, err := l.CountCrash(l.ctx, "no", 1, "1"); err == nil {
			t.Error("a batch that does not exist counts deaths")
		} else {
			wantNotFound(t, "count", err)
		}
	})
}

// The end of a batch asks for no tidying up.
func TestSuspectsGoWithTheirBatch(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.died(5, "1", 1) // enqueued past the checkpoint, then given up
		l.checkpoint(0, 1)
		if _, err := l.Seal(l.ctx, "b"); err != nil {
			t.Fatal(err)
		}
		l.record(0, OK)
		if left := l.c.PTTL(l.ctx, suspectsKey("b")).Val(); left <= 0 || left > minute {
			t.Errorf("they expire in %v", left)
		}
		l.create("c")
		if _, err := l.CountCrash(l.ctx, "c", 1, "1"); err != nil {
			t.Fatal(err)
		}
		if err := l.Discard(l.ctx, "c"); err != nil || len(keysOf(t, l.c, "c")) != 0 {
			t.Errorf("left are %v, %v", keysOf(t, l.c, "c"), err)
		}
	})
}
