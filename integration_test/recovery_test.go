package integration_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// execution is one line of the log that the tasks themselves write.
type execution struct {
	seq, worker int
	began       time.Time
}

// journal is a command for exec tasks: it notes that it was run, by which worker, and
// then takes its time.
type journal struct{ script, log string }

func newJournal(t testing.TB, takes time.Duration) *journal {
	dir := t.TempDir()
	j := &journal{filepath.Join(dir, "note"), filepath.Join(dir, "log")}
	script := fmt.Sprintf("#!/bin/sh\necho \"$1 $PPID $(date +%%s%%N)\" >> %s\nexec sleep %v >/dev/null 2>&1\n", j.log, takes.Seconds())
	if err := os.WriteFile(j.script, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return j
}

// worker are the flags of a worker that may write the journal.
func (j *journal) worker(concurrency int) []string {
	return []string{"--allow-exec", "note=" + j.script, "--concurrency", fmt.Sprint(concurrency)}
}

const notePayload = `{"command":"note","args":["{n}"]}`

// executions are all there were so far, by seq, in order.
func (j *journal) executions(t testing.TB) map[int][]execution {
	t.Helper()
	text, err := os.ReadFile(j.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	all := make(map[int][]execution)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || !strings.HasSuffix(line, "\n") {
			continue // being written
		}
		seq, _ := strconv.Atoi(f[0])
		worker, _ := strconv.Atoi(f[1])
		ns, _ := strconv.ParseInt(f[2], 10, 64)
		all[seq] = append(all[seq], execution{seq, worker, time.Unix(0, ns)})
	}
	return all
}

// Recovery is measured: at least 30 workers are killed with tasks running, at any
// moment of their heartbeat, and each task's second start is timed.
func TestTasksOfKilledWorkersRunAgainInTime(t *testing.T) {
	t.Parallel()
	const groups, victims = 3, 10
	var mu sync.Mutex
	var took, raw []time.Duration
	t.Run("groups", func(t *testing.T) {
		t.Run("raw asynq", func(t *testing.T) {
			t.Parallel()
			raw = killAndTimeRaw(t, conntest.Server(t), victims)
		})
		for n := range groups {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				times := killAndTime(t, conntest.Server(t).URL(), victims)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, times...)
			})
		}
	})
	if len(took) < groups*victims {
		t.Fatalf("only %d tasks were running at %d kills", len(took), groups*victims)
	}
	of := func(took []time.Duration, per100 int) time.Duration {
		return slices.Sorted(slices.Values(took))[len(took)*per100/100]
	}
	p50, p99, p50Raw := of(took, 50), of(took, 99), of(raw, 50)
	t.Logf("%d kills of workers, %d tasks: run again after p50 %.1f s, p99 %.1f s, at most %.1f s; no attempt spent",
		groups*victims, len(took), p50.Seconds(), p99.Seconds(), slices.Max(took).Seconds())
	t.Logf("raw asynq, %d kills, %d tasks: p50 %.1f s, p99 %.1f s, at most %.1f s; each has cost a retry",
		victims, len(raw), p50Raw.Seconds(), of(raw, 99).Seconds(), slices.Max(raw).Seconds())
	if p50 > 12*time.Second || p99 > 20*time.Second || p99 > p50Raw/2 {
		t.Errorf("p50 %v, p99 %v; promised are 12 s and 20 s, and less than half of raw asynq's %v", p50, p99, p50Raw)
	}
}

// killAndTime kills workers while all their slots are in use, and tells how long after
// that each of their tasks began anew.
func killAndTime(t *testing.T, url string, victims int) (took []time.Duration) {
	const slots = 2
	j := newJournal(t, 8*time.Second)
	survivors := []*proc{startWorker(t, url, j.worker(slots*victims)...), startWorker(t, url, j.worker(slots*victims)...)}
	var doomed []*proc
	for range victims {
		doomed = append(doomed, startWorker(t, url, j.worker(slots)...))
	}
	n := 3 * slots * victims // as many as there are slots
	p := startProducer(t, url, "run", "exec", "--repeat", fmt.Sprint(n), "--payload", notePayload, "--window", fmt.Sprint(n))
	eventually(t, long, func() bool { return len(j.executions(t)) == n }, "all tasks run")

	killed := make(map[int]time.Time)
	for _, w := range doomed {
		time.Sleep(rand.N(500 * time.Millisecond)) // any moment of the heartbeat
		killed[w.pid()] = time.Now()
		w.signal(syscall.SIGKILL)
		<-w.gone
	}
	r := p.wait().exits(t, 0)
	by := make(map[int]string)
	for _, o := range r.outcomes(t) {
		by[int(o.Seq)] = o.Worker
		if o.Attempts != 1 {
			t.Errorf("seq %d took %d attempts", o.Seq, o.Attempts)
		}
	}
	for seq, runs := range j.executions(t) {
		at, wasKilled := killed[runs[0].worker]
		switch {
		case wasKilled && len(runs) == 2:
			took = append(took, runs[1].began.Sub(at))
		case wasKilled && strings.HasSuffix(by[seq], fmt.Sprintf(":%d", runs[0].worker)): // it was done by then
		case wasKilled || len(runs) != 1:
			t.Errorf("seq %d ran %d times: %v", seq, len(runs), runs)
		}
	}
	for _, w := range survivors {
		w.signal(syscall.SIGTERM)
		w.wait().exits(t, 0)
	}
	return took
}

// killAndTimeRaw does the same to workers of asynq alone.
func killAndTimeRaw(t *testing.T, server *conntest.RealServer, victims int) (took []time.Duration) {
	const slots = 2 // rawasynq's
	j := newJournal(t, 0)
	worker := func() *proc { return start(t, command("rawasynq", "", server.Addr(), j.log, "40s")) }
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: server.Addr()})
	defer client.Close()
	for n := range slots * victims {
		_, err := client.Enqueue(asynq.NewTask("note", []byte(fmt.Sprint(n))))
		must(t, err)
	}
	var doomed []*proc
	for range victims {
		doomed = append(doomed, worker())
	}
	eventually(t, long, func() bool { return len(j.executions(t)) == slots*victims }, "all tasks run")
	killed := make(map[int]time.Time)
	for _, w := range doomed {
		time.Sleep(rand.N(2 * time.Second)) // any moment of the heartbeat
		killed[w.pid()] = time.Now()
		w.signal(syscall.SIGKILL)
		<-w.gone
	}
	for range victims {
		worker()
	}
	for seq := range slots * victims {
		var runs []execution
		eventually(t, 5*time.Minute, func() bool { runs = j.executions(t)[seq]; return len(runs) > 1 }, "it runs again")
		took = append(took, runs[1].began.Sub(killed[runs[0].worker]))
	}
	return took
}
