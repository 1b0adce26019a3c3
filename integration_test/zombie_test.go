package integration_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// A worker is stopped until another has its tasks, and continued while those run: both
// copies run, the first outcome stands, and the zombie's ends are nobody else's.
func TestAZombieHurtsNobody(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	zombie := startWorker(t, url)
	want := []expectation{
		{`{"task_number":0,"seconds":14}`, batch.OK, "", 1, ""},
		// Told as a retry by the zombie, it would run a third time beside the other's copy.
		{`{"task_number":1,"seconds":14,"fail":"unexpected"}`, batch.Failed, batch.Exhausted, 2, "unexpected failure"},
	}
	p := startReading(t, payloads(want), url, "run", "sleep", "--format", "ndjson", "--batch", "undead", "--retries", "1", "--backoff", "10ms")
	awaitActive(t, url, "undead", 2)
	zombie.signal(syscall.SIGSTOP)
	other := startWorker(t, url)
	other.logs("a worker died or froze")
	awaitActive(t, url, "undead", 2)
	// Its timers are over, its leases in asynq's memory are not: it acks at once.
	time.Sleep(4 * time.Second)
	zombie.signal(syscall.SIGCONT)
	zombie.logs("the end of a task that others have by now is not told to asynq")
	r := p.wait().exits(t, 1)
	checkExpectations(t, r, want)
	all := bySeq(t, r.outcomes(t), 2)
	if by := all[0].Worker; !strings.HasSuffix(by, fmt.Sprintf(":%d", zombie.pid())) {
		t.Errorf("the outcome that stands is %s's, not the first, which was the zombie's", by)
	}
	status(t, url, "undead").addsUp(t)
	for _, w := range []*proc{zombie, other} {
		w.signal(syscall.SIGTERM)
		w.wait().exits(t, 0)
	}
	if keys := server.Client().Keys(t.Context(), "asynq:{sleep}:*").Val(); len(keys) != 0 {
		for _, key := range keys {
			if !strings.Contains(key, ":processed") && !strings.Contains(key, ":failed") {
				t.Errorf("left is %s", key)
			}
		}
	}
}

// A producer is frozen while it waits to go on with a stopped batch, and goes on when another
// has had the batch for long and has enqueued its tasks: none of them is taken out.
func TestAZombieOfAProducerHurtsNobody(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	run := func() *proc {
		return startProducer(t, url, "run", "sleep", "--batch", "undead", "--repeat", "60", "--window", "30", "--payload", sleepOf(100*time.Millisecond))
	}
	has := func(p *proc) func() bool {
		return func() bool {
			return strings.Contains(server.Client().Get(t.Context(), "weir:{undead}:producer").Val(), fmt.Sprintf(":%d/", p.pid()))
		}
	}
	worker := startWorker(t, url, "--concurrency", "1")
	first := run()
	awaitActive(t, url, "undead", 1)
	worker.signal(syscall.SIGSTOP) // what it runs is not taken out
	first.signal(syscall.SIGINT)
	first.wait()

	zombie := run()
	eventually(t, long, has(zombie), "the second has the batch")
	stopped := server.Client().Subscribe(t.Context(), "weir:end")
	defer stopped.Close()
	if _, err := stopped.ReceiveMessage(t.Context()); err != nil { // it asks workers to end what they run
		t.Fatal(err)
	}
	zombie.signal(syscall.SIGSTOP)
	other := run()
	eventually(t, long, has(other), "the third has the batch")
	worker.signal(syscall.SIGCONT)
	eventually(t, long, func() bool { return server.Client().LLen(t.Context(), "asynq:{sleep}:pending").Val() > 5 }, "the third has enqueued tasks")
	zombie.signal(syscall.SIGCONT)
	if r := zombie.wait(); !strings.Contains(r.stderr, "another producer has taken the batch over") {
		t.Errorf("the second ends with %d: %s", r.code, r.stderr)
	}
	other.wait().exits(t, 0)
	s := status(t, url, "undead")
	s.addsUp(t)
	if s.OK != 60 {
		t.Errorf("%d of 60 are ok", s.OK)
	}
}

// A worker restarted under its name has its tasks back at once; two of a name at a time
// there are not.
func TestANamedWorkerHasItsTasksBackAtOnce(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	j := newJournal(t, 8*time.Second)
	flags := append(j.worker(5), "--name", "pod-1")
	first := startWorker(t, url, flags...)
	p := startProducer(t, url, "run", "exec", "--repeat", "5", "--payload", notePayload)
	eventually(t, long, func() bool { return len(j.executions(t)) == 5 }, "all tasks run")
	killed := time.Now()
	first.signal(syscall.SIGKILL)
	<-first.gone
	second := startWorker(t, url, flags...)
	twin := start(t, command("worker", url, flags...)).wait().exits(t, 2)
	if !strings.Contains(twin.stderr, "runs under the name") {
		t.Errorf("it says %s", twin.stderr)
	}
	for _, o := range p.wait().exits(t, 0).outcomes(t) {
		if o.Worker != "pod-1" || o.Attempts != 1 {
			t.Errorf("%+v", o)
		}
	}
	var took time.Duration
	for seq, runs := range j.executions(t) {
		if len(runs) != 2 || runs[1].worker != second.pid() {
			t.Errorf("seq %d ran as %v", seq, runs)
			continue
		}
		took = max(took, runs[1].began.Sub(killed))
	}
	t.Logf("all run again within %v of the kill", took)
	if took > 7*time.Second { // a rescue takes eight or more
		t.Errorf("they ran again after %v", took)
	}
	second.signal(syscall.SIGTERM)
	second.wait().exits(t, 0)
	startWorker(t, url, flags...) // the name is free at once
}
