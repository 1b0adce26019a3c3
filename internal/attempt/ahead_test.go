package attempt

import (
	"testing"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// An answer that was asked for ahead does not hide that the batch has ended since.
func TestAnEndSinceTheAnswerIsHeard(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := batch.NewLedger(conntest.Mini(t))
	if _, err := l.Create(ctx, "b", batch.Options{Type: "t", TimeoutMS: 1000, KeepMS: 3_600_000}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		announced bool
		want      batch.Admission
	}{{false, batch.Run}, {true, batch.Forget}} { // in this order: the second ends the batch, which has no task yet
		r := New(Options{Ledger: l})
		all := r.Ahead([]string{"b:0", "foreign"})
		d := &delivery{batch: "b"}
		d.ahead = all[0].(ahead)
		r.Stop(ctx) // the answer is there
		if c.announced {
			if _, err := l.GiveUp(ctx, "b"); err != nil {
				t.Fatal(err)
			}
			r.running.end("b", errBatchCancelled)
		}
		got, _, err := r.mayRun(ctx, d)
		if err != nil || got != c.want {
			t.Errorf("announced %v: %v, %v", c.announced, got, err)
		}
		foreign := all[1].(ahead)
		if _, ok := foreign.Run(ctx); ok {
			t.Error("a foreign task may run in a batch")
		}
	}
}
