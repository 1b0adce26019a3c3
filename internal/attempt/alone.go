package attempt

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
)

const (
	// neighbours is how long a suspect waits for the attempts beside it. Then it runs
	// beside those that still go on, which share the blame if it kills the worker once
	// more, and are far from failing for that. With patience for its turn it is less
	// than asynq's deadline comes after ours.
	neighbours = 45 * time.Second

	// patience is how long a suspect waits for its turn.
	patience = 5 * time.Second

	// session is how long suspects may run one after another before the worker takes
	// other tasks again. One attempt may take longer.
	session = time.Second

	// notAloneDelay is how long a suspect stays in its lane that finds others waiting
	// when their session is over.
	notAloneDelay = time.Second

	// aloneLook is how often it is looked whether the others are gone.
	aloneLook = 5 * time.Millisecond
)

// errNotAlone sends a suspect back to its lane for another time, or another worker.
var errNotAlone = errors.New("it is to run alone, and others are before it")

// alone lets suspects run one after another with nothing beside them: from the first
// one's coming to the last one's going the gate takes nothing new.
type alone struct {
	turn chan struct{} // holds a token while a suspect runs

	mu    sync.Mutex
	in    int       // suspects that wait or run
	began time.Time // when the first of this session ran; zero before
	letGo func()    // the gate's hold
}

// enter waits until the calling suspect is the only task that runs in this worker.
// Stuck handlers do not count. leave ends that; errNotAlone says to come again.
func (r *Runner) enter(ctx context.Context, d *delivery) (leave func(), err error) {
	a := &r.alone
	if !a.join(r.opts.Gate.Hold) {
		return nil, errNotAlone
	}
	soon := time.NewTimer(patience)
	defer soon.Stop()
	select {
	case a.turn <- struct{}{}:
	case <-soon.C:
		a.part()
		return nil, errNotAlone
	case <-ctx.Done():
		a.part()
		return nil, context.Cause(ctx)
	}
	leave = func() {
		<-a.turn
		a.part()
	}
	if a.over() {
		leave()
		return nil, errNotAlone
	}
	if err := r.awaitOthers(ctx, d); err != nil {
		leave()
		return nil, err
	}
	a.ran()
	return leave, nil
}

// awaitOthers waits until none but suspects that wait, and stuck handlers, have permits.
func (r *Runner) awaitOthers(ctx context.Context, d *delivery) error {
	limit := time.NewTimer(neighbours)
	defer limit.Stop()
	look := time.NewTicker(aloneLook)
	defer look.Stop()
	for {
		if r.opts.Gate.InFlight()-r.alone.count()-r.Stuck() <= 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-limit.C:
			r.opts.Log.Warn("a task that may have killed its worker runs beside others, which take too long to wait for",
				d.attrs(), "others", r.opts.Gate.InFlight()-r.alone.count()-r.Stuck())
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *alone) join(hold func() func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.overdue() {
		return false
	}
	if a.in++; a.in == 1 {
		a.letGo = hold()
	}
	return true
}

func (a *alone) part() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in--; a.in == 0 {
		a.letGo()
		a.began = time.Time{}
	}
}

func (a *alone) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.in
}

func (a *alone) over() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.overdue()
}

func (a *alone) overdue() bool { return !a.began.IsZero() && time.Since(a.began) > session }

func (a *alone) ran() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.began.IsZero() {
		a.began = time.Now()
	}
}

// askAlone asks the ledger again for a suspect, once it is alone.
func (r *Runner) askAlone(ctx context.Context, d *delivery) (admission batch.Admission, terms batch.Terms, leave func(), err error) {
	if leave, err = r.enter(ctx, d); err != nil {
		return admission, terms, nil, err
	}
	err = r.untilAnswered(ctx, func() (err error) {
		admission, terms, err = r.opts.Ledger.BeginAlone(ctx, d.batch, d.seq, r.opts.Gate.Mark())
		return err
	})
	if err != nil {
		leave()
		return admission, terms, nil, err
	}
	return admission, terms, leave, nil
}

// rest tells the ledger that a suspect's attempt has ended and the worker lives. Where
// Redis does not answer a later death is blamed on the task, at worst.
func (r *Runner) rest(ctx context.Context, d *delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := r.opts.Ledger.Rest(ctx, d.batch, d.seq); err != nil {
		r.opts.Log.Debug("ending a suspect's attempt", d.attrs(), "err", err)
	}
}
