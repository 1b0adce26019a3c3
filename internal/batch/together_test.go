package batch

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/together"
)

// Tasks of several batches and segments, more than one call takes, on a Redis that does
// not know the scripts.
func TestManyAreBegunAndRecordedTogether(t *testing.T) {
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		l := NewLedger(c)
		names := []string{"one", "two", "three"}
		for _, name := range names {
			if _, err := l.Create(t.Context(), name, Options{Type: name}); err != nil {
				t.Fatal(err)
			}
		}
		const each = together.Most*2 + 10
		var asks []asked
		var entries []entry
		for i := range int64(each) {
			for _, name := range append(names, "none") {
				seq := i + i%2*segment
				asks = append(asks, asked{name, seq})
				entries = append(entries, entry{name: name, o: &Outcome{Seq: seq, State: OK}})
			}
		}
		if err := c.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		for i, a := range l.beginAll(t.Context(), asks) {
			want := Run
			if asks[i].name == "none" {
				want = NoBatch
			}
			if a.Err != nil || a.Value.Admission != want || want == Run && a.Value.Type != asks[i].name {
				t.Fatalf("begin %v: %+v", asks[i], a)
			}
		}
		for round, want := range []int64{1, 0} {
			for i, a := range l.recordEntries(t.Context(), entries) {
				if entries[i].name == "none" {
					want := int64(-1)
					if a.Err != nil || a.Value != want {
						t.Fatalf("record %v of no batch: %+v", entries[i], a)
					}
				} else if a.Err != nil || a.Value != want {
					t.Fatalf("round %d, record %v: %+v", round, entries[i], a)
				}
			}
		}
		for _, name := range names {
			if i, err := l.Info(t.Context(), name); err != nil || i.OK != each {
				t.Errorf("%s: %+v, %v", name, i, err)
			}
		}
	})
}
