package integration_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// receiver is an OTLP collector: it keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*tracepb.Span
	text  strings.Builder // all that was sent, to look for what must not be there
}

func startReceiver(t *testing.T) *receiver {
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.text.WriteString(protojson.Format(&sent))
		for _, of := range sent.ResourceSpans {
			for _, in := range of.ScopeSpans {
				r.spans = append(r.spans, in.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// all is what was sent, as text.
func (r *receiver) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// has says that something was sent.
func (r *receiver) has(text string) bool { return strings.Contains(r.all(), text) }

// of are the spans of one task, by their names without the type.
func (r *receiver) of(batch string, seq int64) map[string][]*tracepb.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	trace := ""
	for _, s := range r.spans {
		if attribute(s, "weir.batch").GetStringValue() == batch && attribute(s, "weir.seq").GetIntValue() == seq {
			trace = string(s.TraceId)
		}
	}
	found := make(map[string][]*tracepb.Span)
	for _, s := range r.spans {
		if string(s.TraceId) == trace {
			name, _, _ := strings.Cut(s.Name, " ")
			found[name] = append(found[name], s)
		}
	}
	return found
}

func attribute(s *tracepb.Span, key string) *common.AnyValue {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value
		}
	}
	return nil
}

// startWith starts one of our commands with further variables in its environment.
func startWith(t *testing.T, env []string, name, url string, args ...string) *proc {
	t.Helper()
	cmd := command(name, url, args...)
	cmd.Env = env
	return start(t, cmd)
}

// A task is one trace from the producer through two attempts and the requests they make to
// its outcome; nothing of its payload is in it.
func TestATaskIsOneTrace(t *testing.T) {
	t.Parallel()
	server, traces := conntest.Server(t), startReceiver(t)
	var mu sync.Mutex
	got := make(map[string][]string) // traceparent, by path
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Traceparent") != "" {
			t.Error("another service is told the trace")
		}
	}))
	defer other.Close()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] = append(got[r.URL.Path], r.Header.Get("Traceparent"))
		switch {
		case len(got[r.URL.Path]) == 1:
			http.Error(w, "once more", 500)
		case r.URL.Path == "/2":
			http.Redirect(w, r, other.URL+"/canary", http.StatusFound)
		}
	}))
	defer service.Close()
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + traces.URL, "OTEL_BSP_SCHEDULE_DELAY=100"}
	worker := startWith(t, env, "worker", server.URL())
	worker.logs("worker started")
	url := strings.Replace(service.URL, "http://", "http://canary:canary@", 1)
	startWith(t, env, "producer", server.URL(), "run", "http", "--batch", "b", "--repeat", "3", "--retries", "2", "--backoff", "1ms",
		"--payload", `{"url":"`+url+`/{n}?canary=canary","headers":{"Authorization":"canary"},"body":"canary"}`).wait().exits(t, 0)
	for seq := range int64(3) {
		eventually(t, long, func() bool {
			spans := traces.of("b", seq)
			return len(spans["process"]) > 1 && len(spans["settle"]) > 0
		}, "the spans have come") // what is there at the exit has a second
	}
	worker.signal(15)
	worker.waitAtMost(20 * time.Second)
	for seq := range int64(3) {
		spans := traces.of("b", seq)
		requests := 2
		if seq == 2 {
			requests = 3 // the redirect
		}
		if len(spans["send"]) != 1 || len(spans["process"]) != 2 || len(spans["GET"]) != requests || len(spans["settle"]) != 1 {
			t.Fatalf("spans of seq %d: %v", seq, spans)
		}
		attempts := int64(0)
		for _, s := range append(spans["process"], spans["settle"]...) {
			attempts += attribute(s, "weir.attempt").GetIntValue()
			if attribute(s, "weir.lane").GetStringValue() == "" || attribute(s, "weir.batch").GetStringValue() != "b" {
				t.Errorf("%v", s)
			}
		}
		if attempts != 1+2+2 {
			t.Errorf("the attempts' numbers add up to %d", attempts)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for path, parents := range got {
		if len(parents) != 2 || parents[0] == "" || parents[0] == parents[1] || parents[0][:35] != parents[1][:35] {
			t.Errorf("%s was told %v", path, parents)
		}
	}
	traces.mu.Lock()
	defer traces.mu.Unlock()
	if strings.Contains(traces.text.String(), "canary") {
		t.Error("a span has the canary")
	}
}

// The trace goes on where a worker died: its rescue and the next attempt are in it. Logs
// name it.
func TestARescuedTaskStaysInItsTrace(t *testing.T) {
	t.Parallel()
	server, traces := conntest.Server(t), startReceiver(t)
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + traces.URL, "OTEL_BSP_SCHEDULE_DELAY=100"}
	first := startWith(t, env, "worker", server.URL())
	first.logs("worker started")
	p := startWith(t, env, "producer", server.URL(), "run", "sleep", "--batch", "r", "--payload", `{"task_number":1,"seconds":8,"fail":"panic"}`, "--retries", "0")
	eventually(t, long, func() bool { return server.Client().LLen(t.Context(), "asynq:{sleep}:active").Val() == 1 }, "it runs")
	first.kill()
	second := startWith(t, env, "worker", server.URL())
	p.wait().exits(t, 1)
	second.logs("a handler panicked")
	eventually(t, long, func() bool {
		spans := traces.of("r", 0)
		return len(spans["process"]) > 0 && len(spans["settle"]) > 0 && len(spans["rescue"]) > 0
	}, "the spans have come")
	second.signal(15)
	second.waitAtMost(20 * time.Second)
	spans := traces.of("r", 0)
	if len(spans["send"]) != 1 || len(spans["rescue"]) != 1 || len(spans["process"]) != 1 || len(spans["settle"]) != 1 {
		t.Fatalf("%v", spans)
	}
	id := spans["send"][0].TraceId
	if want := `"trace_id":"` + hex.EncodeToString(id) + `"`; !strings.Contains(second.stderr.String(), want) {
		t.Errorf("the log has no %s", want)
	}
}

// Where no collector is, everything goes as without traces, and the log says so once.
func TestADeadCollectorHurtsNothing(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY=50"}
	worker := startWith(t, env, "worker", server.URL())
	worker.logs("worker started")
	r := startWith(t, env, "producer", server.URL(), "run", "square", "--repeat", "20000", "--payload", `{"n":{n}}`).wait().exits(t, 0)
	if n := len(r.outcomes(t)); n != 20000 {
		t.Errorf("%d outcomes", n)
	}
	worker.logs("takes no traces")
	worker.signal(15)
	stopped := worker.waitAtMost(20 * time.Second)
	if n := strings.Count(stopped.stderr, "takes no traces"); n != 1 {
		t.Errorf("told %d times", n)
	}
}
