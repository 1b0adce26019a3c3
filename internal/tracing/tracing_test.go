package tracing

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

var some = Task{Batch: "b", Seq: 7, ID: "b:7", Lane: "l", Type: "http", Attempt: 2}

// The hot path of a process that makes no traces pays nothing for them.
func TestWhatIsOffCostsNothing(t *testing.T) {
	Use(nil)
	ctx, message := t.Context(), map[string]string{"weir": "1"}
	req := httptest.NewRequest("GET", "http://h/", nil)
	base := answer(func(*http.Request) (*http.Response, error) { return nil, nil })
	got := testing.AllocsPerRun(100, func() {
		if On() {
			t.Error("on")
		}
		Enqueue(ctx, some, message).End()
		_, s := Process(ctx, some, message)
		s.Verdict("ok", "")
		Outcome(ctx, some, message, "ok", "").End()
		_, _ = RoundTrip(base, req, true)
		if s.TraceID() != "" {
			t.Error("a trace")
		}
		s.End()
	})
	if got != 0 || len(message) != 1 {
		t.Errorf("%v allocations; message %v", got, message)
	}
}

type answer func(*http.Request) (*http.Response, error)

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// using makes spans that the test sees, as soon as they end.
func using(t *testing.T, o ...sdk.TracerProviderOption) *tracetest.InMemoryExporter {
	seen := tracetest.NewInMemoryExporter()
	Use(sdk.NewTracerProvider(append(o, sdk.WithSyncer(seen))...))
	t.Cleanup(func() { Use(nil) })
	return seen
}

func TestATaskIsOneTrace(t *testing.T) {
	seen := using(t)
	message := map[string]string{}
	Enqueue(t.Context(), some, message).End()
	for range 2 {
		ctx, s := Process(context.Background(), some, message)
		req := httptest.NewRequest("GET", "http://user:canary@h:81/canary?q=canary", nil).WithContext(ctx)
		req.Header.Set("Authorization", "canary")
		resp, err := RoundTrip(answer(func(r *http.Request) (*http.Response, error) {
			if got := r.Header.Get("Traceparent"); !strings.Contains(got, s.TraceID()) {
				t.Errorf("the service is told %q", got)
			}
			return &http.Response{StatusCode: 503, Request: r}, nil
		}), req, true)
		if err != nil || resp.Request != req || req.Header.Get("Traceparent") != "" {
			t.Error("the request was changed")
		}
		s.Verdict("retry", "timeout")
		Outcome(ctx, some, message, "failed", "timeout").End()
		s.End()
	}
	Outcome(context.Background(), some, message, "failed", "expired").End()
	Rescued(context.Background(), some, message, "given back")
	spans := seen.GetSpans()
	if len(spans) != 9 {
		t.Errorf("%d spans", len(spans))
	}
	for _, s := range spans {
		if s.SpanContext.TraceID() != spans[0].SpanContext.TraceID() {
			t.Errorf("%s is of another trace", s.Name)
		}
		for _, a := range s.Attributes {
			if strings.Contains(a.Value.Emit(), "canary") {
				t.Errorf("%s has %v", s.Name, a)
			}
		}
		if strings.HasPrefix(s.Name, "process") && (s.Status.Code != codes.Error || s.Parent.SpanID() != spans[0].SpanContext.SpanID()) {
			t.Errorf("%+v", s)
		}
	}
}

func TestWhatIsNotSampledIsNotSampledLater(t *testing.T) {
	seen := using(t, sdk.WithSampler(sdk.ParentBased(sdk.NeverSample())))
	message := map[string]string{}
	Enqueue(t.Context(), some, message).End()
	using(t, sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample()))) // another process
	_, s := Process(context.Background(), some, message)
	if s.End(); len(seen.GetSpans()) != 0 || s.TraceID() != "" {
		t.Error("a span")
	}
}

func TestOthersAreNotToldTheTrace(t *testing.T) {
	using(t)
	for name, c := range map[string]struct {
		inject bool
		own    string
		want   string
	}{"elsewhere": {want: ""}, "its own": {inject: true, own: "mine", want: "mine"}} {
		req := httptest.NewRequest("GET", "http://h/", nil)
		if c.own != "" {
			req.Header.Set("Traceparent", c.own)
		}
		_, _ = RoundTrip(answer(func(r *http.Request) (*http.Response, error) {
			if got := r.Header.Get("Traceparent"); got != c.want {
				t.Errorf("%s: %q", name, got)
			}
			return &http.Response{StatusCode: 200}, nil
		}), req, c.inject)
	}
}

func TestTheVariablesDecide(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		on   bool
		says string
	}{
		{env: nil},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, on: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/x"}, on: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, on: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}},
		{env: map[string]string{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, says: "OTEL_TRACES_EXPORTER"},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, says: "http/protobuf"},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, on: true},
	} {
		var log bytes.Buffer
		got := wanted(func(name string) string { return c.env[name] }, slog.New(slog.NewTextHandler(&log, nil)))
		if got != c.on || !strings.Contains(log.String(), c.says) || c.says == "" && log.Len() > 0 {
			t.Errorf("%v: %v, %s", c.env, got, &log)
		}
	}
}

// A collector that is away is told of once, and when it is back.
func TestACollectorThatIsAwayIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	away := true
	e := &told{SpanExporter: exporter(func() error {
		if away {
			return context.DeadlineExceeded
		}
		return nil
	}), log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 5 {
		if err := e.ExportSpans(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	away = false
	for range 5 {
		_ = e.ExportSpans(t.Context(), nil)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines: %s", n, &log)
	}
}

type exporter func() error

func (e exporter) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return e() }
func (e exporter) Shutdown(context.Context) error                        { return nil }

// To end with a collector that takes connections and says nothing takes no longer than the
// context allows.
func TestStoppingDoesNotWaitForASilentCollector(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", silent.URL)
	getenv := func(name string) string { return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": silent.URL}[name] }
	stop := Setup(t.Context(), "test", getenv, slog.New(slog.DiscardHandler))
	if !On() {
		t.Fatal("off")
	}
	Enqueue(t.Context(), some, map[string]string{}).End()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if stop(ctx); time.Since(began) > 5*time.Second || On() {
		t.Errorf("it took %v", time.Since(began))
	}
}
