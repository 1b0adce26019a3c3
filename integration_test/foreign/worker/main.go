// Command worker runs shout tasks until it is told to stop.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	_ "example.com/foreign/types" // defines the task type
	"github.com/weir-tasks/weir"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("worker", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	client, err := weir.Open(ctx, weir.Options{URL: os.Getenv("REDIS_URL"), Log: slog.Default()})
	if err != nil {
		return err
	}
	defer client.Close()
	return client.RunWorker(ctx, weir.WorkerOptions{Concurrency: 20, ShutdownTimeout: 5 * time.Second})
}
