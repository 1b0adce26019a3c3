package lane

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestTakeStopsAtTheLanesLimitAndTheWorkersSlots(t *testing.T) {
	s := NewSet("w", 5)
	s.Limit("a", 2)
	for _, step := range []struct {
		lane       string
		want, have int
	}{
		{"a", 10, 2}, {"a", 1, 0}, {"b", 10, 3}, {"b", 1, 0}, {"c", 1, 0},
	} {
		if got := s.Take(step.lane, step.want); got != step.have {
			t.Fatalf("Take(%q, %d) = %d, want %d", step.lane, step.want, got, step.have)
		}
	}
	s.Return("b", 1)
	if got := s.Take("a", 1); got != 0 {
		t.Errorf("a lane at its limit took %d permits that another lane returned", got)
	}
	if got := s.Take("c", 5); got != 1 {
		t.Errorf("Take(c) = %d, want the one slot that is free", got)
	}
}

func TestReturnSignalsFreed(t *testing.T) {
	s := NewSet("w", 1)
	s.Take("a", 1)
	select {
	case <-s.Freed():
		t.Fatal("Freed before anything was returned")
	default:
	}
	s.Return("a", 1)
	<-s.Freed()
}

func TestNeverMoreThanTheLimitUnderContention(t *testing.T) {
	s := NewSet("w", 8)
	s.Limit("a", 3)
	var now, peak atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for done := 0; done < 500; {
				n := s.Take("a", 2)
				if n == 0 {
					continue
				}
				v := now.Add(int64(n))
				for p := peak.Load(); v > p && !peak.CompareAndSwap(p, v); p = peak.Load() {
				}
				now.Add(-int64(n))
				s.Return("a", n)
				done += n
			}
		})
	}
	wg.Wait()
	if peak.Load() > 3 {
		t.Errorf("%d permits of a lane of 3 out at once", peak.Load())
	}
	if s.InFlight() != 0 {
		t.Errorf("%d permits never came back", s.InFlight())
	}
}

// A lane that is governed is so from its first task on, however long it had none, and
// takes no room until then.
func TestGovernedLanesWithoutWorkAreRemembered(t *testing.T) {
	s := NewSet("w", 50)
	s.Governed([]string{"a"})
	s.Keep(nil)
	if is, known := s.Knows("a"); !is || !known || len(s.Stats()) != 0 {
		t.Errorf("governed %v, known %v, %d lanes", is, known, len(s.Stats()))
	}
	s.Learn("a", false)
	if n := s.Take("a", 50); n != 0 {
		t.Errorf("%d permits before the governor has said anything", n)
	}
	s.Governed(nil)
	if n := s.Take("a", 50); n != few {
		t.Errorf("%d permits of a lane that is governed no more", n)
	}
}

func TestReturningMoreThanTakenPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewSet("w", 1).Return("a", 1)
}
