package integration_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// sample is what everybody uses at one moment of a batch.
type sample struct {
	percent                   int
	producer, worker1, redis  float64 // MB
	worker2                   float64
	tasksInRedis, outcomeLeft int64
}

// Row "1,000,000 tasks, bounded". WEIR_TEST_MILLION says how many; the default is
// less, to be kind to whoever runs all tests often.
func TestMillionTasksRunInFlatMemory(t *testing.T) {
	n := int64(200_000)
	if s := os.Getenv("WEIR_TEST_MILLION"); s != "" {
		var err error
		if n, err = strconv.ParseInt(s, 10, 64); err != nil || n < 1000 {
			t.Fatalf("WEIR_TEST_MILLION=%q: must be a number from 1000", s)
		}
	}
	const window, slots = 2000, 50
	server := conntest.Server(t)
	url := server.URL()
	w1 := startWorker(t, url, "--concurrency", strconv.Itoa(slots))
	w2 := startWorker(t, url, "--concurrency", strconv.Itoa(slots))
	client := open(t, url)
	rdb := client.Redis()

	file := filepath.Join(t.TempDir(), "outcomes.ndjson")
	p := startProducer(t, url, "run", "sleep", "--batch", "million", "--repeat", strconv.FormatInt(n, 10),
		"--payload", `{"task_number":{n},"seconds":0}`, "--window", strconv.Itoa(window), "--out", file)

	var samples []sample
	var most, mostWaiting int64
	progressed, last := time.Now(), int64(0)
	for ; p.running(); time.Sleep(50 * time.Millisecond) {
		st, err := client.Status(t.Context(), "million")
		if errors.Is(err, batch.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if st.Outcomes() > last {
			progressed, last = time.Now(), st.Outcomes()
		} else if time.Since(progressed) > long {
			p.waitAtMost(0)
		}
		most = max(most, tasksOf(t, rdb, "sleep"))
		mostWaiting = max(mostWaiting, st.Sum())
		percent := int(100 * st.Outcomes() / n)
		if due := 10 * (len(samples) + 1); due <= 90 && percent >= due {
			samples = append(samples, sample{
				percent: percent, producer: rss(t, p), worker1: rss(t, w1), worker2: rss(t, w2), redis: usedMemory(t, rdb),
				tasksInRedis: tasksOf(t, rdb, "sleep"), outcomeLeft: rdb.XLen(t.Context(), "weir:{million}:out").Val(),
			})
		}
	}
	r := p.wait().exits(t, 0)
	if !w1.running() || !w2.running() {
		t.Fatal("a worker died")
	}
	show(t, "N = %d, window %d, 2 workers of %d; %s; %s", n, window, slots, r.summaryLine("rate"), r.summaryLine("batch million: done"))
	for _, s := range samples {
		show(t, "%3d%%: producer %5.1f MB, workers %5.1f and %5.1f MB, Redis %5.1f MB, %4d tasks in Redis, %d outcomes not read yet",
			s.percent, s.producer, s.worker1, s.worker2, s.redis, s.tasksInRedis, s.outcomeLeft)
	}
	show(t, "at most %d tasks in Redis without outcome, and %d of asynq's with those not acknowledged yet", mostWaiting, most)
	if len(samples) < 6 {
		t.Errorf("%d samples are too few to tell: N is too small for this machine", len(samples))
	}
	if runtime.GOOS != "linux" {
		t.Log("NOT CHECKED: the processes' memory, which is read from /proc")
	}
	flat(t, "the producer", samples, func(s sample) float64 { return s.producer })
	flat(t, "the first worker", samples, func(s sample) float64 { return s.worker1 })
	flat(t, "the second worker", samples, func(s sample) float64 { return s.worker2 })
	flat(t, "Redis", samples, func(s sample) float64 { return s.redis })
	if mostWaiting > window {
		t.Errorf("%d tasks were in Redis without outcome, the window is %d", mostWaiting, window)
	}
	// Each worker has asynq run twice its slots: what has its outcome waits there to be closed.
	if most > window+2*2*slots {
		t.Errorf("%d tasks were in Redis, the window is %d and %d may wait for their acknowledgement", most, window, 2*2*slots)
	}
	eachSeqOnce(t, file, n)
	status(t, url, "million").addsUp(t)
}

// flat checks that what is used does not grow with what is done.
func flat(t *testing.T, who string, samples []sample, of func(sample) float64) {
	t.Helper()
	var first, second float64
	for i, s := range samples {
		if i < (len(samples)+1)/2 {
			first = max(first, of(s))
		} else {
			second = max(second, of(s))
		}
	}
	if limit := 1.3*first + 16; second > limit {
		t.Errorf("the memory of %s grows: %.1f MB in the first half, %.1f MB in the second", who, first, second)
	}
}

// tasksOf is how many tasks of a queue asynq has in Redis at one moment.
func tasksOf(t *testing.T, rdb redis.UniversalClient, queue string) (n int64) {
	t.Helper()
	var lens []*redis.IntCmd
	_, err := rdb.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		for _, list := range []string{"pending", "active"} {
			lens = append(lens, p.LLen(t.Context(), "asynq:{"+queue+"}:"+list))
		}
		for _, set := range []string{"scheduled", "retry", "archived", "completed"} {
			lens = append(lens, p.ZCard(t.Context(), "asynq:{"+queue+"}:"+set))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lens {
		n += l.Val()
	}
	return n
}

// rss is the memory that a process has in RAM, in MB; 0 where it cannot be read.
func rss(t *testing.T, p *proc) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil && runtime.GOOS == "linux" && p.running() {
		t.Fatal(err)
	}
	return megabytes(string(text), `(?m)^VmRSS:\s+(\d+) kB$`, 1<<10)
}

func usedMemory(t *testing.T, rdb redis.UniversalClient) float64 {
	t.Helper()
	info, err := rdb.Info(context.WithoutCancel(t.Context()), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	return megabytes(info, `(?m)^used_memory:(\d+)\r?$`, 1)
}

func megabytes(text, pattern string, unit float64) float64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return 0 // a process that has just ended has no memory
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	return n * unit / (1 << 20)
}

// eachSeqOnce reads a file of outcomes, too large to hold.
func eachSeqOnce(t *testing.T, file string, n int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := make([]bool, n)
	lines := int64(0)
	for sc := bufio.NewScanner(f); sc.Scan(); lines++ {
		o, err := batch.ParseOutcome(sc.Bytes())
		if err != nil {
			t.Fatalf("line %d: %v", lines+1, err)
		}
		if o.Seq < 0 || o.Seq >= n || seen[o.Seq] {
			t.Fatalf("line %d: seq %d is there twice, or is none of the batch", lines+1, o.Seq)
		}
		if o.State != batch.OK {
			t.Fatalf("line %d: %s", lines+1, sc.Bytes())
		}
		seen[o.Seq] = true
	}
	if lines != n {
		t.Errorf("the file has %d lines, want %d", lines, n)
	}
}
