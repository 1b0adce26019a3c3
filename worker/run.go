package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/telemetry"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

// The process may take graceToLeave longer than --shutdown-timeout to stop: with the default
// no more than 10 s in all. It always has leaveIn, since with a short timeout, too, tasks are
// to be given back to a Redis that is slow.
const (
	graceToLeave = 1500 * time.Millisecond
	leaveIn      = 9500 * time.Millisecond
)

// run wires the worker: metrics and health, which tell why there is no more yet; Redis; the
// worker itself; and stops them in the reverse order.
func run(ctx context.Context, c *config) error {
	log := c.Logger(os.Stderr)
	cli.RelaxGC()
	cli.Trace(ctx, "weir-worker", log)
	if err := c.Allow(); err != nil {
		return err
	}
	var keys *weir.Keys
	if c.VerifyKeys != "" {
		var err error
		if keys, err = weir.ReadKeys(c.VerifyKeys); err != nil {
			return cli.UsageError("--verify-keys: %w", err)
		}
	}
	cli.LeaveWithin(max(c.ShutdownTimeout+graceToLeave, leaveIn))
	metrics := telemetry.New(cli.Version()).Worker()
	open := weir.Options{URL: c.Redis, Log: log}
	var server *telemetry.Server // nil without --http
	if c.HTTP != "" {
		var connecting telemetry.Connecting
		open.Unreached = connecting.Failed
		var err error
		if server, err = telemetry.Serve(c.HTTP, metrics.Metrics, connecting.Check()); err != nil {
			return cli.UsageError("--http %s: %w", c.HTTP, err)
		}
		defer server.Close()
		log.Info("serving metrics and health", "addr", server.Addr())
	}
	client, err := weir.Open(ctx, open)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	defer client.Close()

	options := weir.WorkerOptions{
		Name: c.Name, Concurrency: c.Concurrency, Lanes: c.Lanes, ShutdownTimeout: c.ShutdownTimeout, Log: log,
		Observe: metrics.Observe, Started: metrics.Started, Rescued: metrics.Rescued, Watch: metrics,
		VerifyKeys: keys, RequireSignature: c.RequireSignature,
	}
	if err := errors.Join(c.Restrict(&options, c.Egress), c.Reveal(&options)); err != nil {
		return err
	}
	c.Bound(&options)
	w, err := client.NewWorker(options)
	if err != nil {
		return err
	}
	if server != nil {
		tell(server, log, metrics, client, w)
		defer server.Close() // before the client, of which it tells
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

// tell has the server tell of the worker and of Redis.
func tell(server *telemetry.Server, log *slog.Logger, metrics *telemetry.Worker, client *weir.Client, w *work.Worker) {
	metrics.Watch(w.Stat)
	signal := func(ctx context.Context) (*lane.Signal, error) { return client.Autoscale(ctx, w) }
	metrics.Autoscale(signal)
	metrics.Pool(client.Redis())
	metrics.Cluster(client.Redis(), log, func(ctx context.Context, c lane.Cluster) (*lane.Signal, error) {
		return lane.Demands(ctx, client.Redis(), c, w.Took)
	})
	server.Check(
		telemetry.Reaches(func(ctx context.Context) error { return client.Redis().Ping(ctx).Err() }),
		telemetry.Check{Name: "worker", Ask: func(context.Context) error { return w.Ready() }},
		telemetry.Check{Name: "slots", Vital: true, Ask: func(context.Context) error { return w.Alive() }},
		telemetry.Check{Name: "clock", Ask: func(context.Context) error { return w.Timely() }},
	)
}

func typeNames() []string {
	var names []string
	for _, t := range tasks.All() {
		names = append(names, t.Name())
	}
	return names
}
