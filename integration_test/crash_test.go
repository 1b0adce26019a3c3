package integration_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// supervise keeps n workers running, as a supervisor does, until stop.
func supervise(t testing.TB, url string, n int, args ...string) *supervisor {
	t.Helper()
	s := &supervisor{ended: make(chan struct{})}
	for range n {
		s.running.Go(func() {
			for {
				w := start(t, command("worker", url, args...))
				s.mu.Lock()
				s.workers = append(s.workers, w)
				s.mu.Unlock()
				select {
				case <-w.gone:
				case <-s.ended:
					w.kill()
					return
				}
			}
		})
	}
	t.Cleanup(s.stop)
	return s
}

// supervisor keeps workers running.
type supervisor struct {
	ended   chan struct{}
	once    sync.Once
	running sync.WaitGroup

	mu      sync.Mutex
	workers []*proc
}

func (s *supervisor) stop() {
	s.once.Do(func() { close(s.ended) })
	s.running.Wait()
}

// deaths is how many workers have ended by themselves.
func (s *supervisor) deaths() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		if !w.running() {
			n++
		}
	}
	return n
}

var givenBackRE = regexp.MustCompile(`tasks are given back.*"tasks":(\d+)`)

// givenBack is how many tasks the workers say that they have given back.
func (s *supervisor) givenBack() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		for _, m := range givenBackRE.FindAllStringSubmatch(w.stderr.String(), -1) {
			more, _ := strconv.Atoi(m[1])
			n += more
		}
	}
	return n
}

// Poison among others: it fails, they do not, and it takes few workers with it.
func TestATaskThatKillsItsWorkersFailsAlone(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	const n, poison = 2000, 700
	var in strings.Builder
	for seq := range n {
		fail := ""
		if seq == poison {
			fail = `,"fail":"exit"`
		}
		fmt.Fprintf(&in, `{"task_number":%d,"seconds":0.05%s}`+"\n", seq, fail)
	}
	file := t.TempDir() + "/in.ndjson"
	if err := os.WriteFile(file, []byte(in.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	const concurrency = 20
	workers := supervise(t, url, 2, "--concurrency", fmt.Sprint(concurrency))
	began := time.Now()
	p := startProducer(t, url, "run", "sleep", file, "--batch", "poisoned", "--retries", "0")
	r := p.wait().exits(t, 1)
	took := time.Since(began)

	for seq, o := range bySeq(t, r.outcomes(t), n) {
		switch {
		case seq == poison:
			if o.State != batch.Failed || o.Class != batch.Crashed || !strings.Contains(o.Error, "died 3 times") || o.Attempts != 1 {
				t.Errorf("the poison became %+v", o)
			}
		case o.State != batch.OK || o.Attempts != 1:
			t.Errorf("seq %d: %s after %d attempts: %s", seq, o.State, o.Attempts, o.Error)
		}
	}
	deaths, extra := workers.deaths(), workers.givenBack()
	t.Logf("isolated and done in %.1f s, after %d deaths of workers; %d executions more than tasks", took.Seconds(), deaths, extra)
	if deaths != batch.MaxCrashes {
		t.Errorf("%d workers died, want %d", deaths, batch.MaxCrashes)
	}
	// Others ran beside the poison the first two times only, each with another whose
	// outcome was being recorded.
	if extra > 2*2*concurrency+batch.MaxCrashes {
		t.Errorf("%d tasks ran again", extra)
	}
	if took > 60*time.Second {
		t.Errorf("it took %v", took)
	}
	status(t, url, "poisoned").addsUp(t)
}

// Work that is cut off by those who stop workers in order is not blamed.
func TestOrderlyStopsAreNoCrashes(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	p := startProducer(t, url, "run", "sleep", "--batch", "moved", "--repeat", "3", "--payload", sleepOf(8*time.Second))
	for range batch.MaxCrashes + 1 {
		w := startWorker(t, url, "--shutdown-timeout", "10ms")
		awaitActive(t, url, "moved", 3)
		w.signal(syscall.SIGTERM)
		w.waitAtMost(30*time.Second).exits(t, 0)
		if keys := server.Client().Keys(t.Context(), "weir:*suspects").Val(); len(keys) != 0 {
			t.Errorf("suspects after a stop: %v", keys)
		}
	}
	startWorker(t, url)
	allOK(t, p.wait().exits(t, 0).outcomes(t), 3)
}
