package batch

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestManyBatchesAreReadAtOnce(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		l := NewLedger(rdb)
		for i := range 3 {
			if _, err := l.Create(t.Context(), fmt.Sprint("b", i), Options{Type: "t", Lane: "l"}); err != nil {
				t.Fatal(err)
			}
		}
		rdb.Del(t.Context(), batchKey("b1"))
		infos, err := l.Infos(t.Context(), []string{"b2", "b1", "b0"})
		if err != nil || len(infos) != 3 || infos[0].Name != "b2" || infos[1] != nil || infos[2].Options.Type != "t" {
			t.Errorf("got %+v, %v", infos, err)
		}
		if names, err := l.Names(t.Context()); err != nil || len(names) != 3 {
			t.Errorf("names %v, %v", names, err)
		}
		if all, err := l.List(t.Context()); err != nil || len(all) != 2 {
			t.Errorf("list %v, %v", all, err)
		}
		if names, err := l.Names(t.Context()); err != nil || len(names) != 2 {
			t.Errorf("a removed batch's name stays: %v, %v", names, err)
		}
	})
}

// A batch that cannot be read, whatever the reason, is listed as that, and hides no other.
func TestAnUnreadableBatchHidesNoOther(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		l := NewLedger(rdb)
		spoil := map[string]func(){
			"newer":   func() { rdb.HSet(t.Context(), batchKey("newer"), "format", Format+1) },
			"options": func() { rdb.HSet(t.Context(), batchKey("options"), "opts", "{") },
			"beyond":  func() { rdb.HSet(t.Context(), batchKey("beyond"), "beyond", "x") },
			"string":  func() { rdb.Set(t.Context(), batchKey("string"), "x", 0) },
			"good":    func() {},
		}
		for name, fault := range spoil {
			if _, err := l.Create(t.Context(), name, Options{Type: "t", Lane: "l"}); err != nil {
				t.Fatal(err)
			}
			fault()
		}
		for range 2 { // nor does listing it take it from the list
			all, err := l.List(t.Context())
			if err != nil || len(all) != len(spoil) {
				t.Fatalf("list %v, %v", all, err)
			}
			for _, i := range all {
				if good := i.Name == "good"; good != (i.Unreadable == nil) || good != (i.Options.Type == "t") || i.Complete() {
					t.Errorf("%s is %+v", i.Name, i)
				}
			}
		}
	})
}

// From the end of the stream backwards, nothing twice.
func TestTheLatestOutcomesComeFirst(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		l := NewLedger(rdb)
		if _, err := l.Create(t.Context(), "b", Options{Type: "t", Lane: "l"}); err != nil {
			t.Fatal(err)
		}
		for seq := range int64(5) {
			if _, err := l.Record(t.Context(), "b", &Outcome{Seq: seq, State: OK}, time.Millisecond, nil); err != nil {
				t.Fatal(err)
			}
		}
		latest, err := l.Latest(t.Context(), "b", Start, 2)
		if err != nil || len(latest) != 2 || seqOf(t, latest[0]) != 4 || seqOf(t, latest[1]) != 3 {
			t.Fatalf("latest: %v, %v", latest, err)
		}
		before, err := l.Before(t.Context(), "b", latest[1].ID, 2)
		if err != nil || len(before) != 2 || seqOf(t, before[0]) != 2 {
			t.Errorf("before: %v, %v", before, err)
		}
		if since, err := l.Latest(t.Context(), "b", before[0].ID, 9); err != nil || len(since) != 2 {
			t.Errorf("after a place: %v, %v", since, err)
		}
	})
}

func seqOf(t *testing.T, e Entry) int64 {
	t.Helper()
	o, err := ParseOutcome(e.Line)
	if err != nil {
		t.Fatal(err)
	}
	return o.Seq
}
