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
