package batch

import (
	"context"
	"time"

	"github.com/weir-tasks/weir/internal/together"
)

// fresh is how old an answer may be that was asked for ahead. Nobody is told that a batch
// is paused, or that another worker has recorded a task's outcome: for so long it may be
// missed.
const fresh = 100 * time.Millisecond

// Ahead is the answer of Begin for one of some tasks, asked for before they are begun.
type Ahead struct {
	all   *ahead
	place int
}

type ahead struct {
	began    time.Time
	answers  []together.Answer[admitted]
	answered chan struct{}
}

// Ahead is to ask of tasks, by their IDs, whether attempts may run: send does it, in one
// round trip. What is no ID of a batch's task has no answer, nil.
func (l *Ledger) Ahead(ids []string) (aheads []*Ahead, send func()) {
	all := &ahead{began: time.Now(), answered: make(chan struct{})}
	asks, aheads := make([]asked, 0, len(ids)), make([]*Ahead, len(ids))
	for i, id := range ids {
		if name, seq, ok := ParseTaskID(id); ok {
			aheads[i] = &Ahead{all, len(asks)}
			asks = append(asks, asked{name, seq})
		}
	}
	return aheads, func() {
		defer close(all.answered)
		all.answers = l.beginAll(context.Background(), asks)
	}
}

// Run says that an attempt may run, and under which terms. If it does not, for whatever
// reason, Begin is to be asked: the answer may be too old, or another one.
func (a *Ahead) Run(ctx context.Context) (t Terms, ok bool) {
	if a == nil {
		return t, false
	}
	select {
	case <-a.all.answered:
	case <-ctx.Done():
		return t, false
	}
	answer, age := a.all.answers[a.place], time.Since(a.all.began)
	if answer.Err != nil || answer.Value.Admission != Run || age > fresh {
		return t, false
	}
	t = answer.Value.Terms
	if t.Left >= 0 {
		t.Left -= age
		ok = t.Left > 0
		return t, ok
	}
	return t, true
}
