package report

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weir-tasks/weir/internal/batch"
)

func okOutcome(seq int64) *batch.Outcome {
	return &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1, MS: 1000, Worker: fmt.Sprintf("host:%d", seq%2)}
}

func failedOutcome(seq int64, class batch.Class, text string, attempts int) *batch.Outcome {
	return &batch.Outcome{Seq: seq, State: batch.Failed, Class: class, Error: text, Attempts: attempts, MS: 5, Worker: "host:1"}
}

func TestSummary(t *testing.T) {
	f := newFixture(Options{})
	for seq := range int64(1000) {
		switch {
		case seq < 4 || seq >= 994 && seq < 997:
			f.Outcome(failedOutcome(seq+12, batch.Timeout, "attempt took\nlonger than 10s", 2), time.Millisecond)
		case seq >= 997:
			f.Outcome(failedOutcome(seq, batch.Permanent, "GET http://x.test/: 404", 1), time.Millisecond)
		default:
			o := okOutcome(seq)
			o.MS += float64(seq) / 100
			f.Outcome(o, time.Duration(900+seq)*time.Microsecond)
		}
	}
	f.clock.add(20100 * time.Millisecond)
	f.Summary(Counts{Read: 1000, OK: 990, Failed: 10, Total: 1000}, "done")
	same(t, f.take(), `batch http-1a2b: done in 20.1s
  read 1000 = ok 990 + failed 10 + cancelled 0
  rate 49.8/s, retries 7, workers 2
  run ms     p50 1005.1  p95 1009.7  p99 1009.9  max 1009.9
  start ms   p50 1.4     p95 1.8     p99 1.9     (from enqueue to first start)
  failed: timeout 7, e.g. seq 12: attempt took longer than 10s
          permanent 3, e.g. seq 997: GET http://x.test/: 404
`)
}

func TestSummaryInterrupted(t *testing.T) {
	f := newFixture(Options{})
	f.Outcome(okOutcome(1), -1)
	f.Outcome(&batch.Outcome{State: batch.Failed, Class: batch.Invalid, Error: ""}, -1)
	f.Outcome(&batch.Outcome{State: batch.Cancelled, Attempts: 1, MS: 70}, -1)
	f.clock.add(100 * time.Second)
	f.Summary(Counts{Read: 8, OK: 1, Failed: 1, Cancelled: 1, Pending: 1, Scheduled: 1, Retry: 2, Active: 1, Retries: 4, Total: -1}, "interrupted\x1b[2J")
	same(t, f.take(), `batch http-1a2b: interrupted?[2J after 1m40s
  read 8 = ok 1 + failed 1 + cancelled 1 + waiting 5
  rate 0.03/s, retries 4, workers 1
  run ms     p50 1000.0  p95 1000.0  p99 1000.0  max 1000.0
  failed: invalid 1, e.g. seq 0
`)
}

// A resumed batch: the rate is this run's, and failures of the first run are not
// forgotten in the list.
func TestSummaryResumed(t *testing.T) {
	f := newFixture(Options{})
	f.Update(Counts{Read: 100, OK: 85, Failed: 5, Active: 10, Total: 100})
	for seq := range int64(9) {
		f.Outcome(okOutcome(seq), -1)
	}
	f.Outcome(failedOutcome(99, batch.Panic, "panic: division by zero", 1), -1)
	f.clock.add(10 * time.Second)
	f.Summary(Counts{Read: 100, OK: 94, Failed: 6, Total: 100}, "done")
	got := f.take()
	for _, want := range []string{
		"  read 100 = ok 94 + failed 6 + cancelled 0\n",
		"  rate 1.0/s,",
		"  failed: panic 1, e.g. seq 99: panic: division by zero\n          5 not read in this run\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "MISMATCH") {
		t.Error(got)
	}
}

func TestMismatchIsLoud(t *testing.T) {
	for name, c := range map[string]struct {
		seen    int
		counts  Counts
		verdict string
		want    []string
	}{
		"missing": {0, Counts{Read: 10, OK: 5, Active: 2, Total: -1}, "interrupted", []string{
			"  read 10 != ok 5 + failed 0 + cancelled 0 + waiting 2\n",
			"  ACCOUNTING MISMATCH: read 10, but ok 5 + failed 0 + cancelled 0 + waiting 2 = 7 (3 missing)\n"}},
		"too many":        {0, Counts{Read: 4, OK: 5, Total: 4}, "done", []string{"(1 too many)\n", "MISMATCH: 4 tasks are done, but 5 have an outcome\n"}},
		"never read":      {0, Counts{Read: 9, OK: 9, Total: 10}, "done", []string{"MISMATCH: 10 tasks are done, but 9 have an outcome\n"}},
		"read twice":      {2, Counts{Read: 1, OK: 1, Total: 1}, "done", []string{"MISMATCH: 2 ok outcomes were read, but 1 are counted\n"}},
		"negative":        {0, Counts{OK: 1, Failed: -1, Total: -1}, "done", []string{"MISMATCH: failed is -1\n"}},
		"more than all":   {0, Counts{Read: 2, OK: 2, Total: 1}, "cancelled", []string{"MISMATCH: read 2 of a batch of 1\n"}},
		"interrupted, ok": {1, Counts{Read: 1, OK: 1, Total: 10}, "interrupted", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(Options{})
			for range c.seen {
				f.Outcome(okOutcome(0), -1)
			}
			f.Summary(c.counts, c.verdict)
			got := f.take()
			if strings.Contains(got, "MISMATCH") != (c.want != nil) {
				t.Error(got)
			}
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
		})
	}
}

func TestTallyIsBounded(t *testing.T) {
	f := newFixture(Options{})
	const n = 3 * maxWorkers
	for i := range int64(n) {
		f.Outcome(&batch.Outcome{Seq: i, State: batch.Failed, Class: batch.Class(fmt.Sprintf("c\n%d", i%1000)), Worker: fmt.Sprint(i)}, -1)
	}
	if w, c := len(f.tally.workers), len(f.tally.failures); w != maxWorkers || c != maxClasses+1 {
		t.Errorf("%d workers, %d classes", w, c)
	}
	f.Summary(Counts{Read: n, Failed: n, Total: n}, "done")
	if got := f.take(); strings.Contains(got, "MISMATCH") || !strings.Contains(got, "workers 10000 or more") || strings.Count(got, "\n") != 3+maxClasses+1 {
		t.Error(got)
	}
}

func TestOddTimes(t *testing.T) {
	f := newFixture(Options{})
	for _, ms := range []float64{math.NaN(), math.Inf(-1), -1} {
		f.Outcome(&batch.Outcome{State: batch.OK, Attempts: 1, MS: ms}, -time.Second)
	}
	if n := f.tally.run.h.TotalCount() + f.tally.start.h.TotalCount(); n != 0 {
		t.Errorf("%d recorded", n)
	}
	for _, ms := range []float64{0, math.Inf(1), 1e300} {
		f.Outcome(&batch.Outcome{State: batch.OK, Attempts: 1, MS: ms}, math.MaxInt64)
	}
	if n := f.tally.run.h.TotalCount() + f.tally.start.h.TotalCount(); n != 6 {
		t.Errorf("%d recorded", n)
	}
}

func TestClean(t *testing.T) {
	long := strings.Repeat("é", 200)
	for in, want := range map[string]string{
		"":                              "",
		" \n a\r\n\tb \n":               "a b",
		"a\x1b[2J\x00\x7f\u0085b\u009b": "a?[2J?? b?",
		"\u202egnp.exe":                 "?gnp.exe",
		"bad \xff utf-8":                "bad \ufffd utf-8",
		long:                            long,
		long + "é":                      long[:199*2] + "…",
	} {
		got := Clean(in, maxSample)
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if utf8.RuneCountInString(got) > maxSample {
			t.Errorf("%q is too long", got)
		}
	}
}
