package simulation

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// leftInQueues is what asynq still holds of the lanes, its archive included.
func (w *world) leftInQueues() (left []string) {
	for _, key := range w.redis.Keys() {
		of, isTask := ofQueue(key)
		if of != "" && (isTask || slices.Contains(append(queue.Lists(of),
			queue.Active(of), queue.Lease(of), queue.Scheduled(of), queue.Retry(of),
			queue.Archived(of), queue.Completed(of)), key)) {
			left = append(left, key)
		}
	}
	return left
}

// ofQueue is the queue of the batches' lanes that a key is of, and whether it is a task's.
func ofQueue(key string) (of string, isTask bool) {
	_, tagged, _ := strings.Cut(key, ":{")
	of, rest, _ := strings.Cut(tagged, "}:")
	if lane := queue.Lane(of); lane != wide.Type().Name() && lane != narrow.Type().Name() {
		return "", false
	}
	return of, strings.HasPrefix(key, "asynq:") && strings.HasPrefix(rest, "t:")
}

// unfinished says what of the batches has no outcome, and where it is.
func (w *world) unfinished() string {
	var s strings.Builder
	for _, b := range w.batches {
		ctx := w.t.Context()
		info, err := w.admin.ledger.Info(ctx, b.name)
		if err != nil {
			fmt.Fprintf(&s, "%v; ", err)
			continue
		}
		fmt.Fprintf(&s, "%s is %s (stopped %v), checkpoint %d of %d, %d outcomes; ", b.name, info.Phase, info.Stopped, info.Next, b.n, info.Outcomes())
		queues, err := w.admin.ledger.Lanes(ctx, b.name)
		if err != nil {
			fmt.Fprintf(&s, "%v; ", err)
		}
		places, err := queue.Places(ctx, w.admin.rdb, queues, b.name)
		if err != nil {
			fmt.Fprintf(&s, "%v; ", err)
		}
		have, err := w.admin.ledger.Have(ctx, b.name, 0, int(b.n))
		if err != nil {
			fmt.Fprintf(&s, "%v; ", err)
			continue
		}
		for seq, has := range have {
			if !has {
				fmt.Fprintf(&s, "%d is %s, ", seq, []string{"nowhere", "pending", "scheduled", "in retry", "active"}[places[int64(seq)]])
			}
		}
	}
	return s.String()
}

// known are the keys that may be in Redis when all is over.
var known = regexp.MustCompile(`^(weir:batches|weir:\{workers\}:(beats|watch)|weir:lanes:(own|retired|sweeper|shards)|weir:\{b\d\}:(batch|bits:0|out|dead|lanes|tries)|asynq:queues|asynq:(servers|workers)(:.*)?|` +
	`asynq:\{sim-(wide|narrow)(:\d+)?\}:(processed|failed)(:.*)?)$`)

// fence is what keeps late withdrawals of a batch from a lane, for an hour.
var fence = regexp.MustCompile(`^weir:\{sim-(wide|narrow)(:\d+)?\}:fence:b\d$`)

// check compares, when all is over, what weir says with what the handlers have logged.
func (w *world) check() {
	for _, b := range w.batches {
		w.watchStream(b)
		w.checkLedger(b)
		w.checkFile(b)
	}
	w.checkRuns()
	for _, key := range w.redis.Keys() {
		// A dead producer's call may come last of all, and take the lease for its time.
		passing := (strings.HasSuffix(key, "}:producer") || strings.HasSuffix(key, "}:expect") || fence.MatchString(key) || strings.HasPrefix(key, "weir:{workers}:about:")) &&
			w.redis.TTL(key) > 0
		if !known.MatchString(key) && !passing {
			w.violate("I8", "nobody knows the key %s", key)
		}
	}
}

// checkLedger is I2: bits, counters and dead letters agree.
func (w *world) checkLedger(b *simBatch) {
	ctx := w.t.Context()
	info, err := w.admin.ledger.Info(ctx, b.name)
	if err != nil {
		w.violate("I2", "%v", err)
		return
	}
	have, err := w.admin.ledger.Have(ctx, b.name, 0, int(b.n)+8)
	if err != nil {
		w.violate("I2", "%v", err)
	}
	var bits, ok, failed int64
	for _, has := range have {
		if has {
			bits++
		}
	}
	for seq := range b.plans {
		if state, _, _ := w.due(b, int64(seq)); state == batch.OK {
			ok++
		} else {
			failed++
		}
	}
	dead, err := w.admin.ledger.DeadLetters(ctx, b.name)
	if err != nil {
		w.violate("I2", "%v", err)
	}
	if info.Phase != batch.Done || info.N != b.n || info.Next != b.n || bits != b.n || info.OK != ok || info.Failed != failed || info.Cancelled != 0 || dead != failed {
		w.violate("I2", "%s of %d tasks, %d to be ok and %d to fail, is %s: %d bits, N %d, checkpoint %d, %d ok, %d failed, %d cancelled, %d dead letters",
			b.name, b.n, ok, failed, info.Phase, bits, info.N, info.Next, info.OK, info.Failed, info.Cancelled, dead)
	}
}

// checkFile is I1 and the rest of I2 and I5: the outcome file holds each seq once, in
// order if asked, with the outcome that was recorded first.
func (w *world) checkFile(b *simBatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	inFile := make(map[int64]bool)
	for i, line := range b.producer.file.lines {
		o, err := batch.ParseOutcome(line)
		switch {
		case err != nil:
			w.violateLocked("I1", "%s: %v", b.name, err)
			continue
		case inFile[o.Seq]:
			w.violateLocked("I1", "%s is twice in the outcome file", batch.TaskID(b.name, o.Seq))
		case o.Seq < 0 || o.Seq >= b.n:
			w.violateLocked("I1", "%s never was", batch.TaskID(b.name, o.Seq))
			continue
		case b.ordered && o.Seq != int64(i):
			w.violateLocked("I1", "%s is line %d of the outcome file", batch.TaskID(b.name, o.Seq), i)
		}
		inFile[o.Seq] = true
		if first := b.seen[o.Seq]; first != string(line) {
			w.violateLocked("I5", "%s: the file says %s, the first outcome was %s", batch.TaskID(b.name, o.Seq), line, first)
		}
		w.checkOutcome(b, o)
	}
	for seq := range b.n {
		if !inFile[seq] {
			w.violateLocked("I1", "%s is not in the outcome file", batch.TaskID(b.name, seq))
		}
	}
}

// checkOutcome is I3: the outcome is the one that the handlers gave, after as many
// attempts as they had, each of which was run. Since what a handler does depends on
// the attempt alone, this also says that no task has failed that would have succeeded,
// nor the other way.
func (w *world) checkOutcome(b *simBatch, o *batch.Outcome) {
	state, class, ends := w.due(b, o.Seq)
	if o.State != state || o.Class != class || class != batch.Crashed && o.Attempts != len(ends) {
		w.violateLocked("I3", "%s: %s %s after %d attempts, to be %s %s after %d",
			batch.TaskID(b.name, o.Seq), o.State, o.Class, o.Attempts, state, class, len(ends))
	}
	ended := make([]bool, len(ends))
	for _, r := range w.runs {
		if r.batch == b.name && r.seq == o.Seq && r.attempt <= len(ends) && r.end == ends[r.attempt-1] {
			ended[r.attempt-1] = true
		}
	}
	if i := slices.Index(ended, false); i >= 0 {
		w.violateLocked("I3", "%s: the log has no run of attempt %d that came to its end", batch.TaskID(b.name, o.Seq), i+1)
	}
}

// due is the outcome that a task must have, and how its attempts ended that came to
// their end: as planned, unless it may be blamed for the deaths of its workers, and is.
// A worker that was cut off counts like one that died, as weir promises.
func (w *world) due(b *simBatch, seq int64) (batch.State, batch.Class, []ending) {
	p := b.plans[seq]
	if o, err := batch.ParseOutcome([]byte(b.seen[seq])); err == nil && o.Class == batch.Crashed && w.mayBeBlamed(b, seq) {
		return batch.Failed, batch.Crashed, p.ends[:min(max(o.Attempts-1, 0), len(p.ends))]
	}
	state, class := p.outcome()
	return state, class, p.ends
}

// mayBeBlamed says that before a task's outcome workers were lost as often as it takes,
// and that one of them was while this task ran there, or was about to, alone.
func (w *world) mayBeBlamed(b *simBatch, seq int64) bool {
	losses, began := 0, false
	for _, wk := range w.lives {
		losses += wk.lostIn(w.began, b.at[seq])
		began = began || wk.lostBeginning(b.name, seq, b.at[seq])
	}
	return losses >= batch.MaxCrashes && (began || slices.ContainsFunc(w.runs, func(r *run) bool {
		return r.batch == b.name && r.seq == seq && w.lostWith(r, b.at[seq]) && w.alone(r)
	}))
}

// onItsWay is the longest that an outcome is on its way to Redis, and then the ack; and
// that an answer is to a worker that begins a task.
const onItsWay = 10 * time.Second

// lostWith says that a run's worker was lost, some time before then, while the run went
// on or its end was on its way to Redis.
func (w *world) lostWith(r *run, then time.Time) bool {
	to := w.began.Add(r.ended + onItsWay)
	if to.After(then) {
		to = then
	}
	return r.worker.lostIn(w.began.Add(r.began), to) > 0
}

// alone says that no other handler was running in a run's worker meanwhile. One that goes
// on after its time is over is stuck, and does not count.
func (w *world) alone(r *run) bool {
	over := func(r *run) time.Duration { return min(r.ended, r.began+taskTimeout+toReturn) }
	return !slices.ContainsFunc(w.runs, func(o *run) bool {
		return o != r && o.worker == r.worker && o.began < over(r) && r.began < over(o)
	})
}

// checkRuns is I4, and what of I6 is left: executions beyond those needed are bounded
// by what was in flight when workers died, were cut off or stopped.
func (w *world) checkRuns() {
	w.mu.Lock()
	defer w.mu.Unlock()
	needed := 0
	for _, b := range w.batches {
		for seq := range b.plans {
			_, class, ends := w.due(b, int64(seq))
			needed += len(ends) + b.refused[int64(seq)]
			if class == batch.Crashed {
				w.counts["tasks blamed for deaths"]++
			}
		}
	}
	w.counts["executions needed"], w.counts["executions beyond"] = needed, len(w.runs)-needed
	if len(w.runs)-needed > w.extra {
		w.violateLocked("I4", "%d executions, %d needed, and the faults allow %d more", len(w.runs), needed, w.extra)
	}
	for _, wk := range w.lives {
		if wk.running != 0 {
			w.violateLocked("I6", "%s still runs %d handlers", wk.name, wk.running)
		}
	}
}

// again lists the attempts that were run more than once.
func (w *world) again() (lines []string) {
	type key struct {
		batch        string
		seq, attempt int64
	}
	by := make(map[key][]*run)
	for _, r := range w.runs {
		k := key{r.batch, r.seq, int64(r.attempt)}
		by[k] = append(by[k], r)
	}
	for k, runs := range by {
		if len(runs) < 2 || runs[0].end == throttled {
			continue
		}
		line := fmt.Sprintf("%s:%d attempt %d ran %d times:", k.batch, k.seq, k.attempt, len(runs))
		for _, r := range runs {
			line += fmt.Sprintf(" %s at %.3f %s;", r.worker.name, r.began.Seconds(), r.end)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}
