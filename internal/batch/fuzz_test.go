package batch

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Whatever an outcome holds, its script records it, it is read as it was written, and a
// failed one can run again with the very payload it had.
func FuzzRecord(f *testing.F) {
	f.Add(int64(0), "no", "host:1", []byte(`{"n":1}`), int64(7), 0)
	f.Add(int64(segment), "", "", []byte(nil), int64(-1), 3)
	f.Add(int64(MaxTasks-1), "a\x00b\r\n\u2028\xff", "w", []byte("\xff{"), int64(1)<<53, 1_000_000)
	f.Add(int64(42), `"quoted" 'too' \ [[lua]]`, "*1\r\n$4\r\nPING\r\n", []byte(`"text"`), int64(0), -5)
	c := conntest.Mini(f)
	f.Fuzz(func(t *testing.T, seq int64, text, worker string, payload []byte, wait int64, attempts int) {
		seq &= MaxTasks - 1
		text, worker = strings.ToValidUTF8(text, ""), strings.ToValidUTF8(worker, "") // as sanitize leaves errors
		c.FlushAll(t.Context())
		l := newFixture(t, c)
		o := &Outcome{Seq: seq, State: Failed, Class: Exhausted, Error: text, Attempts: attempts, Worker: worker}
		waited := time.Duration(wait%int64(time.Hour/time.Microsecond)) * time.Microsecond
		if first, err := l.Record(l.ctx, "b", o, waited, payload); err != nil || !first {
			t.Fatalf("record: %v, %v", first, err)
		}
		entries, err := l.Read(l.ctx, "b", Start, 10, 0)
		if err != nil || len(entries) != 1 || entries[0].Wait != waited {
			t.Fatalf("read: %+v, %v", entries, err)
		}
		got, err := ParseOutcome(entries[0].Line)
		if err != nil || got.Seq != seq || got.Error != text || got.Worker != worker || got.Attempts != attempts {
			t.Errorf("wrote %+v, read %+v, %v", o, got, err)
		}
		dead, err := l.Failures(l.ctx, "b", []int64{seq})
		if err != nil || len(dead) != 1 || dead[0].Error != text {
			t.Fatalf("failures: %+v, %v", dead, err)
		}
		if json.Valid(payload) && bytes.Equal(payload, bytes.ToValidUTF8(payload, nil)) {
			var want, escaped bytes.Buffer
			if err := json.Compact(&want, payload); err != nil {
				t.Fatal(err)
			}
			json.HTMLEscape(&escaped, want.Bytes()) // as encoding/json writes it
			if kept := string(dead[0].Payload); kept != escaped.String() {
				t.Errorf("payload %q became %q", payload, kept)
			}
		}
		if a, _, err := l.Begin(l.ctx, "b", seq); err != nil || a != HasOutcome {
			t.Errorf("begin: %v, %v", a, err)
		}
	})
}
