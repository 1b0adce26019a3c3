package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/ui"
	"github.com/weir-tasks/weir/internal/work"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"      // all that a check looked at is as it should be
	Warning Level = "warning" // work goes on, but look at it
	Problem Level = "problem" // work stands still, or may be lost
)

// Finding is what a check has found.
type Finding struct {
	Level  Level  `json:"level"`
	Check  string `json:"check"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// Report is all that was found, in the order of the checks.
type Report struct {
	Level    Level     `json:"level"` // the worst
	Findings []Finding `json:"findings"`
}

// Unreachable is the report where there is no Redis to look at.
func Unreachable(err error) *Report {
	return &Report{Problem, []Finding{{Problem, "redis", err.Error(), "nothing else can be looked at until it answers"}}}
}

const (
	// checkIn is how long one check may take.
	checkIn = 30 * time.Second
	// lanesMost and batchesMost are at how many a check that costs more than a few commands
	// for each looks, the others being named by their number.
	lanesMost, batchesMost = 1000, 500
	// idsMost is from how many IDs of tasks in lanes on no further batch's are read.
	idsMost = 2_000_000
	// named is how many of a kind are told one by one.
	named = 5
)

// doctor is one examination.
type doctor struct {
	weir   ui.Weir
	rdb    redis.UniversalClient
	ledger *batch.Ledger

	lanes   []*lane.Overview
	workers []*work.Seen
	pause   func(context.Context) // before numbers are read again
	within  time.Duration         // how long one check may take

	listed   int64           // how many IDs of tasks batches' lanes have, as often as they are read
	unsought map[string]bool // batches of which none was read

	check    string
	progress progress
	report   *Report
}

// progress is how far a check has come that looks at one thing after the other.
type progress struct {
	n, of int
	what  string
}

// Examine looks at everything. An error is one of ctx: what cannot be read is a finding.
func Examine(ctx context.Context, w ui.Weir) (*Report, error) {
	d := newDoctor(w)
	for _, c := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"redis", d.redis}, {"memory", d.memory}, {"rights", d.rights}, {"latency", d.latency}, {"slots", d.slots},
		{"workers", d.ofWorkers}, {"clocks", d.clocks}, {"asynq", d.asynq}, {"lanes", d.ofLanes},
		{"quarantine", d.quarantine}, {"ghosts", d.ghosts}, {"batches", d.batches},
	} {
		d.run(ctx, c.name, c.do)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return d.report, nil
}

func newDoctor(w ui.Weir) *doctor {
	return &doctor{weir: w, rdb: w.Redis(), ledger: batch.NewLedger(w.Redis()), report: &Report{Level: OK}, within: checkIn, unsought: make(map[string]bool),
		pause: func(ctx context.Context) {
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}}
}

// run makes one check.
func (d *doctor) run(ctx context.Context, name string, do func(context.Context) error) {
	within, cancel := context.WithTimeout(ctx, d.within)
	defer cancel()
	d.check, d.progress = name, progress{}
	err := do(within)
	switch {
	case err == nil:
	case d.progress.of > 0 && errors.Is(within.Err(), context.DeadlineExceeded):
		d.found(Warning, "examine again when Redis has less to do, or from nearer to it", "in %v %d of %d %s were looked at", d.within, d.progress.n, d.progress.of, d.progress.what)
	default:
		d.found(Problem, "try again; if that does not help, look at Redis' log, and whether this user may read what weir and asynq keep", "this could not be looked at: %w", err)
	}
}

// found adds a finding of the check that is being made.
func (d *doctor) found(level Level, remedy, format string, args ...any) {
	d.report.Findings = append(d.report.Findings, Finding{level, d.check, fmt.Errorf(format, args...).Error(), remedy})
	if level == Problem || level == Warning && d.report.Level == OK {
		d.report.Level = level
	}
}

// fine says what was seen where the check has found nothing.
func (d *doctor) fine(format string, args ...any) {
	if n := len(d.report.Findings); n == 0 || d.report.Findings[n-1].Check != d.check {
		d.found(OK, "", format, args...)
	}
}

// few adds findings of one kind, one by one as long as they are few.
type few struct {
	d *doctor
	n int
}

func (f *few) found(level Level, remedy, format string, args ...any) {
	if f.n++; f.n <= named {
		f.d.found(level, remedy, format, args...)
	}
}

// rest says how many there were beside those.
func (f *few) rest(level Level, what string) {
	if f.n > named {
		f.d.found(level, "", "%d more %s", f.n-named, what)
	}
}

// lanesOf are all lanes, read once.
func (d *doctor) lanesOf(ctx context.Context) (_ []*lane.Overview, err error) {
	if d.lanes == nil {
		d.lanes, err = d.weir.Lanes(ctx)
	}
	return d.lanes, err
}

// workersOf are all workers, read once.
func (d *doctor) workersOf(ctx context.Context) (_ []*work.Seen, err error) {
	if d.workers == nil {
		d.workers, err = work.Look(ctx, d.rdb)
	}
	return d.workers, err
}

func refusedBy(err error) bool {
	var said redis.Error
	return errors.As(err, &said) && redis.HasErrorPrefix(err, "NOPERM")
}
