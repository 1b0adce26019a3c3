package report

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
)

// Everything at once; the race detector looks on, and the numbers still add up.
func TestConcurrentUse(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		f := newFixture(Options{Terminal: terminal, Every: time.Millisecond})
		const each = 1000
		var wg sync.WaitGroup
		for g := range int64(4) {
			wg.Go(func() {
				for i := range int64(each) {
					if g == 0 {
						f.Outcome(failedOutcome(i, batch.Exhausted, "no", 3), time.Millisecond)
					} else {
						f.Outcome(okOutcome(i), time.Millisecond)
					}
				}
			})
		}
		wg.Go(func() {
			for i := range int64(100) {
				f.clock.add(10 * time.Millisecond)
				f.Update(Counts{Read: i, OK: i, Total: 4 * each})
			}
		})
		wg.Go(func() {
			for i := range 100 {
				f.Note("note %d", i)
			}
		})
		beside := f.Beside(io.Discard)
		wg.Go(func() {
			for range 100 {
				_, _ = beside.Write([]byte("x\n"))
			}
		})
		wg.Wait()
		f.Summary(Counts{Read: 4 * each, OK: 3 * each, Failed: each, Total: 4 * each}, "done")
		got := f.take()
		if strings.Contains(got, "MISMATCH") || strings.Count(got, "note ") != 100 || !strings.Contains(got, "retries 2000,") {
			t.Error(got)
		}
	}
}

// stuck is a terminal after Ctrl-S.
type stuck struct{ entered, release chan struct{} }

func (s *stuck) Write(p []byte) (int, error) {
	s.entered <- struct{}{}
	<-s.release
	return len(p), nil
}

func TestOutcomeDoesNotWaitForTheTerminal(t *testing.T) {
	out := &stuck{make(chan struct{}), make(chan struct{})}
	r := New(Options{Out: out, Terminal: true})
	var wg sync.WaitGroup
	wg.Go(func() { r.Update(Counts{Total: -1}) })
	<-out.entered
	r.Outcome(okOutcome(0), -1) // hangs the test if it waits
	close(out.release)
	wg.Wait()
}

func TestOutcomeDoesNotAllocate(t *testing.T) {
	r := New(Options{Out: io.Discard})
	o := okOutcome(1)
	if n := testing.AllocsPerRun(1000, func() { r.Outcome(o, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations per outcome", n)
	}
}

func BenchmarkOutcome(b *testing.B) {
	r := New(Options{Out: io.Discard})
	o := okOutcome(1)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		o.MS = float64(i % 10_000)
		r.Outcome(o, time.Duration(i%1000)*time.Microsecond)
	}
}

func BenchmarkUpdateBar(b *testing.B) {
	f := newFixture(Options{Terminal: true})
	c := Counts{Read: 5000, Active: 50, Total: 1 << 40}
	b.ReportAllocs()
	for b.Loop() {
		f.out.Reset()
		f.clock.add(250 * time.Millisecond)
		c.OK += 100
		f.Update(c)
	}
}
