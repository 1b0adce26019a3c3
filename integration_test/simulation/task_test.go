package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/tasks"
)

type payload struct {
	World string `json:"world"`
	N     int64  `json:"n"`
}

const (
	taskTimeout = 4 * time.Second
	toReturn    = 500 * time.Millisecond // after which a handler that goes on is stuck, see package attempt
	retries     = 3
	narrowLimit = 2
)

var worlds sync.Map // name -> *world

func handle(ctx context.Context, in payload) (int64, error) {
	w, ok := worlds.Load(in.World)
	if !ok {
		return 0, tasks.Permanent(fmt.Errorf("there is no world %q", in.World))
	}
	return w.(*world).handle(ctx, in.N)
}

var (
	wide   = tasks.Define("sim-wide", tasks.Policy{}, handle)
	narrow = tasks.Define("sim-narrow", tasks.Policy{Concurrency: narrowLimit}, handle)
)

// plan is how one task behaves: what its attempts end with, the last one for good. The
// same in every run of the seed, whatever faults come.
type plan struct {
	ends      []ending
	throttles int // how many runs are refused by the service before all that
	took      []time.Duration
}

type ending string

const (
	succeeds  ending = "ok"
	permanent ending = "permanent"
	fails     ending = "fails"
	garbled   ending = "garbled" // fails with an error that is not UTF-8
	timesOut  ending = "timeout"
	deaf      ending = "deaf" // does not heed its timeout
	panics    ending = "panic"
	throttled ending = "throttled"
	cutOff    ending = "cut off" // of a run whose context ended before its time
)

func drawPlan(r *rand.Rand, kinds int, slow time.Duration) plan {
	var p plan
	passing := []ending{fails, garbled, timesOut, panics, deaf}[r.IntN(5)]
	switch k := 100 - kinds + r.IntN(kinds); {
	case k < 50:
		p.ends = []ending{succeeds}
	case k < 60:
		p.ends = []ending{permanent}
	case k < 80:
		p.ends = append(repeat(1+r.IntN(retries), passing), succeeds)
	case k < 90:
		p.ends = repeat(retries+1, passing)
	default:
		p.throttles = 1 + r.IntN(3)
		p.ends = []ending{succeeds}
	}
	for _, end := range p.ends {
		took := time.Duration(20+r.IntN(1500)) * time.Millisecond
		if end != deaf { // which takes longer than its time anyway
			took += slow
		}
		p.took = append(p.took, took)
	}
	return p
}

func repeat(n int, e ending) []ending {
	all := make([]ending, n)
	for i := range all {
		all[i] = e
	}
	return all
}

// outcome is what weir must record of the task.
func (p plan) outcome() (batch.State, batch.Class) {
	switch p.ends[len(p.ends)-1] {
	case succeeds:
		return batch.OK, ""
	case permanent:
		return batch.Failed, batch.Permanent
	case timesOut, deaf:
		return batch.Failed, batch.Timeout
	case panics:
		return batch.Failed, batch.Panic
	}
	return batch.Failed, batch.Exhausted
}

// run is one execution of a handler, as the handlers themselves log it.
type run struct {
	worker  *worker
	batch   string
	seq     int64
	attempt int
	began   time.Duration // since the world's begin
	ended   time.Duration // likewise
	end     ending        // empty while it runs
}

// handle is the handler of all task types.
func (w *world) handle(ctx context.Context, n int64) (int64, error) {
	info, _ := tasks.InfoFrom(ctx)
	me := owner()
	r, p := w.begin(me, info)
	w.notAfterOutcome(w.batches[r.batch], r)
	end := func(e ending) { w.end(r, e) }
	if info.Attempt > len(p.ends) {
		w.violate("I3", "task %s: attempt %d, after its last, %d", info.ID, info.Attempt, len(p.ends))
		end(permanent)
		return 0, tasks.Permanent(errors.New("too often"))
	}
	if n != info.Seq {
		w.violate("I1", "task %s has the payload of %d", info.ID, n)
	}
	what, took := p.ends[info.Attempt-1], p.took[info.Attempt-1]
	if w.refuses(r, p) {
		what = throttled
	}
	switch what {
	case timesOut:
		<-ctx.Done()
		if time.Since(w.began)-r.began < taskTimeout {
			end(cutOff)
			return 0, ctx.Err()
		}
		end(timesOut)
		return 0, ctx.Err()
	case deaf:
		time.Sleep(taskTimeout + time.Second + took) // what returns soon after its time counts
		end(deaf)
		return 0, nil
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		end(cutOff)
		return 0, ctx.Err()
	}
	end(what)
	switch what {
	case throttled:
		return 0, tasks.Throttled(took)
	case permanent:
		return 0, tasks.Permanent(errors.New("it cannot be"))
	case fails:
		return 0, errors.New("not today")
	case garbled:
		return 0, errors.New("\xff\x00\xfe" + strings.Repeat("\xe4", 2000))
	case panics:
		panic("no \xff way")
	}
	return n * 2, nil
}

// begin logs that a handler runs.
func (w *world) begin(me *worker, info tasks.Info) (*run, plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &run{worker: me, batch: info.Batch, seq: info.Seq, attempt: info.Attempt, began: time.Since(w.began)}
	w.runs = append(w.runs, r)
	b := w.batches[info.Batch]
	me.running++
	me.peak = max(me.peak, me.running)
	limit := me.concurrency
	if b.narrow {
		me.narrow++
		if me.narrow > narrowLimit {
			w.violateLocked("I6", "worker %s runs %d tasks of a lane with limit %d", me.name, me.narrow, narrowLimit)
		}
	}
	if me.running > limit {
		w.violateLocked("I6", "worker %s runs %d tasks, its limit is %d", me.name, me.running, limit)
	}
	return r, b.plans[info.Seq]
}

func (w *world) end(r *run, e ending) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.end, r.ended = e, time.Since(w.began)
	r.worker.running--
	if w.batches[r.batch].narrow {
		r.worker.narrow--
	}
}

// refuses says that the service the task calls refuses it: its first runs.
func (w *world) refuses(r *run, p plan) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.batches[r.batch]
	if b.refused[r.seq] == p.throttles {
		return false
	}
	b.refused[r.seq]++
	return true
}
