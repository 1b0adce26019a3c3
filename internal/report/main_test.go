package report

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that moves when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is a report into a buffer on a clock of its own.
type fixture struct {
	*Report
	out   bytes.Buffer
	clock *clock
}

func newFixture(o Options) *fixture {
	f := &fixture{clock: newClock()}
	o.Out, o.Now = &f.out, f.clock.Now
	if o.Batch == "" {
		o.Batch = "http-1a2b"
	}
	f.Report = New(o)
	return f
}

// take returns what was printed since the last take.
func (f *fixture) take() string {
	s := f.out.String()
	f.out.Reset()
	return s
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s\n(%q)", got, want, got)
	}
}
