package main

import (
	"context"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/telemetry"
)

// httpFlags say where metrics and health are served.
type httpFlags struct {
	HTTP string `name:"http" help:"Serve metrics and health on this address." placeholder:"ADDR" env:"WEIR_HTTP"`
}

// serveMetrics begins to serve a producer's metrics, and the cluster's; nil without --http.
func (f *httpFlags) serveMetrics(s *screen, client *weir.Client) (stop func(), err error) {
	if f.HTTP == "" {
		return func() {}, nil
	}
	s.metrics = telemetry.New(cli.Version()).Producer()
	signal := func(ctx context.Context) (*lane.Signal, error) { return client.Autoscale(ctx, nil) }
	s.metrics.Autoscale(signal)
	s.metrics.Pool(client.Redis())
	s.metrics.Cluster(client.Redis(), s.log, func(ctx context.Context, c lane.Cluster) (*lane.Signal, error) {
		return lane.Demands(ctx, client.Redis(), c, nil)
	})
	server, err := telemetry.Serve(f.HTTP, s.metrics.Metrics,
		telemetry.Reaches(func(ctx context.Context) error { return client.Redis().Ping(ctx).Err() }))
	if err != nil {
		return nil, cli.UsageError("--http %s: %w", f.HTTP, err)
	}
	s.log.Info("serving metrics and health", "addr", server.Addr())
	return func() { _ = server.Close() }, nil
}
