package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/tasks"
)

// errand is a task of a program of one's own, whose author has read half of how to call a
// service.
type errand struct {
	N    int    `json:"n"`
	URL  string `json:"url"`
	Lane string `json:"calls"`
}

var careless = tasks.Define("careless", tasks.Policy{Timeout: 2 * time.Second, Retries: 50, Backoff: 10 * time.Millisecond}, callCarelessly)

// callCarelessly never looks at its context, and thinks for as long as the answer bids it
// to. If it does, and in one task of ten anyway, it never calls Done.
func callCarelessly(ctx context.Context, in errand) (struct{}, error) {
	permit, err := tasks.Acquire(ctx, in.Lane)
	if err != nil {
		return struct{}{}, err
	}
	resp, err := http.Get(in.URL)
	if err != nil {
		return struct{}{}, err
	}
	resp.Body.Close()
	if think, err := time.ParseDuration(resp.Header.Get("Think")); err == nil {
		time.Sleep(think)
		return struct{}{}, nil
	}
	if resp.StatusCode != http.StatusOK {
		err = tasks.Overloaded(errors.New(resp.Status))
	}
	if err != nil || in.N%10 > 0 {
		permit.Done(err)
	}
	return struct{}{}, err
}

// Handlers that forget Done, and some that hang with their permits, flood no service, neither
// while they hang nor when all their permits come back at once; and work goes on.
func TestAServiceIsNotFloodedByForgottenPermits(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	for range 4 {
		w, err := open(t, f.redis.URL()).NewWorker(weir.WorkerOptions{Concurrency: 100})
		must(t, err)
		must(t, w.Start())
	}
	payloads := func(yield func(errand) bool) {
		for i := range faultyTasks {
			if !yield(errand{i, fmt.Sprintf("%s/%d", f.service.URL, i), f.service.lane(t)}) {
				return
			}
		}
	}
	ended := make(chan int, 1)
	go func() {
		ok := 0
		for o, err := range weir.Run(t.Context(), open(t, f.redis.URL()), careless, payloads, weir.BatchOptions{Window: 1000}) {
			if err != nil || o.State != batch.OK {
				t.Errorf("seq %d: %s, %v, %v", o.Seq, o.State, o.Err, err)
				continue
			}
			ok++
		}
		ended <- ok
	}()
	f.isNotFlooded(func() {
		const hang = 5 * time.Second
		var told atomic.Int64
		f.service.says(func(w http.ResponseWriter) bool {
			if told.Add(1) <= faultyCapacity/2 {
				w.Header().Set("Think", hang.String())
			}
			return false
		})
		eventually(t, long, func() bool { return told.Load() >= faultyCapacity/2 }, "half of what the service takes hangs")
		time.Sleep(hang) // the fault itself
	}, func() {
		if ok := <-ended; ok != faultyTasks {
			t.Errorf("%d of %d are ok", ok, faultyTasks)
		}
	})
}
