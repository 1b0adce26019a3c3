package work

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/simnet"
)

// said counts log lines by level.
type said struct {
	slog.Handler
	mu    sync.Mutex
	lines map[slog.Level]int
}

func (s *said) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (s *said) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[r.Level]++
	return nil
}

func (s *said) take(l slog.Level) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lines[l]
	s.lines[l] = 0
	return n
}

func TestAWrongClockStopsAWorkerUntilItIsRight(t *testing.T) {
	var ran atomic.Int64
	inBubble(t, func(context.Context, payload) (int64, error) { ran.Add(1); return 0, nil }, func(t *testing.T, _ *simnet.Bubble, f *fixture) {
		var off atomic.Int64
		set := func(d time.Duration) { off.Store(int64(d)) }
		log := &said{lines: make(map[slog.Level]int)}
		set(-65 * time.Second)
		w := f.worker(Options{Concurrency: 2, Log: slog.New(log), Now: func() time.Time { return time.Now().Add(time.Duration(off.Load())) }})
		f.batch("b", job.Type(), 2, "a")
		for range 3 {
			time.Sleep(clockLook)
			if ran.Load() != 0 || w.Stat().Clock > -64*time.Second {
				t.Fatalf("it ran %d tasks with its clock %v off", ran.Load(), w.Stat().Clock)
			}
		}
		if n := log.take(slog.LevelError); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		set(5 * time.Second)
		f.done("b")
		time.Sleep(2 * clockLook)
		if n := log.take(slog.LevelWarn); n != 1 {
			t.Errorf("it warned %d times of 5 s", n)
		}
		set(0)
		time.Sleep(2 * clockLook)
		if n, e := log.take(slog.LevelInfo), log.take(slog.LevelWarn); n != 1 || e != 0 {
			t.Errorf("the end was told %d times; %d more warnings", n, e)
		}
		set(11 * time.Second)
		time.Sleep(2 * clockLook)
		f.batch("c", job.Type(), 2, "a")
		time.Sleep(clockLook)
		if ran.Load() != 2 {
			t.Errorf("it ran %d tasks, 2 of them before its clock went wrong", ran.Load())
		}
		set(0)
		f.done("c")
	})
}
