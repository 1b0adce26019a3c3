package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/produce"
	"github.com/weir-tasks/weir/internal/source"
)

var errInterrupted = errors.New("interrupted")

// producer is a command that is begun again each time it ends before its batch: the
// same name, options, input and outcome file.
type producer struct {
	w    *world
	b    *simBatch
	file *file

	mu    sync.Mutex
	life  *producerLife
	lives int
}

// producerLife is one process of it.
type producerLife struct {
	*machine
	kill context.CancelCauseFunc
	dead chan struct{} // closed when it has died

	interrupted atomic.Bool
}

// run begins the command until it has succeeded.
func (p *producer) run(ctx context.Context) {
	for ctx.Err() == nil {
		life, done := p.begin(ctx)
		select {
		case <-life.dead: // what is left of it ends by itself
			continue
		case err := <-done:
			life.Kill()
			if err == nil {
				return
			}
			p.w.note("%s ends: %v", life.name, err)
			p.judge(err)
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// judge tells errors that can be from those that never may.
func (p *producer) judge(err error) {
	var input *feed.InputError
	var lost *produce.LostOutcomesError
	switch {
	case errors.As(err, &input), errors.As(err, &lost), errors.Is(err, batch.ErrNotFound), errors.Is(err, feed.ErrCancelled):
		p.w.violate("I1", "the producer of %s: %v", p.b.name, err)
	}
}

func (p *producer) begin(ctx context.Context) (*producerLife, chan error) {
	p.lives++
	ctx, kill := context.WithCancelCause(ctx)
	life := &producerLife{machine: p.w.machine(p.w.name("producer", p.b.number), 0), kill: kill, dead: make(chan struct{})}
	p.mu.Lock()
	p.life = life
	p.mu.Unlock()
	if p.lives == 1 && p.b.dies != nil {
		p.arm(life, p.b.dies)
	}
	done := make(chan error, 1)
	p.w.timers.Go(func() {
		defer life.rdb.Close()
		defer kill(nil)
		err := p.command(ctx, life)
		if life.interrupted.Load() { // only now: it may have been cut off for long before it took its tasks out
			p.w.allowAgain("producer interrupted", p.b)
		}
		done <- err
	})
	return life, done
}

// arm lets a life die at one of its requests.
func (p *producer) arm(life *producerLife, d *death) {
	d.then = func() {
		p.w.count("producer killed")
		close(life.dead)
		life.kill(errors.New("killed"))
	}
	life.dieAt(d)
}

func (p *producer) now() *producerLife {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// interrupt is Ctrl-C.
func (p *producer) interrupt() {
	life := p.now()
	if life == nil || life.gone() {
		return
	}
	p.w.note("%s is interrupted", life.name)
	life.interrupted.Store(true)
	p.b.interrupted.Store(true)
	life.kill(errInterrupted)
}

// command is what `producer run --batch NAME --out FILE` does.
func (p *producer) command(ctx context.Context, life *producerLife) error {
	pr := &produce.Producer{RDB: life.rdb, Ledger: life.ledger, ID: produce.ID("sim-" + life.name + ":1"), Log: p.w.log(life.name)}
	b, err := pr.Begin(ctx, produce.Options{
		Name: p.b.name, Window: p.b.window,
		Options: batch.Options{
			Type: p.b.typ.Name(), Lane: p.b.typ.Name(), TimeoutMS: taskTimeout.Milliseconds(), Retries: retries,
			BackoffMS: 200, MaxBackoffMS: 2000, Ordered: p.b.ordered, Out: "file", KeepMS: (24 * time.Hour).Milliseconds(),
		},
	})
	if err != nil {
		return err
	}
	defer b.End()
	src, err := source.Repeat(p.b.n, fmt.Sprintf(`{"world":%q,"n":{n}}`, p.w.id), p.b.typ)
	if err != nil {
		return err
	}
	defer src.Close()
	sink := p.file.open(life)
	return b.Run(ctx, src, produce.Outcomes{Sink: sink, Given: sink.before})
}

// file is an outcome file, as the commands leave it behind.
type file struct {
	mu    sync.Mutex
	lines [][]byte
}

// sink is a file opened by one life of a producer. What it has not flushed when that
// dies is not in the file.
type sink struct {
	f      *file
	life   *producerLife
	before int64
	unsaid [][]byte
	held   map[int64]bool
}

func (f *file) open(life *producerLife) *sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &sink{f: f, life: life, before: int64(len(f.lines)), held: make(map[int64]bool)}
	for _, line := range f.lines {
		s.held[seqOf(line)] = true
	}
	return s
}

func (s *sink) Put(line []byte) error {
	s.unsaid = append(s.unsaid, append([]byte(nil), line...))
	return nil
}

func (s *sink) Flush() error {
	if s.life.gone() {
		return errors.New("the process is dead")
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.lines = append(s.f.lines, s.unsaid...)
	s.unsaid = nil
	return nil
}

func (s *sink) Commit() error      { return s.Flush() }
func (s *sink) Has(seq int64) bool { return s.held[seq] }

func seqOf(line []byte) int64 {
	var o struct {
		Seq int64 `json:"seq"`
	}
	if err := json.Unmarshal(line, &o); err != nil {
		return -1
	}
	return o.Seq
}
