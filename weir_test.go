package weir_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/produce"
	"github.com/weir-tasks/weir/tasks"
)

type number struct {
	N int `json:"n" validate:"gte=0" weir:"line"`
}

var double = tasks.Define("test-double", tasks.Policy{Backoff: time.Millisecond},
	func(_ context.Context, in number) (number, error) { return number{in.N * 2}, nil })

// flaky fails each task's first attempt, and those divisible by 10 for good.
var flaky = tasks.Define("test-flaky", tasks.Policy{Backoff: time.Millisecond, Retries: 2},
	func(ctx context.Context, in number) (number, error) {
		info, _ := tasks.InfoFrom(ctx)
		switch {
		case in.N%10 == 0:
			return number{}, tasks.Permanent(errors.New("divisible by ten"))
		case info.Attempt == 1:
			return number{}, errors.New("at first it fails")
		}
		return in, nil
	})

func numbers(n int) func(func(number) bool) {
	return func(yield func(number) bool) {
		for i := range n {
			if !yield(number{i}) {
				return
			}
		}
	}
}

// everywhere runs f on an embedded Redis, on a real one, on a Cluster of three
// masters and through Sentinel, with a worker.
func everywhere(t *testing.T, f func(t *testing.T, c *weir.Client)) {
	for where, url := range map[string]func(t *testing.T) string{
		"embedded": func(*testing.T) string { return "" },
		"redis":    func(t *testing.T) string { return conntest.Server(t).URL() },
		"cluster":  func(t *testing.T) string { return conntest.Cluster(t, 3).URL() },
		"sentinel": func(t *testing.T) string { return conntest.Sentinel(t, conntest.Server(t)).URL() },
	} {
		t.Run(where, func(t *testing.T) {
			o := weir.Options{URL: url(t)}
			c, err := weir.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			w, err := c.NewWorker(weir.WorkerOptions{Concurrency: 10, ShutdownTimeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { w.Stop() })
			f(t, c)
		})
	}
}

func TestRunYieldsEveryOutcomeOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, c *weir.Client) {
		const n = 1000
		got := make(map[int64]int)
		for o, err := range weir.Run(t.Context(), c, double, numbers(n), weir.BatchOptions{Name: "all"}) {
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := got[o.Seq]; twice {
				t.Errorf("seq %d came twice", o.Seq)
			}
			got[o.Seq] = o.Result.N
		}
		if len(got) != n {
			t.Errorf("%d outcomes, want %d", len(got), n)
		}
		for seq, v := range got {
			if v != int(seq)*2 {
				t.Errorf("seq %d gave %d", seq, v)
			}
		}
		st, err := c.Status(t.Context(), "all")
		if err != nil || st.Phase != batch.Done || st.OK != n || st.Sum() != 0 || st.Missing() != 0 {
			t.Errorf("status %+v, %v", st, err)
		}
	})
}

func TestOrderedComesInTheOrderOfInput(t *testing.T) {
	everywhere(t, func(t *testing.T, c *weir.Client) {
		next := int64(0)
		for o, err := range weir.Run(t.Context(), c, flaky, numbers(300), weir.BatchOptions{Ordered: true, Window: 100}) {
			if err != nil {
				t.Fatal(err)
			}
			if o.Seq != next {
				t.Fatalf("seq %d came where %d was due", o.Seq, next)
			}
			next++
			var taskErr *weir.TaskError
			failed := errors.As(o.Err, &taskErr)
			if failed != (o.Seq%10 == 0) || failed && taskErr.Class != batch.Permanent {
				t.Errorf("seq %d: %v", o.Seq, o.Err)
			}
			if !failed && o.Attempts != 2 {
				t.Errorf("seq %d took %d attempts, want 2", o.Seq, o.Attempts)
			}
		}
		if next != 300 {
			t.Errorf("%d outcomes", next)
		}
	})
}

func TestLeavingTheLoopCancelsTheBatch(t *testing.T) {
	everywhere(t, func(t *testing.T, c *weir.Client) {
		var made atomic.Int64
		endless := func(yield func(number) bool) {
			for i := 0; yield(number{i}); i++ {
				made.Add(1)
			}
		}
		seen := 0
		for _, err := range weir.Run(t.Context(), c, double, endless, weir.BatchOptions{Name: "endless", Window: 50}) {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; seen == 30 {
				break
			}
		}
		st, err := c.Status(t.Context(), "endless")
		if err != nil {
			t.Fatal(err)
		}
		if st.Phase != batch.GivenUp || !st.Complete() || st.Sum() != 0 {
			t.Errorf("after leaving: %+v, %+v", st, st.Info)
		}
	})
}

func TestFailFastCancelsTheSiblings(t *testing.T) {
	everywhere(t, func(t *testing.T, c *weir.Client) {
		states := make(map[batch.State]int)
		o := weir.BatchOptions{Name: "fast", FailFast: true, Window: 50}
		// Ten is the first that fails for good: by then the nine before it wait for another attempt.
		payloads := func(yield func(number) bool) {
			for i := 1; i <= 5000 && yield(number{i}); i++ {
			}
		}
		for o, err := range weir.Run(t.Context(), c, flaky, payloads, o) {
			if err != nil {
				t.Fatal(err)
			}
			states[o.State]++
		}
		if states[batch.Failed] == 0 || states[batch.Cancelled] == 0 || states[batch.OK] > 4000 {
			t.Errorf("outcomes %v", states)
		}
	})
}

func TestASingleTaskIsEnqueuedAskedForAndGot(t *testing.T) {
	everywhere(t, func(t *testing.T, c *weir.Client) {
		task, err := weir.Enqueue(t.Context(), c, double, number{21}, weir.BatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := weir.Find(c, double, task.ID()).Get(t.Context())
		if err != nil || r.N != 42 {
			t.Errorf("got %v, %v", r, err)
		}
		if ready, err := task.Ready(t.Context()); !ready || err != nil {
			t.Errorf("ready %v, %v", ready, err)
		}
		if _, err := weir.Enqueue(t.Context(), c, double, number{-1}, weir.BatchOptions{}); err == nil {
			t.Error("a payload that does not fit was enqueued")
		}
		bad, err := weir.Enqueue(t.Context(), c, flaky, number{10}, weir.BatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var taskErr *weir.TaskError
		if _, err := bad.Get(t.Context()); !errors.As(err, &taskErr) || taskErr.Class != batch.Permanent {
			t.Errorf("got %v", err)
		}
	})
}

func ExampleRun() {
	ctx := context.Background()
	c, err := weir.Open(ctx, weir.Options{}) // embedded: nothing to install
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	worker, err := c.NewWorker(weir.WorkerOptions{Concurrency: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := worker.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer worker.Stop()
	for o, err := range weir.Run(ctx, c, double, numbers(3), weir.BatchOptions{Ordered: true}) {
		fmt.Println(o.Seq, o.Result.N, err)
	}
	// Output:
	// 0 0 <nil>
	// 1 2 <nil>
	// 2 4 <nil>
}

// A worker that is still running when its client is closed is stopped first.
func TestCloseStopsWorkers(t *testing.T) {
	for where, url := range map[string]string{"embedded": "", "redis": conntest.Server(t).URL()} {
		t.Run(where, func(t *testing.T) {
			c, err := weir.Open(t.Context(), weir.Options{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			w, err := c.NewWorker(weir.WorkerOptions{Concurrency: 2, ShutdownTimeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Start(); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := w.Start(); err == nil {
				t.Error("the worker of a closed client starts")
			}
		})
	}
}

func TestALaneMustBeALanesName(t *testing.T) {
	c, err := weir.Open(t.Context(), weir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = weir.Enqueue(t.Context(), c, double, number{1}, weir.BatchOptions{Lane: "a{b}"})
	if err == nil || !strings.Contains(err.Error(), `lane "a{b}" must match`) {
		t.Errorf("got %v", err)
	}
	if all, err := c.Batches(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("batches %v, %v", all, err)
	}
}

// Redis freezes: the worker cannot be stopped, and goes on using the connection when
// Redis is back. Closing again waits for it.
func TestCloseWhileRedisIsFrozen(t *testing.T) {
	server := conntest.Server(t)
	c, err := weir.Open(t.Context(), weir.Options{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.NewWorker(weir.WorkerOptions{Concurrency: 1, ShutdownTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	server.Freeze()
	err = c.Close()
	server.Thaw()
	if err == nil {
		t.Error("no error, though a worker could not stop")
	}
	conntest.Eventually(t, 20*time.Second, "all is closed", func(context.Context) bool { return c.Close() == nil })
	if err := c.Redis().Ping(t.Context()).Err(); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("its connection is open: %v", err)
	}
}

// A follower that comes while Redis is away waits for it.
func TestAFollowerWaitsForRedis(t *testing.T) {
	server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	said := make(saying, 100)
	c, err := weir.Open(t.Context(), weir.Options{URL: server.URL(), Log: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, err := c.NewWorker(weir.WorkerOptions{Concurrency: 1, ShutdownTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	task, err := weir.Enqueue(t.Context(), c, double, number{21}, weir.BatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := task.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	for len(said) > 0 {
		<-said
	}
	got := make(chan error, 1)
	go func() {
		r, err := task.Get(t.Context())
		if err == nil && r.N != 42 {
			err = fmt.Errorf("got %v", r)
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("without Redis: %v", err)
	case <-said:
	}
	server.Restart()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// saying passes on what is logged, and drops what nobody takes.
type saying chan string

func (s saying) Write(b []byte) (int, error) {
	select {
	case s <- string(b):
	default:
	}
	return len(b), nil
}

// Who takes the outcomes of a batch may leave it to the ledger how many it had before.
func TestAReaderThatDoesNotCountGoesOn(t *testing.T) {
	everywhere(t, func(t *testing.T, c *weir.Client) {
		b, err := c.Begin(t.Context(), double.Type(), weir.BatchOptions{MaxUnread: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer b.End()
		fed := make(chan error, 1)
		go func() {
			src := produce.Payloads(numbers(10), double.Encode)
			defer src.Close()
			fed <- b.Feed(t.Context(), src)
		}()
		read := func() (lines int) {
			pipe := produce.NewPipe(t.Context())
			go func() {
				pipe.Close(c.Follow(t.Context(), b.Name(), false, produce.Outcomes{Sink: pipe, Given: -1, Reader: "this test"}))
			}()
			for range pipe.Lines() {
				lines++
			}
			if err := pipe.Wait(); err != nil {
				t.Fatal(err)
			}
			return lines
		}
		if n := read(); n != 10 {
			t.Errorf("%d outcomes", n)
		}
		if err := <-fed; err != nil {
			t.Error(err)
		}
		if n := read(); n != 0 {
			t.Errorf("%d outcomes once more", n)
		}
	})
}
