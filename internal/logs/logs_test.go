package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// out is a writer for a logger whose timers write too.
type out struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *out) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// take returns the lines since it was called last.
func (o *out) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.TrimSuffix(o.b.String(), "\n"), "\n")
	o.b.Reset()
	if lines[0] == "" {
		return nil
	}
	return lines
}

func TestAStormOfOneErrorIsAFewLinesAndACount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o out
		log, flush := New(&o, Options{})
		storm := func(n int) {
			for i := range n {
				log.Warn("a handler panicked", Of(fmt.Sprintf("b:%d", i), "lane", 1, ""), "panic", fmt.Sprintf("index %d out of range", i))
			}
		}
		storm(1000)
		log.Warn("a handler panicked", Of("b:7", "lane", 1, ""), "panic", "another")
		lines := o.take()
		if len(lines) != burst+1 || !strings.Contains(lines[burst], "panic=another") {
			t.Fatalf("%d lines at once: %q", len(lines), lines)
		}
		time.Sleep(period + time.Second)
		lines = o.take()
		if len(lines) != 1 || !strings.Contains(lines[0], "batch=b seq=999 lane=lane attempt=1") || !strings.Contains(lines[0], fmt.Sprintf("repeated=%d", 1000-burst-1)) {
			t.Fatalf("after a period: %q", lines)
		}
		storm(50)
		flush()
		if lines = o.take(); len(lines) != 1 || !strings.Contains(lines[0], "repeated=49") {
			t.Fatalf("at the end: %q", lines)
		}
		time.Sleep(3 * period) // quiet
		storm(1)
		if lines = o.take(); len(lines) != 1 || strings.Contains(lines[0], "repeated") {
			t.Fatalf("after a quiet time: %q", lines)
		}
		time.Sleep(3 * period)
	})
}

func TestWhatIsNoErrorIsNotFolded(t *testing.T) {
	t.Parallel()
	var o out
	log, _ := New(&o, Options{JSON: true})
	for range 100 {
		log.Info("limit")
	}
	if n := len(o.take()); n != 100 {
		t.Errorf("%d lines", n)
	}
}

func TestLinesOfOtherLanesAndErrorsAreToldApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o out
		log, _ := New(&o, Options{})
		for range 10 {
			log.Error("broken", "lane", "a", "err", errors.New("x"))
			log.Error("broken", "lane", "b", "err", errors.New("x"))
			log.With("lane", "a").Error("broken", "err", errors.New("y"))
			log.Warn("broken", "lane", "a", "err", errors.New("x"))
		}
		if n := len(o.take()); n != 4*burst {
			t.Errorf("%d lines", n)
		}
		time.Sleep(3 * period)
	})
}

// A storm in which every line is another takes no more memory and lines than it may.
func TestAStormOfDifferentErrorsIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o out
		log, _ := New(&o, Options{})
		text := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), i/26+1) }
		for i := range 5000 {
			log.Error("failed", "err", text(i))
		}
		if n := len(o.take()); n > (most+1)*burst {
			t.Errorf("%d lines of one message", n)
		}
		for i := range 5000 {
			log.Error(text(i))
		}
		if n := len(o.take()); n > 2*most*burst {
			t.Errorf("%d lines of many messages", n)
		}
		if n := remembered(log); n > 2*most+1 {
			t.Errorf("%d are remembered", n)
		}
		time.Sleep(4 * period)
		if n := remembered(log); n != 0 {
			t.Errorf("%d are remembered for ever", n)
		}
	})
}

func remembered(log *slog.Logger) int {
	of := log.Handler().(*fold).of
	of.mu.Lock()
	defer of.mu.Unlock()
	return len(of.seen)
}

func TestWhatALineIsAbout(t *testing.T) {
	t.Parallel()
	for want, a := range map[string]slog.Attr{
		`{"batch":"b","seq":7,"lane":"l","attempt":2,"trace_id":"abc"}`: Of("b:7", "l", 2, "abc"),
		`{"batch":"b","seq":7,"lane":"l"}`:                              ID("b:7", "l"),
		`{"task":"0b7f-4","lane":"l"}`:                                  ID("0b7f-4", "l"),
	} {
		var o out
		log, _ := New(&o, Options{JSON: true})
		log.Info("m", a)
		var got, wanted map[string]any
		if err := json.Unmarshal([]byte(o.take()[0]), &got); err != nil {
			t.Fatal(err)
		}
		delete(got, "time")
		delete(got, "level")
		delete(got, "msg")
		_ = json.Unmarshal([]byte(want), &wanted)
		if fmt.Sprint(got) != fmt.Sprint(wanted) {
			t.Errorf("%v, want %s", got, want)
		}
	}
}

func TestHide(t *testing.T) {
	t.Parallel()
	payload := []byte(`{"url":"https://u:pass-canary@h/p?q=query-canary","headers":{"Authorization":"Bearer head-canary"},"n":[{"x":"deep-canary"}]}`)
	for _, text := range []string{"pass-canary", "bad query-canary!", "Bearer head-canary", "only head-canary", "{deep-canary}", string(payload)} {
		if got := Hide(text, payload); strings.Contains(got, "canary") {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got := Hide("index out of range [3]", payload); got != "index out of range [3]" {
		t.Errorf("%q", got)
	}
	if got := Hide("says no-json", []byte("no-json")); got != "says ***" {
		t.Errorf("%q", got)
	}
	if got := Hide("anything", make([]byte, longest+1)); got != hidden {
		t.Errorf("%q", got)
	}
}
