package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Row "blocking factorial beside ticking tasks": computing keeps to its lane, as
// many at once as there are cores. Not parallel: it needs the cores.
func TestTicksGoOnWhileFactorialsAreComputed(t *testing.T) {
	url := conntest.Server(t).URL()
	worker := startWorker(t, url, "--http", "127.0.0.1:0")
	ticks := func(name string) time.Duration {
		p := startProducer(t, url, "run", "sleep", "--batch", name, "--repeat", "200", "--window", "1", "--payload", sleepOf(10*time.Millisecond))
		r := p.wait().exits(t, 0)
		allOK(t, r.outcomes(t), 200)
		lines := p.stdout.lineTimes()
		var longest time.Duration
		for i := range len(lines) - 1 {
			longest = max(longest, lines[i+1].Sub(lines[i]))
		}
		t.Logf("200 ticks %s: %.2f s from the first to the last, at most %v apart; %s",
			name, lines[len(lines)-1].Sub(lines[0]).Seconds(), longest.Round(time.Millisecond), r.summaryLine("start ms"))
		return lines[len(lines)-1].Sub(lines[0])
	}
	alone := ticks("alone")

	computing := startProducer(t, url, "run", "factorial", "--repeat", "100000", "--payload", `{"n":100000}`)
	computing.prints(8)
	before := len(computing.stdout.lineTimes())
	inFlight := metric(t, worker, "weir_worker_in_flight")
	for range 100 {
		inFlight = max(inFlight, metric(t, worker, "weir_worker_in_flight"))
	}
	beside := ticks("beside")
	computed := len(computing.stdout.lineTimes()) - before
	computing.signal(syscall.SIGINT)
	computing.wait().exits(t, 130)

	t.Logf("factorials of 100,000: %d computed meanwhile, at most %v at once, on %d cores", computed, inFlight, runtime.NumCPU())
	if computed < 4 {
		t.Errorf("only %d factorials were computed beside the ticks: that shows nothing", computed)
	}
	if inFlight != float64(runtime.NumCPU()) {
		t.Errorf("%v factorials at once on %d cores", inFlight, runtime.NumCPU())
	}
	// Each tick goes through three processes in turn, and the factorials take all cores:
	// what must not happen is that ticks wait for factorials to end.
	if beside > 3*alone {
		t.Errorf("200 ticks took %v beside factorials, %v alone", beside, alone)
	}
}

// metric reads one from a worker that was started with --http.
func metric(t *testing.T, worker *proc, name string) float64 {
	t.Helper()
	values := metricsOf(t, worker, name)
	if len(values) != 1 {
		t.Fatalf("%d metrics %s", len(values), name)
	}
	return values[0]
}

// metricsOf reads all whose name and labels match a pattern.
func metricsOf(t *testing.T, worker *proc, pattern string) (values []float64) {
	t.Helper()
	text := get(t, "http://"+metricsAddr(t, worker)+"/metrics")
	for _, line := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(text, -1) {
		v, err := strconv.ParseFloat(line[len(line)-1], 64)
		must(t, err)
		values = append(values, v)
	}
	return values
}

func get(t *testing.T, url string) string {
	t.Helper()
	status, body := page(t, url)
	if status != http.StatusOK {
		t.Fatalf("%s: %d: %s", url, status, body)
	}
	return body
}

// page gets a page whatever its status.
func page(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

// Row "two producers, two consumers, latency of each item".
func TestTwoProducersShareTwoWorkers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		window []string
		n      int
	}{
		{"window of 40", []string{"--window=40"}, 6000},
		{"automatic window", nil, 6000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := conntest.Server(t).URL()
			for range 2 {
				startWorker(t, url, "--concurrency", "10")
			}
			run := func(name string) *proc {
				return startProducer(t, url, append([]string{"run", "sleep", "--batch", name,
					"--repeat", strconv.Itoa(c.n), "--payload", sleepOf(20 * time.Millisecond)}, c.window...)...)
			}
			first := run("first")
			first.prints(1)
			second := run("second")
			for _, p := range []*proc{first, second} {
				r := p.wait().exits(t, 0)
				allOK(t, r.outcomes(t), c.n)
				t.Logf("%s; %s", r.summaryLine("rate"), r.summaryLine("start ms"))
				if !strings.Contains(r.stderr, "(from enqueue to first start)") {
					t.Error("the summary does not tell the time from enqueue to start")
				}
			}
			one, two := first.stdout.lineTimes(), second.stdout.lineTimes()
			end, beside := one[len(one)-1], 0
			for _, at := range two {
				if at.Before(end) {
					beside++
				}
			}
			t.Logf("%d of the second's %d outcomes came before the first's last; its first came after %.1f s", beside, c.n, two[0].Sub(one[0]).Seconds())
			if beside == 0 {
				t.Errorf("the second waited for the first to finish")
			}
			rest := len(one) // of the first's, after the second's first
			for _, at := range one {
				if at.Before(two[0]) {
					rest--
				}
			}
			if beside < rest/3 {
				t.Errorf("only %d of the second's outcomes came beside %d of the first's", beside, rest)
			}
		})
	}
}

// Two people may well type the same command: each gets all outcomes.
func TestSameCommandTwiceAtOnceRunsTwice(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	startWorker(t, url)
	args := []string{"run", "sleep", "--repeat", "5", "--payload", sleepOf(time.Second)}
	first := startProducer(t, url, args...)
	awaitAnyBatch(t, url)
	second := startProducer(t, url, args...)
	for i, p := range []*proc{first, second} {
		r := p.wait()
		if n := len(r.outcomes(t)); r.code != 0 || n != 5 {
			t.Errorf("run %d: exit status %d with %d outcomes, want 5:\n%s", i+1, r.code, n, r.stderr)
		}
	}
	if t.Failed() {
		t.Log(fmt.Sprint(producer(t, url, "status").stdout))
	}
}
