package tracing

import (
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// RoundTrip makes one request, with a span of its own. Where inject says so the service is
// told the trace, unless the request names one itself; the request stays as it is, so that
// no redirect takes the header along.
func RoundTrip(base http.RoundTripper, req *http.Request, inject bool) (*http.Response, error) {
	tracer := current.Load()
	if tracer == nil {
		return base.RoundTrip(req)
	}
	attributes := []attribute.KeyValue{
		attribute.String("http.request.method", req.Method), attribute.String("url.scheme", req.URL.Scheme),
		attribute.String("server.address", req.URL.Hostname()),
	}
	if port, err := strconv.Atoi(req.URL.Port()); err == nil {
		attributes = append(attributes, attribute.Int("server.port", port))
	}
	ctx, span := (*tracer).Start(req.Context(), req.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	defer span.End()
	sent := req.WithContext(ctx)
	if inject && req.Header.Get("Traceparent") == "" {
		sent.Header = req.Header.Clone()
		headers.Inject(ctx, propagation.HeaderCarrier(sent.Header))
	}
	resp, err := base.RoundTrip(sent)
	if err != nil {
		span.SetAttributes(errorKey.String("no_response"))
		span.SetStatus(codes.Error, "no response") // the text of err may hold a secret
		return nil, err
	}
	resp.Request = req
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode), attribute.String("network.protocol.version", resp.Proto))
	if resp.StatusCode >= 400 {
		span.SetAttributes(errorKey.String(strconv.Itoa(resp.StatusCode)))
		span.SetStatus(codes.Error, "")
	}
	return resp, nil
}
