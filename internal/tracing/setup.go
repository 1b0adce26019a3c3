package tracing

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Setup makes spans if the standard variables of OpenTelemetry ask for that: a collector in
// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or
// OTEL_TRACES_EXPORTER=otlp for the one on this host. Sampler, limits, resource and the
// exporter's own read theirs. stop sends what is left, as long as its context lives and the
// collector answers. What cannot be done is told in the log: it is no reason to run no tasks.
func Setup(ctx context.Context, service string, getenv func(string) string, log *slog.Logger) (stop func(context.Context)) {
	nothing := func(context.Context) {}
	if !wanted(getenv, log) {
		return nothing
	}
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Debug("traces", "err", err) }))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		log.Warn("traces cannot be sent", "err", err)
		return nothing
	}
	attributes := []resource.Option{resource.WithAttributes(attribute.String("service.name", service)), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv()}
	about, err := resource.New(ctx, attributes...)
	if err != nil {
		log.Warn("a part of what OTEL_RESOURCE_ATTRIBUTES says is left out", "err", err)
	}
	toldOnce := &told{SpanExporter: exporter, log: log}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(toldOnce), sdk.WithResource(about))
	Use(provider)
	return func(ctx context.Context) {
		Use(nil)
		if toldOnce.failing.Load() {
			return // whoever ends does not wait for it
		}
		if err := provider.Shutdown(ctx); err != nil {
			log.Debug("sending the last traces", "err", err)
		}
	}
}

// wanted says whether the variables ask for traces.
func wanted(getenv func(string) string, log *slog.Logger) bool {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	endpoint := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") + getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); {
	case exporter == "" && endpoint == "", exporter == "none":
		return false
	case exporter != "" && exporter != "otlp":
		log.Warn("no traces: OTEL_TRACES_EXPORTER must be otlp or none", "is", exporter)
		return false
	}
	protocol := getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	if protocol != "" && protocol != "http/protobuf" {
		log.Warn("no traces: OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf", "is", protocol)
		return false
	}
	return true
}

// told is an exporter whose troubles are told once, until they are over.
type told struct {
	sdk.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
}

// ExportSpans sends spans. Those that cannot be sent are gone.
func (t *told) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := t.SpanExporter.ExportSpans(ctx, spans)
	switch was := t.failing.Swap(err != nil); {
	case err != nil && !was:
		t.log.Warn("the collector takes no traces; they are dropped until it does", "err", err)
	case err == nil && was:
		t.log.Info("the collector takes traces again")
	}
	return nil
}
