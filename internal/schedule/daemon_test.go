package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// diary is a Runner whose runs are over at once, and a writer for logs.
type diary struct {
	mu   sync.Mutex
	runs map[string]int
	by   []string // which daemon began the runs, in order
	log  strings.Builder
}

type clerk struct {
	*diary
	name string
}

func (c clerk) Run(_ context.Context, batch string, _ []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[batch]++
	c.by = append(c.by, c.name)
	return nil
}

// Going takes its time, as Redis may, and knows nothing of runs of "unknown".
func (clerk) Going(_ context.Context, batch string) (bool, error) {
	time.Sleep(50 * time.Millisecond)
	if strings.HasPrefix(batch, "unknown-") {
		return false, errors.New("nobody knows")
	}
	return false, nil
}

func (d *diary) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.Write(b)
}

// wait waits until so many runs have begun that a condition holds.
func (d *diary) wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	conntest.Eventually(t, 30*time.Second, what, func(context.Context) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return is()
	})
}

// start runs a daemon until the test ends or stop is called.
func (d *diary) start(t *testing.T, rdb redis.UniversalClient, name string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	daemon := &Daemon{Store: &Store{rdb}, Runner: clerk{d, name}, ID: name, Log: slog.New(slog.NewTextHandler(d, nil))}
	go func() {
		defer close(gone)
		daemon.Run(ctx)
	}()
	stop = func() { cancel(); <-gone }
	t.Cleanup(stop)
	return stop
}

func everySecond(t *testing.T, rdb redis.UniversalClient, name string) {
	t.Helper()
	err := (&Store{rdb}).Add(t.Context(), &Schedule{Format: format, Name: name, Cron: "@every 1s", Zone: "UTC", Missed: Once, Most: 1})
	if err != nil {
		t.Fatal(err)
	}
}

func TestABrokenScheduleStopsNoOther(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, record := range map[string]string{
			"a-broken": "{", "d-nothing": `{"format":1,"cron":"@every 1s","tz":"UTC","missed":"all","next":"2026-01-01T00:00:00Z"}`, "b-newer": `{"format":99}`, "c-zone": `{"format":1,"cron":"@every 1s","tz":"Nowhere/Land","next":"2026-01-01T00:00:00Z"}`,
		} {
			rdb.HSet(t.Context(), allKey, name, record)
		}
		everySecond(t, rdb, "good")
		everySecond(t, rdb, "unknown")
		d := &diary{runs: make(map[string]int)}
		stop := d.start(t, rdb, "one")
		d.wait(t, "runs of the good one", func() bool { return strings.Count(fmt.Sprint(d.runs), "good-") >= 3 })
		stop()
		for batch, n := range d.runs {
			if n != 1 || !strings.HasPrefix(batch, "good-") && !strings.HasPrefix(batch, "unknown-") {
				t.Errorf("%s ran %d times", batch, n)
			}
		}
		for _, what := range []string{`read schedule \"a-broken\"`, `schedule \"b-newer\" was made by a newer weir`, `schedule \"c-zone\"`, `schedule \"d-nothing\"`} {
			if !strings.Contains(d.log.String(), what) {
				t.Errorf("the log lacks %s", what)
			}
		}
	})
}

// A daemon that was held up past its lock's end begins nothing more once another has it, and
// what it would note then does not count.
func TestALostLockEndsADaemonsWrites(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		everySecond(t, rdb, "s")
		d := &diary{runs: make(map[string]int)}
		d.start(t, rdb, "first")
		d.wait(t, "a run of the first", func() bool { return len(d.by) > 0 })
		// Its lock ends, and the second has it before the first looks again.
		for held := "first"; held != "second"; {
			rdb.Del(t.Context(), lockKey)
			fence, err := holdScript.Run(t.Context(), rdb, []string{lockKey, fenceKey}, "second", lockFor.Milliseconds()).Int64()
			if err != nil {
				t.Fatal(err)
			}
			if fence > 0 {
				held = "second"
			}
		}
		d.start(t, rdb, "second")
		d.wait(t, "runs of the second alone", func() bool {
			n := len(d.by)
			return n >= 3 && d.by[n-1] == "second" && d.by[n-2] == "second"
		})
		d.mu.Lock()
		defer d.mu.Unlock()
		firsts := strings.Join(d.by, " ")
		if strings.Contains(firsts[strings.Index(firsts, "second"):], "first") {
			t.Errorf("runs were begun by %s", firsts)
		}
		sch, _, err := (&Store{rdb}).List(t.Context())
		if err != nil || len(sch) != 1 {
			t.Fatalf("%v, %v", sch, err)
		}
		if err := (&Store{rdb}).put(t.Context(), "1 first", sch[0]); err != errLost {
			t.Errorf("a write under the old lock: %v", err)
		}
	})
}
