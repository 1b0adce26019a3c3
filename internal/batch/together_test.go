package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestWhatIsAskedMeanwhileGoesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]int
		asker := together[int, int]{send: func(_ context.Context, questions []int) []answer[int] {
			sent = append(sent, slices.Clone(questions))
			time.Sleep(time.Second) // a round trip
			answers := make([]answer[int], len(questions))
			for i, q := range questions {
				if answers[i].value = 2 * q; q == 7 {
					answers[i].err = errors.New("seven")
				}
			}
			return answers
		}}
		var all sync.WaitGroup
		for q := range 10 {
			all.Go(func() {
				time.Sleep(time.Duration(q) * time.Millisecond)
				switch a, err := asker.do(t.Context(), q); {
				case q == 7 && err == nil, q != 7 && (err != nil || a != 2*q):
					t.Errorf("%d: %d, %v", q, a, err)
				}
			})
		}
		all.Wait()
		if fmt.Sprint(sent) != "[[0] [1 2 3 4 5 6 7 8 9]]" {
			t.Errorf("sent %v", sent)
		}
	})
}

func TestAskingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frozen := make(chan struct{})
		asker := together[int, int]{send: func(_ context.Context, questions []int) []answer[int] {
			<-frozen
			return make([]answer[int], len(questions))
		}}
		why := errors.New("why")
		for range 2 { // who is being sent, and who waits for the next round trip
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(why) })
			if _, err := asker.do(ctx, 1); !errors.Is(err, why) {
				t.Errorf("%v", err)
			}
		}
		close(frozen)
		synctest.Wait()
		if _, err := asker.do(t.Context(), 1); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// Tasks of several batches and segments, more than one call takes, on a Redis that does
// not know the scripts.
func TestManyAreBegunAndRecordedTogether(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		l := NewLedger(c)
		names := []string{"one", "two", "three"}
		for _, name := range names {
			if _, err := l.Create(t.Context(), name, Options{Type: name}); err != nil {
				t.Fatal(err)
			}
		}
		const each = mostTogether*2 + 10
		var asks []asked
		var entries []entry
		for i := range int64(each) {
			for _, name := range append(names, "none") {
				seq := i + i%2*segment
				asks = append(asks, asked{name, seq})
				entries = append(entries, entry{name: name, o: &Outcome{Seq: seq, State: OK}})
			}
		}
		if err := c.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		for i, a := range l.beginAll(t.Context(), asks) {
			want := Run
			if asks[i].name == "none" {
				want = NoBatch
			}
			if a.err != nil || a.value.Admission != want || want == Run && a.value.Type != asks[i].name {
				t.Fatalf("begin %v: %+v", asks[i], a)
			}
		}
		for round, want := range []int64{1, 0} {
			for i, a := range l.recordEntries(t.Context(), entries) {
				if entries[i].name == "none" {
					want := int64(-1)
					if a.err != nil || a.value != want {
						t.Fatalf("record %v of no batch: %+v", entries[i], a)
					}
				} else if a.err != nil || a.value != want {
					t.Fatalf("round %d, record %v: %+v", round, entries[i], a)
				}
			}
		}
		for _, name := range names {
			if i, err := l.Info(t.Context(), name); err != nil || i.OK != each {
				t.Errorf("%s: %+v, %v", name, i, err)
			}
		}
	})
}

func TestOneCallOfAScriptIsBounded(t *testing.T) {
	calls := scriptCalls{begin: recordCall, open: make(map[span]*scriptCall)}
	for i := range 10 {
		calls.add(span{"b", 0}, i, bytesTogether/4, strings.Repeat("x", 3))
	}
	for i := range 3 * mostTogether {
		calls.add(span{"small", 0}, i, 1, i)
	}
	var sizes []int
	for _, c := range calls.all {
		sizes = append(sizes, len(c.places))
	}
	if want := []int{4, 4, 2, mostTogether, mostTogether, mostTogether}; !slices.Equal(sizes, want) {
		t.Errorf("calls of %v tasks, want %v", sizes, want)
	}
}
