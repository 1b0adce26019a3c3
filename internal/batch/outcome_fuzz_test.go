package batch

import (
	"encoding/json"
	"strings"
	"testing"
)

// A line of a stream or of a file is an outcome or an error, and an outcome of each is one
// that can be written again.
func FuzzParseOutcome(f *testing.F) {
	for _, line := range []string{
		`{"seq":7,"state":"ok","result":{"n":1},"attempts":1,"ms":12.4,"worker":"h:1"}`, `{"seq":1,"state":"failed","error":"x","class":"timeout","payload":{"a":1}}`,
		``, `null`, `[]`, `{"seq":1e3}`, `{"seq":-1}`, `{"seq":9223372036854775808}`, `{"ms":1e999}`, `{"result":"\ud800"}`, "{\"worker\":\"\xff\"}", `{"SEQ":1,"Seq":2}`, `{"result":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		o, err := ParseOutcome(line)
		if (o == nil) != (err != nil) {
			t.Fatalf("%q: %v, %v", line, o, err)
		}
		if err != nil {
			return
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatalf("%q is read and cannot be written: %v", line, err)
		}
		again, err := ParseOutcome(text)
		if err != nil || again.Seq != o.Seq || again.State != o.State || again.Error != o.Error || again.Class != o.Class || again.Worker != o.Worker {
			t.Errorf("%q became %q: %v", line, text, err)
		}
	})
}
