package integration_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/tasks"
)

type nothing struct {
	N int `json:"n"`
}

var noop = tasks.Define("bench-noop", tasks.Policy{},
	func(context.Context, nothing) (nothing, error) { return nothing{}, nil })

// BenchmarkNoop runs b.N no-op tasks, enqueued and drained at the same time:
// through raw asynq (64 goroutines enqueue, one default server), and through weir,
// with ledger, checkpoint and outcomes. Compare the two in one run only:
//
//	go test ./integration_test -run '^$' -bench Noop -benchtime 100000x
func BenchmarkNoop(b *testing.B) {
	const concurrency = 200
	b.Run("asynq", func(b *testing.B) { perSecond(b, func() { rawAsynq(b, concurrency, b.N) }) })
	b.Run("weir", func(b *testing.B) { perSecond(b, func() { throughWeir(b, concurrency, b.N) }) })
}

func perSecond(b *testing.B, run func()) {
	began := time.Now()
	run()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "tasks/s")
}

func rawAsynq(b *testing.B, concurrency, n int) {
	rdb := redis.NewClient(&redis.Options{Addr: conntest.Server(b).Addr(), PoolSize: 100})
	defer rdb.Close()
	var ran atomic.Int64
	done := make(chan struct{})
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{Concurrency: concurrency, LogLevel: asynq.FatalLevel})
	b.ResetTimer()
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if ran.Add(1) == int64(n) {
			close(done)
		}
		return nil
	}))
	if err != nil {
		b.Fatal(err)
	}
	client := asynq.NewClientFromRedisClient(rdb)
	var senders sync.WaitGroup
	for s := range 64 {
		senders.Go(func() {
			for i := s; i < n; i += 64 {
				task := asynq.NewTask("noop", fmt.Appendf(nil, `{"n":%d}`, i))
				if _, err := client.Enqueue(task); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
	<-done
	b.StopTimer()
	server.Shutdown()
}

func throughWeir(b *testing.B, concurrency, n int) {
	c, err := weir.Open(b.Context(), weir.Options{URL: conntest.Server(b).URL()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	w, err := c.NewWorker(weir.WorkerOptions{Concurrency: concurrency, ShutdownTimeout: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	if err := w.Start(); err != nil {
		b.Fatal(err)
	}
	payloads := func(yield func(nothing) bool) {
		for i := 0; i < n && yield(nothing{i}); i++ {
		}
	}
	b.ResetTimer()
	got := 0
	for _, err := range weir.Run(b.Context(), c, noop, payloads, weir.BatchOptions{}) {
		if err != nil {
			b.Fatal(err)
		}
		got++
	}
	b.StopTimer()
	if got != n {
		b.Errorf("%d outcomes of %d", got, n)
	}
	if err := w.Stop(); err != nil {
		b.Error(err)
	}
}
