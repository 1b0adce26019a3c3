package tracing

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Attributes of spans; see also OpenTelemetry's conventions for messaging and HTTP.
const (
	batchKey   = attribute.Key("weir.batch")
	seqKey     = attribute.Key("weir.seq")
	laneKey    = attribute.Key("weir.lane")
	attemptKey = attribute.Key("weir.attempt")
	typeKey    = attribute.Key("weir.type")
	verdictKey = attribute.Key("weir.verdict")
	stateKey   = attribute.Key("weir.state")
	fateKey    = attribute.Key("weir.rescue")
	errorKey   = attribute.Key("error.type")
)

// headers are those of a task's message that carry its trace.
var headers = propagation.TraceContext{}

var current atomic.Pointer[trace.Tracer]

// Use makes spans with a provider from now on; nil is none.
func Use(p trace.TracerProvider) {
	if p == nil {
		current.Store(nil)
		return
	}
	t := p.Tracer("github.com/weir-tasks/weir")
	current.Store(&t)
}

// On says that spans are made.
func On() bool { return current.Load() != nil }

// Task is what a span is about.
type Task struct {
	Batch   string // "" for a plain asynq task
	Seq     int64
	ID      string
	Lane    string
	Type    string
	Attempt int // 0: none
}

func (t *Task) attributes(operation, kind string) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("messaging.system", "asynq"),
		attribute.String("messaging.destination.name", t.Lane),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.operation.type", kind),
		attribute.String("messaging.message.id", t.ID),
		laneKey.String(t.Lane), typeKey.String(t.Type),
	}
	if t.Batch != "" {
		all = append(all, batchKey.String(t.Batch), seqKey.Int64(t.Seq))
	}
	if t.Attempt > 0 {
		all = append(all, attemptKey.Int(t.Attempt))
	}
	return all
}

// Span is a span, or nil where none is made: all its methods may be called then.
type Span struct{ span trace.Span }

// Enqueue begins a task's first span, and puts what leads to it among the headers of its
// message.
func Enqueue(ctx context.Context, t Task, message map[string]string) *Span {
	tracer := current.Load()
	if tracer == nil {
		return nil
	}
	ctx, span := (*tracer).Start(ctx, "send "+t.Type, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(t.attributes("enqueue", "send")...))
	headers.Inject(ctx, propagation.MapCarrier(message))
	return &Span{span}
}

// Process begins the span of an attempt, in the trace that its message's headers name.
func Process(ctx context.Context, t Task, message map[string]string) (context.Context, *Span) {
	tracer := current.Load()
	if tracer == nil {
		return ctx, nil
	}
	ctx = headers.Extract(ctx, propagation.MapCarrier(message))
	ctx, span := (*tracer).Start(ctx, "process "+t.Type, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(t.attributes("run", "process")...))
	return ctx, &Span{span}
}

// Outcome begins the span of recording a task's outcome, in that of an attempt or, where
// none ran, in the trace that its message's headers name.
func Outcome(ctx context.Context, t Task, message map[string]string, state, class string) *Span {
	tracer := current.Load()
	if tracer == nil {
		return nil
	}
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = headers.Extract(ctx, propagation.MapCarrier(message))
	}
	attributes := append(t.attributes("record", "settle"), stateKey.String(state))
	if class != "" {
		attributes = append(attributes, errorKey.String(class))
	}
	_, span := (*tracer).Start(ctx, "settle "+t.Type, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	return &Span{span}
}

// Rescued notes in a task's trace what became of it when its worker was dead.
func Rescued(ctx context.Context, t Task, message map[string]string, fate string) {
	tracer := current.Load()
	if tracer == nil {
		return
	}
	ctx = headers.Extract(ctx, propagation.MapCarrier(message))
	_, span := (*tracer).Start(ctx, "rescue "+t.Type, trace.WithAttributes(append(t.attributes("rescue", "settle"), fateKey.String(fate))...))
	span.End()
}

// Verdict notes how an attempt ended; class is that of a failure.
func (s *Span) Verdict(verdict, class string) {
	if s == nil {
		return
	}
	s.span.SetAttributes(verdictKey.String(verdict))
	if class != "" {
		s.span.SetAttributes(errorKey.String(class))
		s.span.SetStatus(codes.Error, class)
	}
}

// End ends the span.
func (s *Span) End() {
	if s != nil {
		s.span.End()
	}
}

// TraceID is the trace's, for logs; "" where nobody would find it.
func (s *Span) TraceID() string {
	if s == nil || !s.span.SpanContext().IsSampled() {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}
