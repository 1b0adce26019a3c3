package together

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

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsAskedMeanwhileGoesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]int
		asker := NewAsker(func(_ context.Context, questions []int) []Answer[int] {
			sent = append(sent, slices.Clone(questions))
			time.Sleep(time.Second) // a round trip
			answers := make([]Answer[int], len(questions))
			for i, q := range questions {
				if answers[i].Value = 2 * q; q == 7 {
					answers[i].Err = errors.New("seven")
				}
			}
			return answers
		})
		var all sync.WaitGroup
		for q := range 10 {
			all.Go(func() {
				time.Sleep(time.Duration(q) * time.Millisecond)
				switch a, err := asker.Do(t.Context(), q); {
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
		asker := NewAsker(func(_ context.Context, questions []int) []Answer[int] {
			<-frozen
			return make([]Answer[int], len(questions))
		})
		why := errors.New("why")
		for range 2 { // who is being sent, and who waits for the next round trip
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(why) })
			if _, err := asker.Do(ctx, 1); !errors.Is(err, why) {
				t.Errorf("%v", err)
			}
		}
		close(frozen)
		synctest.Wait()
		if _, err := asker.Do(t.Context(), 1); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestOneCallOfAScriptIsBounded(t *testing.T) {
	calls := NewCalls(func(string) *Call { return new(Call) })
	for i := range 10 {
		calls.Add("big", i, mostBytes/4, strings.Repeat("x", 3))
	}
	for i := range 3 * Most {
		calls.Add("small", i, 1, i)
	}
	var sizes []int
	for _, c := range calls.all {
		sizes = append(sizes, len(c.Places))
	}
	if want := []int{4, 4, 2, Most, Most, Most}; !slices.Equal(sizes, want) {
		t.Errorf("calls of %v tasks, want %v", sizes, want)
	}
}
