package batch

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func (l *fixture) note(seq int64, t Try) {
	l.t.Helper()
	if err := l.Note(l.ctx, "b", seq, t); err != nil {
		l.t.Fatal(err)
	}
}

// tried are the attempts that are remembered of a task of "b".
func (l *fixture) tried(seq int64) string {
	l.t.Helper()
	all, err := l.Tries(l.ctx, "b", seq)
	if err != nil {
		l.t.Fatal(err)
	}
	var text []string
	for _, t := range all {
		if age := time.Since(time.UnixMilli(t.At)); age.Abs() > time.Minute {
			l.t.Errorf("noted %v ago", age)
		}
		text = append(text, fmt.Sprintf("%d %s %s %s %v", t.Attempt, t.Worker, t.Class, t.Error, t.MS))
	}
	return strings.Join(text, ", ")
}

func TestFailedAttemptsAreRemembered(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		if got := l.tried(7); got != "" {
			t.Errorf("before its first: %s", got)
		}
		first := Try{Attempt: 1, Worker: "v", Class: Timeout, Error: "slow", MS: 1.5}
		l.note(7, first)
		l.note(7, first) // the reply was lost
		l.note(7, Try{Attempt: 1, Worker: "w", Class: Panic, Error: "two\nlines"})
		if got, want := l.tried(7), "1 v timeout slow 1.5, 1 w panic two\nlines 0"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		for n := range 2 * triesOfTask {
			l.note(8, Try{Attempt: n + 1, Worker: "w", Class: Exhausted, Error: strings.Repeat("\u00e9", triesText)})
		}
		all, err := l.Tries(l.ctx, "b", 8)
		if err != nil || len(all) != triesOfTask || all[0].Attempt != triesOfTask+1 || all[0].Error != strings.Repeat("\u00e9", triesText/2)+"..." {
			t.Errorf("%d attempts, the first %+v, %v", len(all), all[0], err)
		}
		before := l.info("b")
		l.record(7, OK)
		l.note(7, Try{Attempt: 9}) // of a copy that nobody waits for
		if got := l.tried(7); strings.Contains(got, "9") {
			t.Errorf("after its outcome: %s", got)
		}
		if err := l.Note(l.ctx, "none", 0, first); err != nil || len(keysOf(t, l.c, "none")) != 0 {
			t.Errorf("of no batch: %v, %v", err, keysOf(t, l.c, "none"))
		}
		if after := l.info("b"); after.Outcomes() != before.Outcomes()+1 || after.Retries != before.Retries || after.Mark != before.Mark {
			t.Errorf("the accounts went from %+v to %+v", before, after)
		}
	})
}

// However many tasks fail, so many are remembered, the last ones; and they go with their
// batch, also those that come when it is over.
func TestRememberedAttemptsAreBoundedAndGo(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.triesTasks = 10
		for seq := range int64(35) {
			l.note(seq, Try{Attempt: 1, Error: fmt.Sprint(seq)})
			l.note(seq, Try{Attempt: 2, Error: fmt.Sprint(seq)})
		}
		if n := l.c.HLen(l.ctx, triesKey("b")).Val(); n != 10+10+1 {
			t.Errorf("%d fields", n)
		}
		for seq := range int64(35) {
			if has := l.tried(seq) != ""; has != (seq >= 25) {
				t.Errorf("task %d is remembered: %v", seq, has)
			}
		}
		l.checkpoint(0, 2)
		l.record(0, OK)
		l.record(1, OK)
		phase, err := l.Seal(l.ctx, "b")
		l.ended(phase, err, Done)
		if ttl := l.c.PTTL(l.ctx, triesKey("b")).Val(); ttl <= 0 || ttl > minute {
			t.Errorf("they stay %v", ttl)
		}
		l.c.Del(l.ctx, triesKey("b"))
		l.note(3, Try{Attempt: 3})
		if ttl := l.c.PTTL(l.ctx, triesKey("b")).Val(); ttl <= 0 || ttl > minute {
			t.Errorf("one that came late stays %v", ttl)
		}
	})
}

func TestDeathsAreTold(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.died(7, "1800000030", 1)
		l.died(7, "1800000050", 2)
		for seq, want := range map[int64]int{7: 2, 8: 0} {
			if n, err := l.Deaths(l.ctx, "b", seq); n != want || err != nil {
				t.Errorf("task %d: %d, %v", seq, n, err)
			}
		}
	})
}
