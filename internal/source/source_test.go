package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// misfit stands for tasks.InvalidError.
type misfit struct{ reason string }

func (m *misfit) Error() string { return m.reason }

// fake is a codec of objects; a value "bad" does not fit, in lines and cells
// when they are made into JSON, in JSON when it is checked.
type fake struct{}

func (fake) FromLine(line string) ([]byte, error) {
	if line == "bad" {
		return nil, &misfit{"field \"line\": is bad"}
	}
	return json.Marshal(map[string]string{"line": line})
}

func (fake) FromFields(names, values []string) ([]byte, error) {
	m := map[string]string{}
	for i, name := range names {
		if values[i] == "bad" {
			return nil, &misfit{fmt.Sprintf("field %q: is bad", name)}
		}
		m[name] = values[i]
	}
	return json.Marshal(m)
}

func (fake) Check(payload []byte) error {
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		return &misfit{"is not a JSON object"}
	}
	for name, v := range m {
		if v == "bad" || v == "checked bad" {
			return &misfit{fmt.Sprintf("field %q: is bad", name)}
		}
	}
	return nil
}

// drain reads everything. Invalid records are shown as "! error", the error
// that ended the input as the last line "end: error".
func drain(t testing.TB, s Source) (records []Record, shown []string) {
	t.Helper()
	for {
		r, err := s.Next()
		if err != nil {
			if _, again := s.Next(); again != err {
				t.Errorf("Next again = %v, first it was %v", again, err)
			}
			if err != io.EOF {
				shown = append(shown, "end: "+err.Error())
			}
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Error(err)
			}
			return records, shown
		}
		if (r.Payload == nil) == (r.Err == nil) {
			t.Fatalf("record %d has payload %q and error %v", len(records), r.Payload, r.Err)
		}
		records = append(records, r)
		if r.Err != nil {
			shown = append(shown, "! "+r.Err.Error())
		} else {
			shown = append(shown, string(r.Payload))
		}
	}
}

func fromReader(t testing.TB, r io.Reader, o Options) Source {
	t.Helper()
	s, err := Files(nil, r, fake{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("%s\n--- got\n%s\n--- want\n%s", what, g, w)
	}
}

type golden struct {
	name   string
	in     string
	max    int
	want   []string
	raw    []string // default: not looked at
	format Format
}

// check runs the case with whole, single byte and half reads, and with the end
// of the input in the same read as its last bytes: the records may not differ.
func (g golden) check(t *testing.T) {
	t.Helper()
	for how, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader,
		"halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
	} {
		records, shown := drain(t, fromReader(t, wrap(strings.NewReader(g.in)), Options{Format: g.format, MaxLine: g.max}))
		equal(t, how, shown, g.want)
		if g.raw != nil {
			var raw []string
			for _, r := range records {
				raw = append(raw, string(r.Raw))
			}
			equal(t, how+", raw", raw, g.raw)
		}
	}
}

func TestLines(t *testing.T) {
	for _, g := range []golden{
		{name: "empty"},
		{name: "only a mark", in: "\ufeff"},
		{name: "blank", in: "\n\r\n  \t\n\n"},
		{name: "two", in: "a\nb\n", want: []string{`{"line":"a"}`, `{"line":"b"}`}, raw: []string{"a", "b"}},
		{name: "no last newline", in: "a\nb", want: []string{`{"line":"a"}`, `{"line":"b"}`}},
		{name: "CRLF", in: "a\r\nb\r", want: []string{`{"line":"a"}`, `{"line":"b"}`}, raw: []string{"a", "b"}},
		{name: "CR inside", in: "a\rb\r\r\n", want: []string{`{"line":"a\rb\r"}`}},
		{name: "spaces stay", in: " a \n", want: []string{`{"line":" a "}`}},
		{name: "mark", in: "\ufeffa\n\ufeffb\n", want: []string{`{"line":"a"}`, "{\"line\":\"\ufeffb\"}"}},
		{name: "mark before a line of the greatest length", in: "\ufeffabcd\r\n", max: 4, want: []string{`{"line":"abcd"}`}},
		{name: "blank lines count", in: "\n\nbad\n", want: []string{`! stdin:3: field "line": is bad`}},
		{name: "checked too", in: "checked bad\n", want: []string{`! stdin:1: field "line": is bad`}},
		{
			name: "NUL and UTF-8", in: "a\x00\nb\nü\xff\n\xed\xa0\x80\nc",
			want: []string{"! stdin:1: byte 2 is NUL", `{"line":"b"}`, "! stdin:3: byte 3 is not valid UTF-8", "! stdin:4: byte 1 is not valid UTF-8", `{"line":"c"}`},
			raw:  []string{"a\x00", "b", "ü\xff", "\xed\xa0\x80", "c"},
		},
		{
			name: "too long", in: "abcd\nabcde\nabcd\r\nabcde\r\nabcdefghi\nx\nabcdefgh", max: 4,
			want: []string{
				`{"line":"abcd"}`, "! stdin:2: line is longer than 4 bytes", `{"line":"abcd"}`, "! stdin:4: line is longer than 4 bytes",
				"! stdin:5: line is longer than 4 bytes", `{"line":"x"}`, "! stdin:7: line is longer than 4 bytes",
			},
			raw: []string{"abcd", "abcd", "abcd", "abcd", "abcd", "x", "abcd"},
		},
		{name: "greatest length at the end", in: "abcd\r", max: 4, want: []string{`{"line":"abcd"}`}},
		{name: "one more at the end", in: "abcde", max: 4, want: []string{"! stdin:1: line is longer than 4 bytes"}},
		{name: "over several buffers", in: strings.Repeat("x", 3*bufferSize) + "\ny", want: []string{`{"line":"` + strings.Repeat("x", 3*bufferSize) + `"}`, `{"line":"y"}`}},
	} {
		t.Run(g.name, g.check)
	}
}

func TestNDJSON(t *testing.T) {
	for _, g := range []golden{
		{name: "empty"},
		{name: "objects", in: "{\"a\":1}\r\n\n \t{\"b\" : [2]} \n{}", want: []string{`{"a":1}`, `{"b" : [2]}`, `{}`}, raw: []string{`{"a":1}`, " \t{\"b\" : [2]} ", "{}"}},
		{
			name: "bad ones", in: "\ufeff{\"a\":\"bad\"}\n[1]\n5\n{\"a\":\n{} {}\n{\"a\":2}\n{\"a\":\"\xff\"}\n{\x00}\nnull",
			want: []string{
				`! stdin:1: field "a": is bad`, "! stdin:2: line is not a JSON object", "! stdin:3: line is not a JSON object", "! stdin:4: is not a JSON object",
				"! stdin:5: is not a JSON object", `{"a":2}`, "! stdin:7: byte 7 is not valid UTF-8", "! stdin:8: byte 2 is NUL", "! stdin:9: line is not a JSON object",
			},
		},
		{name: "too long", in: `{"a":123456}` + "\n{}", max: 11, want: []string{"! stdin:1: line is longer than 11 bytes", "{}"}},
	} {
		g.format = FormatNDJSON
		t.Run(g.name, g.check)
	}
}

func TestRecordsAreTheReceiversToKeep(t *testing.T) {
	for format, in := range map[Format]string{
		FormatLines: "one\ntwo\nthree\n", FormatNDJSON: "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", FormatCSV: "a\none\ntwo\nthree\n",
	} {
		s := fromReader(t, iotest.HalfReader(strings.NewReader(in)), Options{Format: format})
		first, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		payload, raw := bytes.Clone(first.Payload), bytes.Clone(first.Raw)
		drain(t, s)
		if !bytes.Equal(first.Payload, payload) || !bytes.Equal(first.Raw, raw) {
			t.Errorf("%s: the first record became %q, %q", format, first.Payload, first.Raw)
		}
		if cap(first.Payload) > len(first.Payload) && format == FormatNDJSON {
			t.Errorf("appending to the payload would write into Raw")
		}
	}
}

func TestErrorsWrapTheCodecs(t *testing.T) {
	for format, in := range map[Format]string{FormatLines: "bad", FormatNDJSON: `{"a":"bad"}`, FormatCSV: "a\nbad"} {
		r, err := fromReader(t, strings.NewReader(in), Options{Format: format}).Next()
		var m *misfit
		if err != nil || !errors.As(r.Err, &m) {
			t.Errorf("%s: record error %v, error %v", format, r.Err, err)
		}
	}
}

func TestReadErrorEndsTheInput(t *testing.T) {
	broken := errors.New("broken pipe")
	for format, want := range map[Format][]string{
		FormatLines:  {`{"line":"a,b"}`, "! stdin:2: line is longer than 9 bytes", "end: read stdin:3: broken pipe"},
		FormatNDJSON: {"! stdin:1: line is not a JSON object", "! stdin:2: line is longer than 9 bytes", "end: read stdin:3: broken pipe"},
		FormatCSV:    {"! stdin:2: row is longer than 9 bytes", "end: read stdin:3: broken pipe"},
	} {
		in := io.MultiReader(strings.NewReader("a,b\n0123456789\nc"), iotest.ErrReader(broken))
		s := fromReader(t, in, Options{Format: format, MaxLine: 9})
		_, shown := drain(t, s)
		equal(t, string(format), shown, want)
		if _, err := s.Next(); !errors.Is(err, broken) {
			t.Errorf("%s: error %v does not wrap the reader's", format, err)
		}
	}
	// Cut off inside an over-long line or an open quote: not a record.
	for _, in := range []string{"0123456789abc", "\"01\n23"} {
		r := io.MultiReader(strings.NewReader("a\n"+in), iotest.ErrReader(broken))
		_, shown := drain(t, fromReader(t, r, Options{Format: FormatCSV, MaxLine: 9}))
		equal(t, in, shown, []string{"end: read stdin:2: broken pipe"})
	}
	// A reader that gives nothing, for ever.
	_, shown := drain(t, fromReader(t, io.MultiReader(strings.NewReader("a\n"), nothing{}), Options{}))
	equal(t, "nothing", shown, []string{`{"line":"a"}`, "end: read stdin:2: " + io.ErrNoProgress.Error()})
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

func TestARecordComesAsSoonAsItsLineIsRead(t *testing.T) {
	// "(" and "P" begin zstd's magic numbers, and no line has three bytes for a mark.
	for _, line := range []string{"a", "(", "P", "P*", "\x1f"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s := fromReader(t, r, Options{})
		for range 2 {
			if _, err := io.WriteString(w, line+"\n"); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Next(); err != nil || string(got.Raw) != line {
				t.Errorf("line %q came as %q, %v", line, got.Raw, err)
			}
		}
		w.Close()
		if _, err := s.Next(); err != io.EOF {
			t.Errorf("end: %v", err)
		}
		r.Close()
	}
}

func TestLimit(t *testing.T) {
	in := io.MultiReader(strings.NewReader("a\nbad\nc\n"), iotest.ErrReader(errors.New("asked for more than the limit")))
	_, shown := drain(t, Limit(fromReader(t, iotest.OneByteReader(in), Options{}), 3))
	equal(t, "3 of 3", shown, []string{`{"line":"a"}`, `! stdin:2: field "line": is bad`, `{"line":"c"}`})

	for n, want := range map[int64]int{-1: 0, 0: 0, 1: 1, 9: 2} {
		records, _ := drain(t, Limit(fromReader(t, strings.NewReader("a\nb"), Options{}), n))
		if len(records) != want {
			t.Errorf("limit %d of 2 gave %d", n, len(records))
		}
	}
}

func TestOptions(t *testing.T) {
	for in, want := range map[string]Format{"": FormatAuto, "auto": FormatAuto, "lines": FormatLines, "ndjson": FormatNDJSON, "csv": FormatCSV} {
		if got, err := ParseFormat(in); got != want || err != nil {
			t.Errorf("ParseFormat(%q) = %q, %v", in, got, err)
		}
	}
	if _, err := ParseFormat("xml"); err == nil || err.Error() != `format "xml": use auto, lines, ndjson or csv` {
		t.Errorf("ParseFormat(xml): %v", err)
	}
	for _, o := range []Options{{Format: "CSV"}, {MaxLine: -1}, {MaxLine: 2 << 30}, {MaxRatio: -1}} {
		if _, err := Files(nil, strings.NewReader(""), fake{}, o); err == nil {
			t.Errorf("options %+v are taken", o)
		}
	}
}
