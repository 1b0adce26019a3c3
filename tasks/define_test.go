package tasks

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

type anyPayload struct {
	S string   `json:"s,omitzero" weir:"line" validate:"max=5"`
	F float64  `json:"f,omitzero"`
	U uint8    `json:"u,omitzero"`
	L []string `json:"l,omitzero"`
	X any      `json:"x,omitzero"`
}

func echo(_ context.Context, p anyPayload) (anyPayload, error) { return p, nil }

var echoType = Define("test-echo", Policy{MaxPayload: 1000, MaxResult: 200}, echo)

func TestDefinePanics(t *testing.T) {
	type twoLines struct {
		A string `weir:"line"`
		B string `weir:"line"`
	}
	type listLine struct {
		A []string `weir:"line"`
	}
	type oddTag struct {
		A string `weir:"lines"`
	}
	type oddRule struct {
		A string `validate:"nosuchrule"`
	}
	name := func(name string) func() { return func() { Define(name, Policy{}, echo) } }
	policy := func(p Policy) func() { return func() { Define("test-panic", p, echo) } }
	for what, define := range map[string]func(){
		"no name":          name(""),
		"capitals":         name("Sleep"),
		"a colon":          name("a:b"),
		"a dash first":     name("-a"),
		"65 bytes":         name(strings.Repeat("a", 65)),
		"taken":            name("sleep"),
		"no handler":       func() { Define[anyPayload, int]("test-panic", Policy{}, nil) },
		"no struct":        func() { Define("test-panic", Policy{}, func(context.Context, int) (int, error) { return 0, nil }) },
		"two lines":        func() { Define("test-panic", Policy{}, func(context.Context, twoLines) (int, error) { return 0, nil }) },
		"a list as line":   func() { Define("test-panic", Policy{}, func(context.Context, listLine) (int, error) { return 0, nil }) },
		"an unknown tag":   func() { Define("test-panic", Policy{}, func(context.Context, oddTag) (int, error) { return 0, nil }) },
		"an unknown rule":  func() { Define("test-panic", Policy{}, func(context.Context, oddRule) (int, error) { return 0, nil }) },
		"negative timeout": policy(Policy{Timeout: -1}),
		"negative retries": policy(Policy{Retries: -2}),
		"negative backoff": policy(Policy{Backoff: -1}),
		"backoff > max":    policy(Policy{Backoff: 2, MaxBackoff: 1}),
		"negative caps":    policy(Policy{MaxResult: -1}),
		"a payload's cap":  policy(Policy{MaxPayload: maxPayload + 1}),
		"a lane's colon":   policy(Policy{Lane: "a:1"}),
		"concurrency":      policy(Policy{Concurrency: -1}),
		"concurrency of many lanes": func() {
			Define("test-panic", Policy{Concurrency: 1}, func(context.Context, lanePayload) (int, error) { return 0, nil })
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", what)
				}
			}()
			define()
		}()
	}
	if _, ok := Lookup("test-panic"); ok {
		t.Error("a type that panicked is known")
	}
}

func TestPolicyDefaults(t *testing.T) {
	want := DefaultPolicy
	want.Lane = "sleep"
	if got := Sleep.Type().Policy(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got := Policy{Retries: NoRetries, Backoff: time.Hour, Lane: "api.example.com"}.filled("x")
	if got.Retries != 0 || got.MaxBackoff != time.Hour || got.Lane != "api.example.com" || got.problem() != "" {
		t.Errorf("got %+v: %s", got, got.problem())
	}
}

func TestRegistry(t *testing.T) {
	var names []string
	for _, typ := range All() {
		names = append(names, typ.Name())
		if got, ok := Lookup(typ.Name()); !ok || got != typ {
			t.Errorf("Lookup(%q) = %v, %v", typ.Name(), got, ok)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("not sorted: %v", names)
	}
	for _, name := range []string{"exec", "factorial", "fibonacci", "http", "ping", "sleep", "square"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing", name)
		}
	}
	if _, ok := Lookup("nosuch"); ok {
		t.Error("nosuch is known")
	}
}

func TestEncode(t *testing.T) {
	data, err := echoType.Encode(anyPayload{S: "a\x00b", F: 0.5})
	if err != nil || string(data) != `{"s":"a\u0000b","f":0.5}` {
		t.Errorf("got %s, %v", data, err)
	}
	_, err = echoType.Encode(anyPayload{S: "\xff"})
	wantInvalid(t, err, "s", "must be valid UTF-8")
	_, err = echoType.Encode(anyPayload{F: math.NaN()})
	wantInvalid(t, err, "f", "must be a number")
	_, err = echoType.Encode(anyPayload{S: "longer"})
	wantInvalid(t, err, "s", "must be a maximum of 5 characters")
	// A field with a default is left out when it is zero, and so gets it.
	if data, err := Ping.Encode(PingPayload{Host: "h"}); err != nil || string(data) != `{"host":"h"}` {
		t.Errorf("got %s, %v", data, err)
	}
}

func TestRun(t *testing.T) {
	ctx := context.Background()
	got, err := echoType.Type().Run(ctx, []byte(`{"x":{"b":1,"a":2}}`))
	if err != nil || string(got) != `{"x":{"a":2,"b":1}}` {
		t.Errorf("got %s, %v", got, err)
	}
	_, err = echoType.Type().Run(ctx, []byte(`{"y":1}`))
	wantInvalid(t, err, "y", "unknown field")
	_, err = echoType.Type().Run(ctx, []byte(`{"x":"`+strings.Repeat("x", 500)+`"}`))
	if !IsPermanent(err) || err.Error() != "result of 508 bytes is over the cap of 200; a worker with a higher --max-result would take it" {
		t.Errorf("got %v", err)
	}
}

// TestResultsAreBounded: the largest that is taken, and one more; by the type's cap, and by
// the worker's own in place of it.
func TestResultsAreBounded(t *testing.T) {
	for most, ctx := range map[int]context.Context{200: t.Context(), 50: WithMeans(t.Context(), &Means{MaxResult: 50}), 900: WithMeans(t.Context(), &Means{MaxResult: 900})} {
		for size, ok := range map[int]bool{most: true, most + 1: false} {
			got, err := echoType.Type().Run(ctx, []byte(`{"x":"`+strings.Repeat("x", size-8)+`"}`))
			if ok != (err == nil) || ok && len(got) != size || !ok && !IsPermanent(err) {
				t.Errorf("%d bytes where %d may be: %d, %v", size, most, len(got), err)
			}
		}
	}
	if p := (Policy{MaxPayload: maxPayload}).filled("x"); p.problem() != "" {
		t.Errorf("the largest cap of payloads: %s", p.problem())
	}
}

// told returns what its context says.
var told = Define("test-told", Policy{}, func(ctx context.Context, _ struct{}) (any, error) {
	switch v := ctx.Value(toldKey{}).(type) {
	case error:
		return nil, v
	default:
		return v, nil
	}
})

type toldKey struct{}

func runTold(what any) ([]byte, error) {
	return told.Type().Run(context.WithValue(context.Background(), toldKey{}, what), []byte(`{}`))
}

func TestRunVerdictPassesThrough(t *testing.T) {
	for _, verdict := range []error{errors.New("x"), Permanent(errors.New("y")), Throttled(time.Second)} {
		if _, err := runTold(verdict); err != verdict {
			t.Errorf("got %v, want %v", err, verdict)
		}
	}
}

func TestResultIsValidJSON(t *testing.T) {
	if got, err := runTold(map[string]string{"a": "b\xffc"}); err != nil || string(got) != "{\"a\":\"b\uFFFDc\"}" {
		t.Errorf("got %s, %v", got, err)
	}
	for _, result := range []any{math.NaN(), make(chan int)} {
		if _, err := runTold(result); !IsPermanent(err) {
			t.Errorf("%T: got %v", result, err)
		}
	}
}

func TestDecodeResult(t *testing.T) {
	got, err := Sleep.DecodeResult([]byte(`{"task_number":3,"slept":1.5,"of a newer worker":1}`))
	if err != nil || got != (SleepResult{3, 1.5}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := Sleep.DecodeResult([]byte(`{`)); err == nil || !strings.Contains(err.Error(), "decode result of sleep") {
		t.Errorf("got %v", err)
	}
}
