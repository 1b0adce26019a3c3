package attempt_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
)

// suspect makes a task of "b" one that is to run alone.
func (w *world) suspect(seqs ...int64) {
	w.t.Helper()
	for _, seq := range seqs {
		for _, lease := range []string{"1", "2"} {
			if _, err := w.ledger.CountCrash(w.ctx, "b", seq, lease); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// together notes which tasks ran at the same time.
type together struct {
	mu  sync.Mutex
	now map[int64]bool
	met map[int64]map[int64]bool
}

func (g *together) run(n int64, d time.Duration) {
	g.mu.Lock()
	if g.now == nil {
		g.now, g.met = make(map[int64]bool), make(map[int64]map[int64]bool)
	}
	g.now[n] = true
	for a := range g.now {
		for b := range g.now {
			if g.met[a] == nil {
				g.met[a] = make(map[int64]bool)
			}
			g.met[a][b] = true
		}
	}
	g.mu.Unlock()
	time.Sleep(d)
	g.mu.Lock()
	delete(g.now, n)
	g.mu.Unlock()
}

func TestSuspectsRunAlone(t *testing.T) {
	var g together
	inBubble(t, someOptions, func(_ context.Context, in payload) (string, error) {
		g.run(in.N, 300*time.Millisecond)
		return "", nil
	}, func(t *testing.T, w *world) {
		w.suspect(5, 6, 7, 8, 40)
		start := time.Now()
		if all := w.run(50); len(all) != 50 {
			t.Errorf("%d outcomes", len(all))
		}
		for seq := range int64(50) {
			if suspect := seq >= 5 && seq <= 8 || seq == 40; suspect && len(g.met[seq]) != 1 {
				t.Errorf("suspect %d ran beside %v", seq, g.met[seq])
			}
		}
		t.Logf("done in %v of the bubble's time", time.Since(start))
		if i, err := w.ledger.Info(w.ctx, "b"); err != nil || i.OK != 50 {
			t.Errorf("%+v, %v", i, err)
		}
		w.wantNothingLeft()
	})
}

// One that never returns keeps its slot, not the suspects.
func TestAStuckHandlerDoesNotHoldUpSuspects(t *testing.T) {
	end := make(chan struct{})
	o := someOptions
	o.TimeoutMS, o.Retries = 1000, 0
	inBubble(t, o, func(_ context.Context, in payload) (string, error) {
		if in.N == 0 {
			<-end
		}
		return "", nil
	}, func(t *testing.T, w *world) {
		end = make(chan struct{})
		w.enqueue("b", 0)
		w.until(10*time.Second, "it is stuck, and told", func() bool { return w.Stat().Stuck == 1 && len(w.outcomes()) == 1 })
		w.suspect(1)
		start := time.Now()
		w.runAll(1, 2, 3)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("the suspect waited %v", took)
		}
		close(end)
		w.wantNothingLeft()
	})
}

// runAll enqueues tasks of "b" and waits until all have their outcome.
func (w *world) runAll(seqs ...int64) {
	w.t.Helper()
	before := int64(len(w.outcomes()))
	w.enqueue("b", seqs...)
	w.until(time.Minute, "all have their outcome", func() bool { return int64(len(w.outcomes())) == before+int64(len(seqs)) })
}

// A neighbour that takes long is waited for, but not for ever.
func TestALongNeighbourDoesNotHoldUpASuspectForEver(t *testing.T) {
	o := someOptions
	o.TimeoutMS = 600_000
	inBubble(t, o, func(_ context.Context, in payload) (string, error) {
		if in.N == 0 {
			time.Sleep(5 * time.Minute)
		}
		return "", nil
	}, func(t *testing.T, w *world) {
		w.long("b", 0)
		time.Sleep(time.Second)
		w.suspect(1)
		start := time.Now()
		w.long("b", 1)
		w.until(2*time.Minute, "the suspect has its outcome", func() bool { return len(w.outcomes()) == 1 })
		if took := time.Since(start); took < 30*time.Second {
			t.Errorf("it ran after %v, beside the other", took)
		}
		w.until(10*time.Minute, "the other too", func() bool { return len(w.outcomes()) == 2 })
		for _, out := range w.outcomes() {
			if out.State != batch.OK || out.Attempts != 1 {
				t.Errorf("%+v", out)
			}
		}
		w.wantNothingLeft()
	})
}

// An attempt that fails for a reason of its own, its worker alive, is no death.
func TestASuspectThatIsRetriedIsNotBlamed(t *testing.T) {
	var failed sync.Once
	inBubble(t, someOptions, func(context.Context, payload) (string, error) {
		var err error
		failed.Do(func() { err = context.DeadlineExceeded })
		return "", err
	}, func(t *testing.T, w *world) {
		w.suspect(0)
		w.enqueue("b", 0)
		w.until(10*time.Second, "it waits for its second attempt", func() bool { return w.verdicts() == "retry timeout" })
		if n, err := w.ledger.CountCrash(w.ctx, "b", 0, "3"); n != 1 || err != nil {
			t.Errorf("it is still a suspect: %d deaths, %v", n, err)
		}
		w.until(time.Minute, "it has its outcome", func() bool { return len(w.outcomes()) == 1 })
		w.wantNothingLeft()
	})
}
