package invariant

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// limitsHold is I6.
func (f *facts) limitsHold(v *finding) {
	limits := make(map[int]int)
	for _, e := range f.journal {
		if e.Kind == Started && e.Limit > 0 {
			limits[e.PID] = e.Limit
		}
	}
	most, limited := 0, 0
	for pid, n := range f.runs.most {
		most = max(most, n)
		limit, known := limits[pid]
		switch {
		case !known && len(f.journal) > 0:
			v.bad("process %d ran tasks and is not one of the journal's workers", pid)
		case known && n > limit:
			v.bad("process %d ran %d handlers at once, its limit is %d", pid, n, limit)
		}
		limited = max(limited, limit)
	}
	v.says("%d processes ran at most %d handlers at once, limit %d", len(f.runs.most), most, limited)
}

// checkpointHonest is I7.
func (f *facts) checkpointHonest(v *finding) {
	type place struct {
		created string
		next    int64
	}
	last := make(map[string]place)
	samples := 0
	for _, e := range f.journal {
		if e.Kind != Sampled {
			continue
		}
		samples++
		if p := last[e.Batch]; p.created == e.Created && e.Next < p.next {
			v.bad("%s: the checkpoint went from %d back to %d", e.Batch, p.next, e.Next)
		}
		if e.Ahead > 0 {
			v.bad("%s: %d seqs below the checkpoint %d were neither enqueued nor had an outcome", e.Batch, e.Ahead, e.Next)
		}
		last[e.Batch] = place{e.Created, e.Next}
	}
	for _, b := range f.in.Batches {
		r := f.records[b.Name]
		if r.num("next") != r.n() {
			v.bad("%s ended with its checkpoint at %d of %d", b.Name, r.num("next"), r.n())
		}
	}
	v.says("%d samples of the checkpoint, never back, never ahead of what is enqueued", samples)
}

// batchKeys are what a done batch may leave, and it goes by itself.
var batchKeys = []string{"batch", "out", "dead", "lanes", "tries", "expect", "bits:"}

// sweep looks at every key there is.
func (f *facts) sweep(ctx context.Context) error {
	rdb := f.in.Redis
	var own int64
	all := rdb.Scan(ctx, 0, "*", 1000).Iterator()
	for all.Next(ctx) {
		f.keys++
		k := all.Val()
		if f.ofBatch(k) {
			used, err := rdb.MemoryUsage(ctx, k, 0).Result()
			if err != nil {
				return err
			}
			own += used
			forever, err := f.staysForEver(ctx, k)
			if err != nil {
				return err
			}
			if forever {
				f.left = append(f.left, k+" (stays for ever)")
			}
			continue
		}
		wrong, err := f.unexpected(ctx, k)
		if err != nil {
			return err
		}
		if wrong != "" {
			f.left = append(f.left, wrong)
		}
	}
	if err := all.Err(); err != nil {
		return err
	}
	info, err := rdb.Info(ctx, "memory").Result()
	if err != nil {
		return err
	}
	var used int64
	for l := range strings.Lines(info) {
		if n, found := strings.CutPrefix(l, "used_memory:"); found {
			_, _ = fmt.Sscan(n, &used)
		}
	}
	f.memory = used - own
	return nil
}

func (f *facts) ofBatch(k string) bool {
	for _, b := range f.in.Batches {
		rest, ours := strings.CutPrefix(k, key(b.Name, ""))
		if ours && slices.ContainsFunc(batchKeys, func(known string) bool {
			return rest == known || strings.HasSuffix(known, ":") && strings.HasPrefix(rest, known)
		}) {
			return true
		}
	}
	return false
}

// unexpected says what is wrong with a key that is not a batch's, or "".
func (f *facts) unexpected(ctx context.Context, k string) (string, error) {
	switch {
	case k == "weir:batches", k == "weir:{workers}:beats", k == "weir:{workers}:watch", k == "asynq:queues", k == "asynq:servers", k == "asynq:workers":
		return "", nil
	case k == "weir:lanes", strings.HasPrefix(k, "weir:lanes:"), strings.HasPrefix(k, "weir:{") && strings.HasSuffix(k, "}:flow:config"):
		return "", nil // of lanes, whatever becomes of batches
	case strings.HasPrefix(k, "weir:{") && (strings.HasSuffix(k, "}:rescuer") || strings.HasSuffix(k, "}:flow") || strings.HasSuffix(k, "}:flow:v") || strings.Contains(k, "}:fence:")):
		return f.unlessItExpires(ctx, k)
	case k == "weir:{telemetry}:speaker", strings.HasPrefix(k, "weir:{workers}:about:"), strings.HasPrefix(k, "asynq:servers:{"), strings.HasPrefix(k, "asynq:workers:{"):
		return f.unlessItExpires(ctx, k)
	}
	_, rest, _ := strings.Cut(k, "}:")
	switch {
	case !strings.HasPrefix(k, "asynq:{"):
		return k, nil
	case rest == "processed", rest == "failed":
		return "", nil
	case strings.HasPrefix(rest, "processed:"), strings.HasPrefix(rest, "failed:"):
		return f.unlessItExpires(ctx, k)
	}
	return k, nil // tasks, and the lists and sets they are in
}

func (f *facts) unlessItExpires(ctx context.Context, k string) (string, error) {
	forever, err := f.staysForEver(ctx, k)
	if err != nil || !forever {
		return "", err
	}
	return k + " (stays for ever)", nil
}

// staysForEver says that a key is there and does not expire. In ms: rounded to seconds, the
// last half of one would look like none.
func (f *facts) staysForEver(ctx context.Context, k string) (bool, error) {
	left, err := f.in.Redis.PTTL(ctx, k).Result()
	return left == -1, err
}

// nothingLeft is I8.
func (f *facts) nothingLeft(v *finding) {
	for _, k := range f.left {
		v.bad("key %s is left", k)
	}
	base, known := int64(0), false
	for _, e := range f.journal {
		if e.Kind == Baseline {
			base, known = e.Memory, true
		}
	}
	more := f.memory - base
	if known && more > f.in.Limits.Memory {
		v.bad("Redis uses %d bytes more than when it was empty, beside the batches' keys", more)
	}
	if known {
		v.says("%d keys, none unknown; %+.1f MB of memory beside the batches'", f.keys, float64(more)/1e6)
	} else {
		v.says("%d keys, none unknown", f.keys)
	}
}

// alarms are what a program's stderr must not say.
var alarms = []string{"WARNING: DATA RACE", "panic: ", "fatal error: ", "goroutine 1 ["}

// cause is how long before a producer's exit with status 3 Redis must have been in
// trouble for it.
const cause = time.Minute

// goodEnds is I9.
func (f *facts) goodEnds(v *finding) {
	ends := make(map[string]int)
	running := make(map[int]string)
	for _, e := range f.journal {
		switch e.Kind {
		case Started:
			running[e.PID] = e.Process
		case Exited:
			delete(running, e.PID)
			how, fine := f.end(e)
			ends[how]++
			if !fine {
				v.bad("%s (%d) ended with %s", e.Process, e.PID, how)
			}
			if e.Stderr == "" {
				continue
			}
			text, err := os.ReadFile(e.Stderr)
			if err != nil {
				v.bad("%v", err)
			}
			for _, alarm := range alarms {
				if bytes.Contains(text, []byte(alarm)) {
					v.bad("%s (%d) says %q", e.Process, e.PID, alarm)
				}
			}
		}
	}
	for pid, process := range running {
		v.bad("%s (%d) has not ended", process, pid)
	}
	var figures []string
	for how, n := range ends {
		figures = append(figures, fmt.Sprintf("%d with %s", n, how))
	}
	slices.Sort(figures)
	v.says("processes ended: %s; no panic, no race", strings.Join(figures, ", "))
}

// end names how a process ended, and says whether that is a good end: 0, 1 of one
// whose batch has failed tasks, our signal, and 3 of a producer without its Redis.
func (f *facts) end(e Event) (how string, fine bool) {
	if e.Signal != "" {
		return e.Signal, e.Sent
	}
	how = fmt.Sprintf("status %d", e.Code)
	feeds := strings.HasPrefix(e.Process, "producer") || strings.HasPrefix(e.Process, "follower")
	switch {
	case e.Code == 0:
		return how, true
	case e.Code == 1 && feeds:
		return how, true
	case e.Code == 3 && feeds:
		for _, fault := range f.journal {
			if fault.Kind == Fault && fault.At <= e.At && e.At-max(fault.Until, fault.At) <= int64(cause) {
				return how, true
			}
		}
	}
	return how, false
}

// soonAgain is I10.
func (f *facts) soonAgain(v *finding) {
	waits, undisturbed := f.recoveries()
	limits := f.in.Limits
	if p := percentile(undisturbed, 50); p > limits.RecoveryP50 {
		v.bad("half of a killed worker's tasks waited longer than %v to run again", limits.RecoveryP50)
	}
	if p := percentile(undisturbed, 99); p > limits.RecoveryP99 {
		v.bad("one in 100 of a killed worker's tasks waited longer than %v to run again", limits.RecoveryP99)
	}
	var flows []time.Duration
	for _, e := range f.journal {
		if e.Kind != Answers && e.Kind != Healed {
			continue
		}
		first := f.runs.firstAfter(e.At)
		wait := time.Duration(first - e.At)
		if first != 0 && (wait <= limits.Flow || !f.crippled(e.At, limits.Flow)) {
			flows = append(flows, wait)
		}
	}
	slices.Sort(flows)
	if p := percentile(flows, 100); p > limits.Flow {
		v.bad("work flowed again only %v after Redis answered", p.Round(time.Millisecond))
	}
	v.says("%d tasks of killed or frozen workers ran again after p50 %s, p99 %s (%d with Redis well: %s, %s); %d times work flowed %s after Redis answered, at most %s",
		len(waits), percentileText(waits, 50), percentileText(waits, 99),
		len(undisturbed), percentileText(undisturbed, 50), percentileText(undisturbed, 99),
		len(flows), percentileText(flows, 50), percentileText(flows, 100))
}

// recoveries are how long tasks that were hit waited to run elsewhere; undisturbed
// those whose worker was killed while Redis was well.
func (f *facts) recoveries() (all, undisturbed []time.Duration) {
	killed := make(map[int]int64)
	for _, e := range f.journal {
		if e.Kind == Fault && e.Fault == "kill" {
			killed[e.PID] = e.At
		}
	}
	for h := range f.runs.hit {
		first := int64(0)
		for _, r := range f.runs.again[h.task] {
			if r.at > h.at && r.pid != h.pid && (first == 0 || r.at < first) {
				first = r.at
			}
		}
		if first == 0 {
			continue // it was frozen for a moment only, or had run elsewhere before
		}
		wait := time.Duration(first - h.at)
		all = append(all, wait)
		if killed[h.pid] == h.at && !f.troubled(h.at, first) {
			undisturbed = append(undisturbed, wait)
		}
	}
	slices.Sort(all)
	slices.Sort(undisturbed)
	return all, undisturbed
}

// troubled says that between two moments something was wrong with Redis.
func (f *facts) troubled(from, to int64) bool {
	return slices.ContainsFunc(f.journal, func(e Event) bool {
		return e.Kind == Fault && e.Process == "redis" && e.At <= to && max(e.At, e.Until) >= from
	})
}

// crippled says that within d of a moment nobody could be expected to work: something
// more happened to Redis, or to every worker, or to every producer.
func (f *facts) crippled(at int64, d time.Duration) bool {
	well := make(map[string]map[string]bool) // by the kind of role
	for _, e := range f.journal {
		kind, _, _ := strings.Cut(e.Process, "-")
		if e.Kind == Started && kind != "follower" {
			if well[kind] == nil {
				well[kind] = make(map[string]bool)
			}
			well[kind][e.Process] = true
		}
	}
	for _, e := range f.journal {
		if e.Kind != Fault || e.At > at+int64(d) || max(e.At, e.Until) <= at {
			continue
		}
		kind, _, _ := strings.Cut(e.Process, "-")
		delete(well[kind], e.Process)
		if e.Process == "redis" || kind != "follower" && len(well[kind]) == 0 {
			return true
		}
	}
	return false
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func percentileText(sorted []time.Duration, p int) string {
	if len(sorted) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", percentile(sorted, p).Seconds())
}
