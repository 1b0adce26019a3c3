package batch

import (
	"context"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Only a fresh answer that an attempt may run counts.
func TestAnAnswerAskedForAhead(t *testing.T) {
	t.Parallel()
	l := newFixture(t, conntest.Mini(t))
	o := someOptions
	o.DeadlineMS = time.Hour.Milliseconds()
	if _, err := l.Create(l.ctx, "late", o); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Create(l.ctx, "paused", someOptions); err != nil {
		t.Fatal(err)
	}
	if err := l.SetPaused(l.ctx, "paused", true); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(l.ctx, "late", outcome(1, OK), unknown, nil); err != nil {
		t.Fatal(err)
	}
	ids := []string{"late:0", "not a batch's", "late:1", "paused:0", "none:0", "late:2"}
	answers, send := l.Ahead(ids)
	waits, cancel := context.WithTimeout(l.ctx, time.Millisecond)
	defer cancel()
	if _, ok := answers[0].Run(waits); ok {
		t.Error("it has an answer that nobody has asked for")
	}
	send()
	for i, want := range []bool{true, false, false, false, false, true} {
		answers[i].restart()
		terms, ok := answers[i].Run(l.ctx)
		if ok != want {
			t.Errorf("%s: %v", ids[i], ok)
		}
		if ok && (terms.Type != o.Type || terms.Left <= 0 || terms.Left > time.Hour) {
			t.Errorf("%s: %+v", ids[i], terms)
		}
	}
	answers[0].all.began = time.Now().Add(-fresh)
	if _, ok := answers[0].Run(l.ctx); ok {
		t.Error("an old answer counts")
	}
	answers[0].restart()
	answers[0].all.answers[0].Value.Left = time.Nanosecond
	if _, ok := answers[0].Run(l.ctx); ok {
		t.Error("the deadline has passed since it was asked")
	}
}

// restart makes an answer as fresh as can be, however slow the test is.
func (a *Ahead) restart() {
	if a != nil {
		a.all.began = time.Now()
	}
}
