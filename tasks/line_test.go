package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func echoOf[P any](_ context.Context, p P) (P, error) { return p, nil }

// lineOf returns a type whose line is of kind T.
func lineOf[T any](name string) *Type {
	if t, ok := Lookup("test-line-" + name); ok { // with -count
		return t
	}
	type payload struct {
		V T `json:"v" weir:"line"`
	}
	return Define("test-line-"+name, Policy{}, echoOf[payload]).Type()
}

func TestFromLine(t *testing.T) {
	text, integer, small := lineOf[string]("string"), lineOf[int]("int"), lineOf[int8]("int8")
	number, boolean, when := lineOf[float64]("float"), lineOf[*bool]("bool"), lineOf[time.Time]("time")
	for _, c := range []struct {
		typ                 *Type
		line, want, problem string // problem: of FromLine or else of Check
	}{
		{text, "hello", `{"v":"hello"}`, ""},
		{text, " a b ", `{"v":" a b "}`, ""},
		{text, "", `{"v":""}`, ""},
		{text, "q\"\\\t<é>", `{"v":"q\"\\\t<é>"}`, ""},
		{text, `{"v":"json"}`, `{"v":"json"}`, ""},
		{text, ` {"w":1}`, ` {"w":1}`, "unknown field"},
		{text, "{nonsense", "{nonsense", "is not JSON"},
		{text, "[1]", `{"v":"[1]"}`, ""},
		{text, "a\x00", "", "contains a NUL byte"},
		{text, "\xff", "", "must be valid UTF-8"},
		{text, strings.Repeat("x", 70000), "", "over the cap"},
		{integer, "42", `{"v":42}`, ""},
		{integer, " +042 ", `{"v":42}`, ""},
		{integer, "-0", `{"v":0}`, ""},
		{integer, "-07", `{"v":-7}`, ""},
		{integer, "", "", "must be an integer"},
		{integer, "-", "", "must be an integer"},
		{integer, "--1", "", "must be an integer"},
		{integer, "1.5", "", "must be an integer"},
		{integer, "0x10", "", "must be an integer"},
		{integer, "1_000", "", "must be an integer"},
		{integer, "9999999999999999999999", `{"v":9999999999999999999999}`, "is too large"},
		{small, "128", `{"v":128}`, "128 is too large"},
		{number, "1.50", `{"v":1.5}`, ""},
		{number, "1e3", `{"v":1000}`, ""},
		{number, "NaN", "", "must be a number"},
		{number, "-Inf", "", "must be a number"},
		{number, "1e999", "", "1e999 is too large"},
		{number, "x", "", "must be a number"},
		{boolean, "true", `{"v":true}`, ""},
		{boolean, "yes", "", "must be true or false"},
		{when, "2026-01-02T03:04:05Z", `{"v":"2026-01-02T03:04:05Z"}`, ""},
		{when, "today", `{"v":"today"}`, "is not valid"},
		{Sleep.Type(), "7", `{"task_number":7}`, ""},
		{Sleep.Type(), "-7", `{"task_number":-7}`, "must be 0 or greater"},
		{HTTP.Type(), "http://h/?a=1&b=2", `{"url":"http://h/?a=1&b=2"}`, ""},
	} {
		got, err := c.typ.FromLine(c.line)
		if err == nil {
			if string(got) != c.want {
				t.Errorf("%s %q: got %s, want %s", c.typ.Name(), c.line, got, c.want)
			}
			err = c.typ.Check(got)
		} else if c.want != "" {
			t.Errorf("%s %q: %v", c.typ.Name(), c.line, err)
		}
		checkProblem(t, c.typ.Name()+" "+c.line[:min(len(c.line), 50)], err, c.problem)
	}
}

func checkProblem(t *testing.T, what string, err error, problem string) {
	t.Helper()
	var invalid *InvalidError
	switch {
	case problem == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case problem != "" && (!errors.As(err, &invalid) || !strings.Contains(invalid.Reason, problem)):
		t.Errorf("%s: got %v, want %s", what, err, problem)
	}
}

func TestFromLineWithoutLineField(t *testing.T) {
	_, err := Exec.Type().FromLine("ls")
	var invalid *InvalidError
	if err == nil || errors.As(err, &invalid) || err.Error() != "type exec takes no plain lines; give JSON objects (--format ndjson)" {
		t.Errorf("got %v", err)
	}
	if got, err := Exec.Type().FromLine(`{"command":"ls"}`); err != nil || string(got) != `{"command":"ls"}` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestFromFields(t *testing.T) {
	columns := func(s string) []string { return strings.Split(s, "|") }
	for _, c := range []struct {
		typ                          *Type
		names, values, want, problem string
	}{
		{Sleep.Type(), "task_number|seconds|fail", "1|0.5|panic", `{"task_number":1,"seconds":0.5,"fail":"panic"}`, ""},
		{Sleep.Type(), "seconds|task_number", "|2", `{"task_number":2}`, ""},
		{Sleep.Type(), "task_number|fail", "1|", `{"task_number":1}`, ""},
		{Sleep.Type(), "task_number|fail", "|", `{}`, "is required"},
		{Sleep.Type(), "task_number|size", "1|2", "", "unknown field"},
		{Sleep.Type(), "task_number|task_number", "1|1", "", "given twice"},
		{Sleep.Type(), "task_number|fail", "1", "", "row has 1 values for 2 columns"},
		{Sleep.Type(), "task_number", "one", "", "must be an integer"},
		{HTTP.Type(), "url|headers|expect", `http://h|{ "A": "b" }|["2xx", "404"]`, `{"url":"http://h","headers":{"A":"b"},"expect":["2xx","404"]}`, ""},
		{HTTP.Type(), "url|headers", `http://h|A: b`, "", "must be written as JSON"},
		{HTTP.Type(), "url|headers", `http://h|{}{}`, "", "must be written as JSON"},
		{HTTP.Type(), "url|expect", `http://h|{}`, `{"url":"http://h","expect":{}}`, "must be a list"},
		{HTTP.Type(), "url|body", "http://h|a\x00", "", "contains a NUL byte"},
		{HTTP.Type(), "url|body", "http://h| keep me ", `{"url":"http://h","body":" keep me "}`, ""},
		{echoType.Type(), "s|x", "a|" + strings.Repeat("1", 1000), "", "over the cap"},
	} {
		got, err := c.typ.FromFields(columns(c.names), columns(c.values))
		if err == nil {
			if string(got) != c.want {
				t.Errorf("%s: got %s, want %s", c.values, got, c.want)
			}
			err = c.typ.Check(got)
		} else if c.want != "" {
			t.Errorf("%s: %v", c.values, err)
		}
		checkProblem(t, c.names+" "+c.values[:min(len(c.values), 50)], err, c.problem)
	}
}

// FuzzFromLine: a line becomes JSON that says the same, or an error.
func FuzzFromLine(f *testing.F) {
	for _, seed := range []string{"a", "", "\xff", "\x00", "\"", "-1", "é\u2028"} {
		f.Add(seed)
	}
	typ := lineOf[string]("fuzz")
	f.Fuzz(func(t *testing.T, line string) {
		data, err := typ.FromLine(line)
		if err != nil || strings.HasPrefix(strings.TrimLeft(line, " \t"), "{") {
			return
		}
		var got struct{ V string }
		if err := json.Unmarshal(data, &got); err != nil || got.V != line {
			t.Fatalf("%q became %s: %v", line, data, err)
		}
	})
}
