package attempt_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/tasks"
)

var errNo = errors.New("no")

func divide(a, b int) int { return a / b }

// Every way an attempt can end, and what becomes of the task. The batch allows two
// retries, 10 s an attempt.
func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		do       handler
		state    batch.State
		class    batch.Class
		error    string // is part of it
		attempts int
		verdicts string
	}{
		"ok": {
			do:    func(context.Context, payload) (string, error) { return "yes", nil },
			state: batch.OK, attempts: 1, verdicts: "ok",
		},
		"ok at the second attempt": {
			do: func(ctx context.Context, _ payload) (string, error) {
				if info, _ := tasks.InfoFrom(ctx); info.Attempt < 2 {
					return "", errNo
				}
				return "yes", nil
			},
			state: batch.OK, attempts: 2, verdicts: "retry exhausted, ok",
		},
		"exhausted": {
			do:    func(context.Context, payload) (string, error) { return "", errNo },
			state: batch.Failed, class: batch.Exhausted, error: "no", attempts: 3,
			verdicts: "retry exhausted, retry exhausted, failed exhausted",
		},
		"permanent": {
			do:    func(context.Context, payload) (string, error) { return "", tasks.Permanent(errNo) },
			state: batch.Failed, class: batch.Permanent, error: "no", attempts: 1, verdicts: "failed permanent",
		},
		"permanent, of a throttled one": {
			do: func(context.Context, payload) (string, error) {
				return "", tasks.Permanent(tasks.Throttled(time.Second))
			},
			state: batch.Failed, class: batch.Permanent, attempts: 1, verdicts: "failed permanent",
		},
		"the last failure names the class": {
			do: func(ctx context.Context, _ payload) (string, error) {
				if info, _ := tasks.InfoFrom(ctx); info.Attempt < 3 {
					return "", errNo
				}
				panic("boom")
			},
			state: batch.Failed, class: batch.Panic, error: "panic: boom", attempts: 3,
			verdicts: "retry exhausted, retry exhausted, failed panic",
		},
		"divide by zero": {
			do:    func(_ context.Context, in payload) (string, error) { return fmt.Sprint(divide(1, int(in.N))), nil },
			state: batch.Failed, class: batch.Panic, error: "panic: runtime error: integer divide by zero", attempts: 3,
			verdicts: "retry panic, retry panic, failed panic",
		},
		"nil pointer": {
			do:    func(context.Context, payload) (string, error) { var p *payload; return p.Key, nil },
			state: batch.Failed, class: batch.Panic, error: "nil pointer dereference", attempts: 3,
			verdicts: "retry panic, retry panic, failed panic",
		},
		"panic with an error that cannot be printed": {
			do:    func(context.Context, payload) (string, error) { panic(unprintable{}) },
			state: batch.Failed, class: batch.Panic, error: "panic: ", attempts: 3,
			verdicts: "retry panic, retry panic, failed panic",
		},
		"panic(nil)": {
			do:    func(context.Context, payload) (string, error) { panic(nil) },
			state: batch.Failed, class: batch.Panic, attempts: 3, verdicts: "retry panic, retry panic, failed panic",
		},
		"Goexit": {
			do:    func(context.Context, payload) (string, error) { runtime.Goexit(); return "", nil },
			state: batch.Failed, class: batch.Panic, error: "runtime.Goexit", attempts: 3,
			verdicts: "retry panic, retry panic, failed panic",
		},
		"timeout, obeyed": {
			do: func(ctx context.Context, _ payload) (string, error) {
				<-ctx.Done()
				return "", errors.New("something else")
			},
			state: batch.Failed, class: batch.Timeout, error: "attempt took longer than 10s", attempts: 3,
			verdicts: "retry timeout, retry timeout, failed timeout",
		},
		"timeout, ignored": {
			do: func(context.Context, payload) (string, error) {
				time.Sleep(20 * time.Second)
				return "too late", nil
			},
			state: batch.Failed, class: batch.Timeout, error: "attempt took longer than 10s", attempts: 3,
			verdicts: "retry timeout, retry timeout, failed timeout",
		},
		"a timeout of the handler's own": {
			do: func(context.Context, payload) (string, error) {
				return "", fmt.Errorf("get: %w", context.DeadlineExceeded)
			},
			state: batch.Failed, class: batch.Timeout, error: "get: context deadline exceeded", attempts: 3,
			verdicts: "retry timeout, retry timeout, failed timeout",
		},
		"a cancellation of the handler's own": {
			do:    func(context.Context, payload) (string, error) { return "", context.Canceled },
			state: batch.Failed, class: batch.Exhausted, error: "context canceled", attempts: 3,
			verdicts: "retry exhausted, retry exhausted, failed exhausted",
		},
		"done in the last moment": {
			do: func(ctx context.Context, _ payload) (string, error) {
				<-ctx.Done()
				return "yes", nil
			},
			state: batch.OK, attempts: 1, verdicts: "ok",
		},
		"panic when its time is over": {
			do: func(ctx context.Context, _ payload) (string, error) {
				<-ctx.Done()
				panic("boom")
			},
			state: batch.Failed, class: batch.Panic, attempts: 3, verdicts: "retry panic, retry panic, failed panic",
		},
		"an error that is not UTF-8": { // which asynq cannot store
			do: func(context.Context, payload) (string, error) {
				return "", errors.New("\xff\xfe " + strings.Repeat("x", 5000))
			},
			state: batch.Failed, class: batch.Exhausted, error: "\uFFFD\uFFFD xxx", attempts: 3,
			verdicts: "retry exhausted, retry exhausted, failed exhausted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, someOptions, c.do, func(t *testing.T, w *world) {
				start := time.Now()
				all := w.run(1)
				if len(all) != 1 {
					t.Fatalf("%d outcomes", len(all))
				}
				o := all[0]
				if o.State != c.state || o.Class != c.class || !strings.Contains(o.Error, c.error) || o.Attempts != c.attempts {
					t.Errorf("got %+v", o)
				}
				if c.state == batch.OK && string(o.Result) != `"yes"` || c.state != batch.OK && o.Result != nil {
					t.Errorf("the result is %s", o.Result)
				}
				if len(o.Error) > 1100 || o.Worker == "" {
					t.Errorf("got %+v", o)
				}
				if n := len(w.ran()); n != c.attempts {
					t.Errorf("it ran %d times", n)
				}
				if took := time.Since(start); took > time.Minute {
					t.Errorf("it took %v", took)
				}
				dead, err := w.ledger.DeadLetters(w.ctx, "b")
				if want := int64(map[batch.State]int{batch.Failed: 1}[c.state]); dead != want || err != nil {
					t.Errorf("%d dead letters, %v", dead, err)
				}
				i, err := w.ledger.Info(w.ctx, "b")
				if err != nil || i.Retries != int64(c.attempts-1) {
					t.Errorf("%d retries counted, %v", i.Retries, err)
				}
				w.wantNothingLeft()
				if got := w.verdicts(); got != c.verdicts {
					t.Errorf("observed %q, want %q", got, c.verdicts)
				}
			})
		})
	}
}

type unprintable struct{}

func (unprintable) Error() string { panic("no words") }

// Somebody else put it into Redis: the producer does not enqueue such a thing. An
// outcome with the payload must be possible all the same.
func TestAPayloadThatDoesNotFitIsNotRun(t *testing.T) {
	o := someOptions
	o.WithPayload = true
	inBubble(t, o, nil, func(t *testing.T, w *world) {
		payloads := []string{"", "garbage", "\xff\xfe", `{"key":1}`, `{"key":"x","n":-1}`, `{"key":"x","n":1,"more":1}`, "{\"key\":\"\xff\"}",
			`{"key":"` + strings.Repeat("x", 3<<20) + `","n":1}`} // the cap may have been higher when it was enqueued
		for seq, p := range payloads {
			w.send("test-job", []byte(p), map[string]string{batch.Header: "1"}, asynq.TaskID(batch.TaskID("b", int64(seq))))
		}
		w.until(time.Minute, "all have their outcome", func() bool { return len(w.outcomes()) == len(payloads) })
		for _, o := range w.outcomes() {
			if o.State != batch.Failed || o.Class != batch.Invalid || o.Attempts != 1 {
				t.Errorf("payload %.100q: %+.500v", payloads[o.Seq], o)
			}
		}
		w.wantNothingLeft()
	})
}

func TestRetriesWaitLongerEachTime(t *testing.T) {
	o := someOptions
	o.Retries, o.BackoffMS, o.MaxBackoffMS = 6, 2_000, 9_000
	inBubble(t, o, func(context.Context, payload) (string, error) { return "", errNo }, func(t *testing.T, w *world) {
		w.run(1)
		at := w.ran()
		if len(at) != 7 {
			t.Fatalf("it ran %d times", len(at))
		}
		for n := 1; n < len(at); n++ {
			most := min(2*time.Second<<(n-1), 9*time.Second)
			// asynq keeps seconds, rounded down; the gate looks twice a second.
			if wait := at[n].Sub(at[n-1]); wait < 0 || wait > most+2*time.Second {
				t.Errorf("attempt %d came after %v, want up to %v", n+1, wait, most)
			}
		}
	})
}

// A throttled task waits as long as it was told, and as often; no attempt is spent.
func TestThrottledSpendsNoAttempt(t *testing.T) {
	for _, after := range []time.Duration{0, 300 * time.Millisecond, 1500 * time.Millisecond, 7 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			var runs atomic.Int64
			do := func(ctx context.Context, _ payload) (string, error) {
				if info, _ := tasks.InfoFrom(ctx); info.Attempt != 1 {
					return "", tasks.Permanent(fmt.Errorf("attempt %d", info.Attempt))
				}
				if runs.Add(1) <= 4 {
					return "", fmt.Errorf("wrapped: %w", tasks.Throttled(after))
				}
				return "yes", nil
			}
			inBubble(t, someOptions, do, func(t *testing.T, w *world) {
				time.Sleep(123 * time.Millisecond)
				o := w.run(1)[0]
				if o.State != batch.OK || o.Attempts != 1 {
					t.Errorf("got %+v", o)
				}
				at := w.ran()
				for n := 1; n < len(at); n++ {
					if wait := at[n].Sub(at[n-1]); wait < after || wait > after+2*time.Second {
						t.Errorf("it came again after %v", wait)
					}
				}
				w.wantNothingLeft()
				if got := w.verdicts(); got != strings.Repeat("throttled, ", 4)+"ok" {
					t.Errorf("observed %q", got)
				}
			})
		})
	}
}

// A handler that goes on after its time keeps its slot, is counted, and is not
// waited for: its task has its verdict.
func TestAStuckHandlerKeepsItsSlot(t *testing.T) {
	var running, most atomic.Int64
	o := someOptions
	o.Retries = 0
	do := func(ctx context.Context, in payload) (string, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		if in.N < 2 {
			time.Sleep(50 * time.Second)
		}
		return "yes", nil
	}
	inBubble(t, o, do, func(t *testing.T, w *world) {
		w.enqueue("b", 0, 1)
		time.Sleep(10*time.Second - time.Millisecond)
		if s := w.Stat(); s.Stuck != 0 || s.InFlight != 2 {
			t.Errorf("before their time is over: %+v", s)
		}
		time.Sleep(2 * time.Second)
		if s := w.Stat(); s.Stuck != 2 || s.InFlight != 2 {
			t.Errorf("2 s after their time: %+v", s)
		}
		if all := w.outcomes(); len(all) != 2 || all[0].Class != batch.Timeout || all[1].Class != batch.Timeout {
			t.Errorf("their outcomes are %+v", all)
		}
		// The third slot does all the work there is.
		for seq := int64(2); seq < 20; seq++ {
			w.enqueue("b", seq)
		}
		time.Sleep(5 * time.Second)
		if all := w.outcomes(); len(all) != 20 || most.Load() != 3 {
			t.Errorf("%d outcomes; %d ran at once in 3 slots", len(all), most.Load())
		}
		time.Sleep(50 * time.Second)
		if s := w.Stat(); s.Stuck != 0 || s.InFlight != 0 {
			t.Errorf("after they returned: %+v", s)
		}
		if all := w.outcomes(); len(all) != 20 {
			t.Errorf("their late results made %d outcomes", len(all))
		}
	})
}

func TestTheAttemptKnowsItself(t *testing.T) {
	var infos sync.Map
	do := func(ctx context.Context, in payload) (string, error) {
		info, _ := tasks.InfoFrom(ctx)
		infos.Store(in.N, info)
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > 10*time.Second || time.Until(end) < 9*time.Second {
			return "", tasks.Permanent(fmt.Errorf("its deadline is %v", end))
		}
		return "yes", nil
	}
	o := someOptions
	o.WithPayload = true
	inBubble(t, o, do, func(t *testing.T, w *world) {
		out := w.run(3)
		for _, o := range out {
			if o.State != batch.OK || string(o.Payload) != string(w.payload(o.Seq)) {
				t.Errorf("got %+v, payload %s", o, o.Payload)
			}
		}
		for seq := range int64(3) {
			got, _ := infos.Load(seq)
			if want := (tasks.Info{ID: batch.TaskID("b", seq), Batch: "b", Seq: seq, Attempt: 1}); got != want {
				t.Errorf("got %+v", got)
			}
		}
	})
}

func TestTheOutcomeSaysHowLongItWaited(t *testing.T) {
	var first atomic.Bool
	do := func(context.Context, payload) (string, error) {
		if first.CompareAndSwap(false, true) {
			return "", errNo
		}
		time.Sleep(1234 * time.Millisecond)
		return "yes", nil
	}
	inBubble(t, someOptions, do, func(t *testing.T, w *world) {
		for _, o := range w.run(2) {
			if o.MS != 1234 {
				t.Errorf("it took %v ms", o.MS)
			}
		}
		entries, err := w.ledger.Read(w.ctx, "b", batch.Start, 2, 0)
		if err != nil || len(entries) != 2 {
			t.Fatalf("%v, %v", entries, err)
		}
		if wait := entries[0].Wait; wait < 0 || wait > 100*time.Millisecond {
			t.Errorf("it waited %v", wait)
		}
		if wait := entries[1].Wait; wait >= 0 {
			t.Errorf("one that ran again waited %v", wait)
		}
	})
}
