package batch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestReadGoesOnWhereItLeftOff(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		l.checkpoint(0, 5)
		for seq := range int64(5) {
			if _, err := l.Record(l.ctx, "b", outcome(seq, OK), time.Duration(seq-1)*time.Second, nil); err != nil {
				t.Fatal(err)
			}
		}
		p, err := l.Seal(l.ctx, "b")
		l.ended(p, err, Done)
		var got []string
		place := Start
		for {
			entries, err := l.Read(l.ctx, "b", place, 2, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				place = e.ID
				got = append(got, fmt.Sprint(strings.Contains(string(e.Line), `"seq"`), " ", e.End, " ", e.Wait))
			}
		}
		want := []string{"true false -1s", "true false 0s", "true false 1s", "true false 2s", "true false 3s", "false true -1µs"}
		if !slices.Equal(got, want) {
			t.Errorf("read %q", got)
		}
	})
}

func TestReadWaitsNoLongerThanAsked(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for _, block := range []time.Duration{-1, 0, time.Microsecond, 20 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(l.ctx, 10*time.Second)
			start := time.Now()
			entries, err := l.Read(ctx, "b", Start, 10, block)
			cancel()
			if took := time.Since(start); err != nil || len(entries) != 0 || took < block || took > 5*time.Second {
				t.Errorf("asked to wait %v: %v, %v after %v", block, entries, err, took)
			}
		}
	})
}

func TestReadIsWokenByAnOutcome(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		came := make(chan int)
		go func() {
			entries, err := l.Read(l.ctx, "b", Start, 10, minute)
			if err != nil {
				t.Error(err)
			}
			came <- len(entries)
		}()
		l.record(0, OK)
		select {
		case n := <-came:
			if n != 1 {
				t.Errorf("%d entries", n)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("still waiting")
		}
	})
}

func TestTrimForgetsWhatHasBeenRead(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		for seq := range int64(5) {
			l.record(seq, OK)
		}
		entries := l.read()
		if err := l.Trim(l.ctx, "b", entries[3].ID, 3); err != nil {
			t.Fatal(err)
		}
		if got := l.stream(); join(got) != "3 ok, 4 ok" {
			t.Errorf("left are %v", got)
		}
		if i := l.info("b"); i.Given != 3 || i.OK != 5 {
			t.Errorf("%+v", i)
		}
		l.begin(0, HasOutcome) // forgotten is its line, not that it has one
	})
}

func TestAnnouncementsReachListenersUntilTheyLeave(t *testing.T) {
	both(t, func(t *testing.T, l *fixture) {
		ctx, leave := context.WithCancel(l.ctx)
		heard, gone := make(chan string, 100), make(chan struct{})
		go func() {
			defer close(gone)
			l.Listen(ctx, func(name string, end Ending) { heard <- name + " " + string(end) })
		}()
		conntest.Eventually(t, 10*time.Second, "it listens", func(ctx context.Context) bool {
			return l.c.PubSubNumSub(ctx, announceChannel).Val()[announceChannel] == 1
		})
		l.c.Publish(l.ctx, announceChannel, "nonsense")
		l.c.Publish(l.ctx, announceChannel, "")
		for _, end := range []Ending{EndCancelled, EndStopped} {
			if err := l.Announce(l.ctx, "b", end); err != nil {
				t.Fatal(err)
			}
			if got := <-heard; got != "b "+string(end) {
				t.Errorf("heard %q", got)
			}
		}
		leave()
		<-gone
	})
}

// Listen must end with its context also while Redis does not answer.
func TestListenEndsWithoutRedis(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	l := NewLedger(server.Client())
	server.Kill()
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		l.Listen(ctx, func(string, Ending) {})
	}()
	leave()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("it still listens")
	}
}
