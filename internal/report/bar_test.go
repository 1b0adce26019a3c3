package report

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestBar(t *testing.T) {
	f := newFixture(Options{Terminal: true})
	c := Counts{Read: 1250, OK: 790, Failed: 10, Active: 50, Total: 5000, Retries: 3}
	f.Update(c)
	same(t, f.take(), "\r  16% [==>.................]  800/5000 ok 790 failed 10 in flight 50 retries 3\x1b[K")
	f.clock.add(time.Second)
	c.OK += 400
	f.Update(c)
	same(t, f.take(), "\r  24% [>....]  1200/5000 400/s eta 9s ok 1190 failed 10 in flight 50 retries 3\x1b[K")

	f.Note("worker %s is gone", "a:1")
	same(t, f.take(), "\r\x1b[Kworker a:1 is gone\n  24% [>....]  1200/5000 400/s eta 9s ok 1190 failed 10 in flight 50 retries 3")

	// All of them, and still there when asked again.
	c = Counts{Read: 5000, OK: 4990, Failed: 10, Total: 5000, Retries: 3}
	for range 2 {
		f.clock.add(10 * time.Second)
		f.Update(c)
		if got := f.take(); !strings.HasPrefix(got, "\r 100% [==========") || !strings.Contains(got, "=]  5000/5000 ") {
			t.Errorf("%q", got)
		}
	}

	f.Summary(c, "done")
	if got := f.take(); !strings.HasPrefix(got, "\r\x1b[Kbatch http-1a2b: done in 21.0s\n  read 5000 = ") || strings.Count(got, "\r") != 1 {
		t.Errorf("%q", got)
	}
	f.Update(c)
	f.Note("after")
	same(t, f.take(), "after\n")
}

func TestSpinner(t *testing.T) {
	f := newFixture(Options{Terminal: true})
	c := Counts{Read: 100, OK: 50, Active: 50, Total: -1}
	f.Update(c)
	same(t, f.take(), "\r/ 50 done 100 read ok 50 failed 0 in flight 50 retries 0\x1b[K")
	f.clock.add(time.Second)
	f.Update(c)
	same(t, f.take(), "\r- 50 done 100 read 0/s ok 50 failed 0 in flight 50 retries 0\x1b[K")
	f.Update(Counts{Total: 0})
	same(t, f.take(), "\r\\ 0/0 0/s ok 0 failed 0 in flight 0 retries 0\x1b[K")
}

// Whatever the numbers and the width, the bar stays on its line.
func TestBarFits(t *testing.T) {
	s := &speed{}
	now := newClock().Now()
	s.add(now, 0)
	s.add(now.Add(time.Second), 39_800)
	garbage := regexp.MustCompile(`[^ -~]`)
	for _, c := range []Counts{
		{Total: -1},
		{Total: 0},
		{Read: 10, OK: 3, Active: 7, Total: 10},
		{Read: 1_250_000, OK: 1_190_000, Failed: 10, Cancelled: 5, Active: 5000, Retries: 123, Total: 5_000_000},
		{Read: 1 << 50, OK: 1 << 50, Failed: 1 << 40, Active: 1 << 40, Retries: 1 << 40, Total: -1},
		{Read: 5, OK: 9, Total: 5}, // more than all
		{Read: 5, OK: -9, Total: 5},
	} {
		for cols := range 200 {
			line := barLine(c, s, cols, cols)
			if len(line) > max(cols-1, 0) || garbage.MatchString(line) {
				t.Fatalf("%d columns, %+v: %q", cols, c, line)
			}
			if cols > 40 && c.Total > 0 && !strings.Contains(line, fmt.Sprintf("%d/%d", c.Done(), c.Total)) {
				t.Fatalf("%d columns, %+v: %q", cols, c, line)
			}
		}
	}
	same(t, barLine(Counts{Read: 1_250_000, OK: 1_190_000, Failed: 10, Active: 5000, Retries: 123, Total: 5_000_000}, s, 0, 80),
		"  23% 1190010/5000000 39800/s eta 1m35s ok 1190000 failed 10 in flight 5000")
}

// Outcomes on the same terminal never share a line with the bar.
func TestBeside(t *testing.T) {
	f := newFixture(Options{Terminal: true})
	w := f.Beside(&f.out)
	write := func(s string) {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	c := Counts{Total: -1}
	const bar = "0 done 0 read ok 0 failed 0 in flight 0 retries 0"
	write("one\n")
	f.Update(c)
	write("two\n")
	write("thr")
	f.Update(c)
	write("ee\n")
	write("fo")
	f.Note("note")
	f.Summary(Counts{}, "done")
	want := "one\n" +
		"\r/ " + bar + "\x1b[K" +
		"\r\x1b[Ktwo\n\r/ " + bar + "\x1b[K" +
		"\r\x1b[Kthr" +
		"ee\n\r- " + bar + "\x1b[K" +
		"\r\x1b[Kfo" +
		"\nnote\n- " + bar +
		"\r\x1b[Kbatch http-1a2b: done in 0.0s\n"
	if got := f.take(); !strings.HasPrefix(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	var other bytes.Buffer
	if newFixture(Options{}).Beside(&other) != &other {
		t.Error("a detour without a bar")
	}
}
