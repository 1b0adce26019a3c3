package together

import (
	"context"
	"sync"
)

// Asker sends questions that are asked at the same time with one another.
type Asker[Q, A any] struct {
	send func(ctx context.Context, questions []Q) []Answer[A]

	mu      sync.Mutex
	waiting *group[Q, A]
	sending bool
	size    int // of the last group: the next is likely to be like it
}

// Answer is one question's.
type Answer[A any] struct {
	Value A
	Err   error
}

type group[Q, A any] struct {
	questions []Q
	answers   []Answer[A]
	answered  chan struct{}
}

// NewAsker returns an Asker whose questions send answers, each in its place.
func NewAsker[Q, A any](send func(ctx context.Context, questions []Q) []Answer[A]) *Asker[Q, A] {
	return &Asker[Q, A]{send: send}
}

// Do asks, and waits for the answer or ctx's end. The question may go out all the same.
func (t *Asker[Q, A]) Do(ctx context.Context, q Q) (a A, err error) {
	if err := ctx.Err(); err != nil {
		return a, context.Cause(ctx)
	}
	t.mu.Lock()
	if t.waiting == nil {
		t.waiting = &group[Q, A]{answered: make(chan struct{}), questions: make([]Q, 0, t.size)}
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
		return g.answers[i].Value, g.answers[i].Err
	case <-ctx.Done():
		return a, context.Cause(ctx)
	}
}

// sendAll sends group after group, until nobody waits.
func (t *Asker[Q, A]) sendAll() {
	for {
		t.mu.Lock()
		g := t.waiting
		t.waiting = nil
		t.sending = g != nil
		if g != nil {
			t.size = len(g.questions)
		}
		t.mu.Unlock()
		if g == nil {
			return
		}
		g.answers = t.send(context.Background(), g.questions)
		close(g.answered)
	}
}
