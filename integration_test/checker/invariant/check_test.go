package invariant

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// world is a run that went well, to be spoiled: six tasks, of which 3 failed and 4
// needed two attempts; worker 7 was killed while it ran 5, which ran again in 8.
type world struct {
	t       *testing.T
	rdb     redis.UniversalClient
	out     []string
	seen    []string
	logs    map[int][]string // by pid
	journal []Event
	stderr  string
	limits  Limits
}

const second = int64(time.Second)

func outcome(seq int, state string, attempts int) string {
	return fmt.Sprintf(`{"seq":%d,"state":%q,"attempts":%d}`, seq, state, attempts)
}

func goodWorld(t *testing.T) *world {
	w := &world{t: t, rdb: conntest.Server(t).Client(), logs: make(map[int][]string), limits: DefaultLimits}
	for seq := range 6 {
		state, attempts := "ok", 1
		if seq == 3 {
			state = "failed"
		}
		if seq == 4 {
			attempts = 2
		}
		w.out = append(w.out, outcome(seq, state, attempts))
	}
	w.seen = slices.Clone(w.out[:2])
	w.do("HSET", "weir:{b}:batch", "state", "done", "created", 1, "n", 6, "next", 6, "ok", 5, "failed", 1, "cancelled", 0)
	for seq := range 6 {
		w.do("SETBIT", "weir:{b}:bits:0", seq, 1)
		w.do("XADD", "weir:{b}:out", "*", "o", w.out[seq])
	}
	w.do("XADD", "weir:{b}:out", "*", "end", 6)
	w.do("XTRIM", "weir:{b}:out", "MAXLEN", 3)
	w.do("HSET", "weir:{b}:dead", 3, strings.Replace(w.out[3], "}", `,"payload":{}}`, 1))
	w.do("SADD", "weir:{b}:lanes", "lane")
	w.do("ZADD", "weir:batches", 1, "b")
	w.do("SADD", "asynq:queues", "lane")
	for _, rest := range []string{"batch", "bits:0", "out", "dead", "lanes"} {
		w.do("EXPIRE", "weir:{b}:"+rest, 1000)
	}

	for seq := range 5 {
		result := "ok"
		if seq == 3 {
			result = "permanent"
		}
		at := second * int64(seq+1)
		if seq == 4 {
			w.ran(7, at, seq, "error")
		}
		w.ran(7, at+2, seq, result)
	}
	w.log(7, "start", 9*second, 5, "")
	w.ran(8, 20*second, 5, "ok")
	w.stderr = "all is well\n"
	w.journal = []Event{
		{At: 1, Kind: Baseline, Memory: 1 << 40},
		{At: 1, Kind: Started, Process: "worker-0", PID: 7, Limit: 1},
		{At: 1, Kind: Started, Process: "producer-0", PID: 6},
		{At: 2, Kind: Sampled, Batch: "b", Created: "1", Next: 3},
		{At: 3, Kind: Sampled, Batch: "b", Created: "1", Next: 6},
		{At: 10 * second, Kind: Fault, Fault: "kill", Process: "worker-0", PID: 7, InFlight: 1},
		{At: 10 * second, Kind: Exited, Process: "worker-0", PID: 7, Code: -1, Signal: "killed", Sent: true},
		{At: 10 * second, Kind: Started, Process: "worker-0", PID: 8, Limit: 1},
		{At: 18 * second, Kind: Answers},
		{At: 21 * second, Kind: Exited, Process: "producer-0", PID: 6, Code: 1},
		{At: 22 * second, Kind: Exited, Process: "worker-0", PID: 8},
	}
	return w
}

func (w *world) do(args ...any) {
	w.t.Helper()
	if err := w.rdb.Do(w.t.Context(), args...).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) log(pid int, event string, at int64, seq int, result string) {
	line := fmt.Sprintf("%s %d b %d 1 %d", event, at, seq, pid)
	w.logs[pid] = append(w.logs[pid], strings.TrimRight(line+" "+result, " "))
}

func (w *world) ran(pid int, at int64, seq int, result string) {
	w.log(pid, "start", at, seq, "")
	w.log(pid, "end", at+1, seq, result)
}

// event finds the n-th event of a kind.
func (w *world) event(kind Kind, n int) *Event {
	for i := range w.journal {
		if w.journal[i].Kind == kind {
			if n == 0 {
				return &w.journal[i]
			}
			n--
		}
	}
	w.t.Fatalf("no %s", kind)
	return nil
}

// check writes the files and has them checked.
func (w *world) check() Report {
	w.t.Helper()
	dir := w.t.TempDir()
	write := func(name string, lines []string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			w.t.Fatal(err)
		}
		return file
	}
	in := Input{Redis: w.rdb, Limits: w.limits, Batches: []Batch{{Name: "b", Out: write("out", w.out), Seen: []string{write("seen", w.seen)}}}}
	for pid, lines := range w.logs {
		in.Logs = append(in.Logs, write(fmt.Sprintf("%d.log", pid), lines))
	}
	stderr := write("stderr", []string{w.stderr})
	in.Journal = filepath.Join(dir, "journal")
	journal, err := NewJournal(in.Journal)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range w.journal {
		if e.Kind == Exited {
			e.Stderr = stderr
		}
		if e.Kind == Prefix {
			e.File = in.Batches[0].Out
		}
		journal.Note(e)
	}
	if err := journal.Close(); err != nil {
		w.t.Fatal(err)
	}
	report, err := Check(context.Background(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

func (r Report) String() string {
	var b strings.Builder
	r.Print(&b)
	return b.String()
}

func TestAGoodRunHoldsAllInvariants(t *testing.T) {
	t.Parallel()
	report := goodWorld(t).check()
	if !report.OK() || len(report) != 10 {
		t.Errorf("\n%s", report)
	}
	for _, figure := range []string{"6 of 6 seqs", "bits 6 = counters 6 = stream 7 - 1 ends = file 6", "5 ok with a logged success, 1 failed",
		"8 executions, 7 attempts count: 1 duplicates, 1 were in flight at 1 faults", "2 outcomes seen meanwhile, 1 dead letters, 2 stream entries",
		"2 processes ran at most 1 handlers at once, limit 1", "2 samples", "7 keys", "1 with killed, 1 with status 0, 1 with status 1", "1 tasks of killed", "p50 10.0 s", "work flowed 2.0 s"} {
		if !strings.Contains(report.String(), figure) {
			t.Errorf("it does not say %q:\n%s", figure, report)
		}
	}
}

// Every invariant is seen to fail, by what it is there for; names of others that
// the same fault breaks follow.
func TestABrokenRunIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fails string
		spoil func(w *world)
	}{
		{"a seq has no outcome in the file", "I1 I2 I4", func(w *world) { w.out = slices.Delete(w.out, 2, 3) }},
		{"a seq is twice in the file", "I1", func(w *world) { w.out = append(w.out, w.out[2]) }},
		{"a line is torn", "I1 I2 I4", func(w *world) { w.out[2] = w.out[2][:10] }},
		{"a line is of no task", "I1", func(w *world) { w.out = append(w.out, outcome(6, "ok", 1)) }},
		{"a line has no known state", "I1", func(w *world) { w.out = append(w.out, outcome(2, "lost", 1)) }},
		{"the batch is not sealed", "I1 I2 I3 I5 I7", func(w *world) { w.do("HDEL", "weir:{b}:batch", "n") }},
		{"a bit is missing", "I1 I2", func(w *world) { w.do("SETBIT", "weir:{b}:bits:0", 2, 0) }},
		{"a bit too many", "I2", func(w *world) { w.do("SETBIT", "weir:{b}:bits:0", 6, 1) }},
		{"a counter counts twice", "I2", func(w *world) { w.do("HINCRBY", "weir:{b}:batch", "ok", 1) }},
		{"a counter has the wrong state", "I2", func(w *world) {
			w.do("HINCRBY", "weir:{b}:batch", "ok", 1)
			w.do("HINCRBY", "weir:{b}:batch", "failed", -1)
		}},
		{"an outcome is twice in the stream", "I2", func(w *world) { w.do("XADD", "weir:{b}:out", "*", "o", w.out[0]) }},
		{"the stream ends twice", "I2", func(w *world) { w.do("XADD", "weir:{b}:out", "*", "end", 6) }},
		{"a dead letter is lost", "I2", func(w *world) { w.do("DEL", "weir:{b}:dead") }},
		{"the batch is not done", "I2", func(w *world) { w.do("HSET", "weir:{b}:batch", "state", "sealed") }},
		{"ok without a success", "I3", func(w *world) { w.logs[8] = slices.Replace(w.logs[8], 1, 2, "end 20000000001 b 5 1 8 error") }},
		{"ok without an execution", "I3 I4", func(w *world) { w.logs[7] = slices.Delete(w.logs[7], 0, 2) }},
		{"failed with a success", "I3", func(w *world) { w.event(Fault, 0).InFlight++; w.ran(8, 20*second+10, 3, "ok") }},
		{"an execution of nobody's task", "I3", func(w *world) { w.log(8, "start", 20*second+10, 77, "") }},
		{"more duplicates than were in flight", "I4", func(w *world) { w.ran(8, 20*second+10, 0, "ok") }},
		{"attempts that nobody made", "I4", func(w *world) { w.out[1], w.seen = outcome(1, "ok", 2), w.out[:1] }},
		{"somebody saw another outcome", "I5", func(w *world) { w.seen = []string{outcome(1, "failed", 1)} }},
		{"the dead letter is another outcome", "I5", func(w *world) { w.do("HSET", "weir:{b}:dead", 3, outcome(3, "failed", 9)) }},
		{"the stream has another outcome", "I2 I5", func(w *world) { w.do("XADD", "weir:{b}:out", "*", "o", outcome(5, "failed", 1)) }},
		{"the file has changed", "I5", func(w *world) {
			w.journal = append(w.journal, Event{At: 5, Kind: Prefix, Size: 10, Hash: strings.Repeat("0", 64)})
		}},
		{"too many handlers at once", "I6", func(w *world) {
			w.event(Fault, 0).InFlight++
			w.log(8, "start", 20*second+10, 1, "")
			w.ran(8, 20*second+11, 2, "ok")
			w.event(Fault, 0).InFlight += 2
		}},
		{"a process that is no worker ran tasks", "I6", func(w *world) {
			w.event(Fault, 0).InFlight++
			w.ran(9, 20*second+10, 1, "ok")
		}},
		{"the checkpoint goes back", "I7", func(w *world) { w.event(Sampled, 0).Next = 7 }},
		{"the checkpoint is ahead of what is enqueued", "I7", func(w *world) { w.event(Sampled, 1).Ahead = 1 }},
		{"the checkpoint is not at the end", "I7", func(w *world) { w.do("HSET", "weir:{b}:batch", "next", 5) }},
		{"a ghost is left", "I8", func(w *world) { w.do("HSET", "asynq:{lane}:t:b:3", "state", "active") }},
		{"an active ID is left", "I8", func(w *world) { w.do("LPUSH", "asynq:{lane}:active", "b:3") }},
		{"a failed task is in asynq's archive", "I8", func(w *world) { w.do("ZADD", "asynq:{lane}:archived", 1, "b:3") }},
		{"a producer's lease is left", "I8", func(w *world) { w.do("SET", "weir:{b}:producer", "x") }},
		{"an unknown key is left", "I8", func(w *world) { w.do("SET", "x", "x") }},
		{"the batch stays for ever", "I8", func(w *world) { w.do("PERSIST", "weir:{b}:dead") }},
		{"a dead worker stays for ever", "I8", func(w *world) { w.do("SET", "asynq:servers:{h:1:x}", "x") }},
		{"memory is not back", "I8", func(w *world) { w.event(Baseline, 0).Memory = -(1 << 30) }},
		{"a process crashed", "I9", func(w *world) { w.event(Exited, 2).Code = 2 }},
		{"a worker says that tasks failed", "I9", func(w *world) { w.event(Exited, 2).Code = 1 }},
		{"a signal that nobody sent", "I9", func(w *world) { w.event(Exited, 0).Sent = false }},
		{"a producer gives up though Redis is well", "I9", func(w *world) {
			w.event(Exited, 1).Code = 3
			w.event(Exited, 1).At = 200 * second
		}},
		{"a process does not end", "I9", func(w *world) { w.journal = w.journal[:len(w.journal)-1] }},
		{"a panic", "I9", func(w *world) { w.stderr = "panic: runtime error" }},
		{"a race", "I9", func(w *world) { w.stderr = "WARNING: DATA RACE" }},
		{"the tasks of a killed worker wait", "I10", func(w *world) { w.limits.RecoveryP50 = 9 * time.Second }},
		{"one task of a killed worker waits", "I10", func(w *world) { w.limits.RecoveryP99 = 9 * time.Second }},
		{"no work after Redis answered", "I10", func(w *world) { w.event(Answers, 0).At = 14 * second }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := goodWorld(t)
			c.spoil(w)
			report := w.check()
			var failed []string
			for _, r := range report {
				if !r.OK {
					failed = append(failed, r.ID)
				}
			}
			if got := strings.Join(failed, " "); got != c.fails {
				t.Errorf("%q fail, want %q:\n%s", got, c.fails, report)
			}
		})
	}
}

// What is about to expire does not stay.
func TestTheLastMomentOfALeaseIsFine(t *testing.T) {
	t.Parallel()
	w := goodWorld(t)
	w.do("SET", "weir:{lane}:rescuer", "x", "PX", 300)
	w.do("PEXPIRE", "weir:{b}:dead", 300)
	if report := w.check(); !report.OK() {
		t.Errorf("\n%s", report)
	}
}

// Work that comes late is nobody's fault while there is nobody to do it.
func TestNoWorkIsExpectedOfAllWhoWereHit(t *testing.T) {
	t.Parallel()
	for _, hit := range []string{"redis", "worker-0", "producer-0"} {
		w := goodWorld(t)
		w.event(Answers, 0).At = 14 * second
		w.journal = append(w.journal, Event{At: 13 * second, Until: 15 * second, Kind: Fault, Fault: "stop", Process: hit})
		if report := w.check(); !report.OK() {
			t.Errorf("with %s stopped:\n%s", hit, report)
		}
	}
}

// A sample tells what lies below the checkpoint and is nowhere.
func TestSampleFindsWhatIsNowhere(t *testing.T) {
	t.Parallel()
	w := &world{t: t, rdb: conntest.Server(t).Client()}
	if e, err := Sample(t.Context(), w.rdb, "b"); err != nil || e.Created != "" {
		t.Errorf("of no batch: %+v, %v", e, err)
	}
	w.do("HSET", "weir:{b}:batch", "created", 5, "next", 4)
	w.do("SADD", "weir:{b}:lanes", "x", "y")
	w.do("SETBIT", "weir:{b}:bits:0", 0, 1)
	w.do("HSET", "asynq:{x}:t:b:1", "state", "pending")
	w.do("HSET", "asynq:{y}:t:b:3", "state", "pending")
	e, err := Sample(t.Context(), w.rdb, "b")
	if err != nil || e.Next != 4 || e.Created != "5" || e.Ahead != 1 {
		t.Errorf("%+v, %v; seq 2 is nowhere", e, err)
	}
	w.do("HSET", "weir:{b}:batch", "full:0", 1)
	if e, err := Sample(t.Context(), w.rdb, "b"); err != nil || e.Ahead != 0 {
		t.Errorf("of a full segment: %+v, %v", e, err)
	}
}
