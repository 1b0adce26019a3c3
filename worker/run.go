package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/telemetry"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

// graceToLeave is how much longer than --shutdown-timeout the process may take to stop:
// with the default no more than 10 s in all.
const graceToLeave = 1500 * time.Millisecond

// run wires the worker: Redis, metrics, the worker itself; and stops them in the
// reverse order.
func run(ctx context.Context, c *config) error {
	log := c.Logger(os.Stderr)
	cli.RelaxGC()
	for name, path := range c.AllowExec {
		if err := tasks.AllowExec(name, path); err != nil {
			return cli.UsageError("--allow-exec %s=%s: %w", name, path, err)
		}
	}
	var keys *weir.Keys
	if c.VerifyKeys != "" {
		var err error
		if keys, err = weir.ReadKeys(c.VerifyKeys); err != nil {
			return cli.UsageError("--verify-keys: %w", err)
		}
	}
	cli.LeaveWithin(c.ShutdownTimeout + graceToLeave)
	client, err := weir.Open(ctx, weir.Options{URL: c.Redis, Log: log})
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	defer client.Close()

	metrics := telemetry.NewWorker()
	options := weir.WorkerOptions{
		Name: c.Name, Concurrency: c.Concurrency, Lanes: c.Lanes, ShutdownTimeout: c.ShutdownTimeout, Observe: metrics.Observe, Watch: metrics, Log: log,
		VerifyKeys: keys, RequireSignature: c.RequireSignature,
	}
	if err := errors.Join(c.Restrict(&options, c.Egress), c.Reveal(&options)); err != nil {
		return err
	}
	w, err := client.NewWorker(options)
	if err != nil {
		return err
	}
	metrics.Watch(w.Stat)
	metrics.Autoscale(func(ctx context.Context) (*lane.Signal, error) { return client.Autoscale(ctx, w) })
	if c.HTTP != "" {
		ping := func(ctx context.Context) error { return client.Redis().Ping(ctx).Err() }
		server, err := telemetry.Serve(c.HTTP, metrics, ping)
		if err != nil {
			return cli.UsageError("--http %s: %w", c.HTTP, err)
		}
		defer server.Close()
		log.Info("serving metrics and health", "addr", server.Addr())
	}
	if err := w.Start(); err != nil {
		var taken *work.NameTakenError
		if errors.As(err, &taken) {
			return cli.UsageError("--name: %w", err)
		}
		return err
	}
	log.Info("worker started", "name", w.Name(), "concurrency", c.Concurrency, "egress", c.Egress, "types", typeNames())
	<-ctx.Done()
	log.Info("stopping: taking nothing new", "running", w.Stat().InFlight, "timeout", c.ShutdownTimeout)
	if err := w.Stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	log.Info("worker stopped")
	var signalled *cli.Status
	if errors.As(context.Cause(ctx), &signalled) {
		return nil // told to stop and stopped: that is success
	}
	return context.Cause(ctx)
}

func typeNames() []string {
	var names []string
	for _, t := range tasks.All() {
		names = append(names, t.Name())
	}
	return names
}
