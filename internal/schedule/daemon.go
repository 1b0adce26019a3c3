package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/logs"
)

const (
	// lockFor is how long a lock lasts that nobody keeps; its holder keeps it each look.
	lockFor = 6 * time.Second

	// look is how often a daemon looks for what is due.
	look = 250 * time.Millisecond

	// atOnce is how many runs of one schedule that may overlap go on at once.
	atOnce = 100

	// again is how long a run waits that could not be begun, since Redis or the system failed.
	again = 2 * time.Second
)

// Runner does what a schedule's command says.
type Runner interface {
	// Run begins the batch of a run, or goes on with it, and returns when the command has
	// done its part. A *LastError says that to try again is in vain.
	Run(ctx context.Context, batch string, args []string) error
	// Going says that the batch exists and has tasks without an outcome.
	Going(ctx context.Context, batch string) (bool, error)
}

// LastError ends a run that cannot be done.
type LastError struct{ Err error }

func (e *LastError) Error() string { return e.Err.Error() }
func (e *LastError) Unwrap() error { return e.Err }

// Daemon begins the runs that are due, while it holds the lock.
type Daemon struct {
	Store  *Store
	Runner Runner
	ID     string // of this daemon, unlike any other
	Log    *slog.Logger
	// Trouble hears when Redis does not answer, and, with a nil error, when it does again.
	Trouble func(err error, next time.Duration)

	mu      sync.Mutex
	running map[string]bool // batches whose command runs here, or has in this round
	ended   []string        // of these, those whose command does not run any more
	blocked map[string]bool // schedules that are due and wait for a run to end
	all     sync.WaitGroup
}

// Run is the daemon, until ctx ends. Then the lock is free at once, and what was begun here
// is taken up by another.
func (d *Daemon) Run(ctx context.Context) {
	d.running, d.blocked = make(map[string]bool), make(map[string]bool)
	tick := time.NewTicker(look)
	defer tick.Stop()
	lock, kept := "", time.Time{}
	in, leave := context.WithCancel(ctx)
	resign := func() {
		leave()
		d.all.Wait()
		in, leave = context.WithCancel(ctx)
		lock = ""
	}
	defer func() { leave() }()
	for ctx.Err() == nil {
		asked := time.Now()
		held, err := d.hold(ctx)
		switch {
		case err == nil && held != lock:
			resign()
			if lock = held; lock != "" {
				d.Log.Info("this daemon begins the runs now", "daemon", d.ID)
			}
		case err != nil && lock != "" && time.Since(kept) > lockFor:
			resign() // another may have it
		}
		if err == nil {
			kept = asked
		}
		if err == nil && lock != "" {
			err = d.round(in, lock)
		}
		if !errors.Is(err, errLost) && ctx.Err() == nil {
			d.trouble(err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	held := lock
	resign()
	d.giveBack(held)
}

func (d *Daemon) trouble(err error) {
	if d.Trouble != nil {
		d.Trouble(err, look)
	}
}

// hold takes the lock or keeps it; lock is what it holds then, "" where another has it.
func (d *Daemon) hold(ctx context.Context) (lock string, err error) {
	fence, err := holdScript.Run(ctx, d.Store.RDB, []string{lockKey, fenceKey}, d.ID, lockFor.Milliseconds()).Int64()
	if err != nil || fence == 0 {
		return "", err
	}
	return fmt.Sprintf("%d %s", fence, d.ID), nil
}

// giveBack frees the lock, for whoever waits.
func (d *Daemon) giveBack(lock string) {
	if lock == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = releaseScript.Run(ctx, d.Store.RDB, []string{lockKey}, lock).Err() // or it ends by itself
}

// round looks at each schedule once.
func (d *Daemon) round(ctx context.Context, lock string) error {
	d.forget() // before the records are read: what has ended is noted in them
	now, err := d.Store.now(ctx)
	if err != nil {
		return err
	}
	all, broken, err := d.Store.List(ctx)
	if err != nil {
		return err
	}
	for _, err := range broken {
		d.Log.Error("a schedule has no runs", logs.Err, err)
	}
	for _, sch := range all {
		if err := d.one(ctx, lock, sch, now); err != nil && !errors.Is(err, errChanged) {
			return err
		}
	}
	return nil
}

// forget lets commands that have ended run again.
func (d *Daemon) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, batch := range d.ended {
		delete(d.running, batch)
	}
	d.ended = nil
}

// one ends the runs of a schedule that are over, goes on with those that are not, and
// begins what is due.
func (d *Daemon) one(ctx context.Context, lock string, sch *Schedule, now time.Time) error {
	if err := d.settle(ctx, lock, sch); err != nil {
		return err
	}
	spec, err := parse(sch.Cron, sch.Zone)
	if err != nil { // as where this host does not know the time zone
		d.Log.Error("a schedule has no runs", logs.Err, fmt.Errorf("schedule %q: %w", sch.Name, err))
		return nil
	}
	if sch.Paused || sch.Next.After(now) {
		delete(d.blocked, sch.Name)
	}
	for !sch.Paused && !sch.Next.IsZero() && !sch.Next.After(now) {
		if len(sch.Runs) > 0 && !sch.Overlap || len(sch.Runs) >= atOnce {
			d.blocked[sch.Name] = true
			break
		}
		late := grace
		if d.blocked[sch.Name] {
			late = 0
		}
		p := spec.decide(sch.Next, now, sch.Missed, sch.Most, late)
		delete(d.blocked, sch.Name)
		if p.skipped {
			d.Log.Warn("runs of a schedule were missed and are not made up for", "schedule", sch.Name, "missed", sch.Missed, "from", sch.Next)
		}
		sch.Next = p.next
		if !p.run.IsZero() {
			sch.Runs = append(sch.Runs, Run{At: p.run})
		}
		if err := d.Store.put(ctx, lock, sch); err != nil {
			return err
		}
	}
	for _, r := range sch.Runs {
		if !r.Fed {
			d.begin(ctx, lock, sch, r.At)
		}
	}
	return nil
}

// settle takes the runs off a schedule that are over.
func (d *Daemon) settle(ctx context.Context, lock string, sch *Schedule) error {
	var over []time.Time
	for _, r := range sch.Runs {
		if !r.Fed {
			continue
		}
		going := false
		if !sch.Overlap {
			var err error
			if going, err = d.Runner.Going(ctx, sch.BatchOf(r.At)); err != nil {
				d.Log.Warn("whether a schedule's run goes on is not known", "schedule", sch.Name, logs.Batch, sch.BatchOf(r.At), logs.Err, err)
				continue
			}
		}
		if !going {
			over = append(over, r.At)
		}
	}
	if len(over) == 0 {
		return nil
	}
	sch.Runs = slices.DeleteFunc(sch.Runs, func(r Run) bool {
		return slices.ContainsFunc(over, r.At.Equal)
	})
	sch.Last = over[len(over)-1]
	return d.Store.put(ctx, lock, sch)
}

// begin runs the command of a run, unless it runs.
func (d *Daemon) begin(ctx context.Context, lock string, sch *Schedule, at time.Time) {
	batch := sch.BatchOf(at)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[batch] || ctx.Err() != nil {
		return
	}
	d.running[batch] = true
	name, args := sch.Name, sch.Args
	d.all.Go(func() {
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.ended = append(d.ended, batch)
		}()
		d.Log.Info("a run of a schedule begins", "schedule", name, logs.Batch, batch)
		err := d.Runner.Run(ctx, batch, args)
		var last *LastError
		if err != nil && !errors.As(err, &last) {
			if ctx.Err() == nil {
				d.Log.Warn("a run of a schedule is tried again", "schedule", name, logs.Batch, batch, logs.Err, err)
				wait(ctx, again)
			}
			return
		}
		if err != nil {
			d.Log.Error("a run of a schedule has failed", "schedule", name, logs.Batch, batch, logs.Err, err)
		}
		d.fed(ctx, lock, name, at, err)
	})
}

// fed notes that a run's command has done its part, until Redis has it.
func (d *Daemon) fed(ctx context.Context, lock, name string, at time.Time, failed error) {
	for {
		err := d.note(ctx, lock, name, at, failed)
		if err == nil || errors.Is(err, errLost) || ctx.Err() != nil {
			return
		}
		wait(ctx, look)
	}
}

func (d *Daemon) note(ctx context.Context, lock, name string, at time.Time, failed error) error {
	all, _, err := d.Store.List(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(s *Schedule) bool { return s.Name == name })
	if i < 0 {
		return nil // removed
	}
	sch := all[i]
	sch.Failed = ""
	for i := range sch.Runs {
		if sch.Runs[i].At.Equal(at) {
			sch.Runs[i].Fed = true
		}
	}
	if failed != nil {
		sch.Failed, sch.Last = failed.Error(), at
		sch.Runs = slices.DeleteFunc(sch.Runs, func(r Run) bool { return r.At.Equal(at) })
	}
	return d.Store.put(ctx, lock, sch)
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
