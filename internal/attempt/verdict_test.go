package attempt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hibiken/asynq"
	"pgregory.net/rapid"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/tasks"
)

func TestClassifyAndFinal(t *testing.T) {
	t.Parallel()
	plain := errors.New("no")
	for _, c := range []struct {
		err   error
		class batch.Class
		now   bool // final at once, however many retries are left
	}{
		{plain, batch.Exhausted, false},
		{fmt.Errorf("wrapped: %w", plain), batch.Exhausted, false},
		{tasks.Permanent(plain), batch.Permanent, true},
		{fmt.Errorf("wrapped: %w", tasks.Permanent(plain)), batch.Permanent, true},
		{&tasks.InvalidError{Field: "n", Reason: "must be"}, batch.Invalid, true},
		{tasks.Permanent(&tasks.InvalidError{}), batch.Invalid, true},
		{&panicError{value: "boom"}, batch.Panic, false},
		{&timeoutError{time.Second}, batch.Timeout, false},
		{context.DeadlineExceeded, batch.Timeout, false},
		{fmt.Errorf("get: %w", context.DeadlineExceeded), batch.Timeout, false},
		{context.Canceled, batch.Exhausted, false},
	} {
		if got := classify(c.err); got != c.class {
			t.Errorf("%v is of class %s, want %s", c.err, got, c.class)
		}
		for _, retried := range []int{0, 1, 2, 3, 100} {
			if got, want := final(c.err, retried, 2), c.now || retried >= 2; got != want {
				t.Errorf("%v after %d of 2 retries: final %v", c.err, retried, got)
			}
		}
		if !final(c.err, 0, 0) {
			t.Errorf("%v is not final where there are no retries", c.err)
		}
	}
}

// Full jitter: from nothing to the exponential, never more than the cap, whatever
// the numbers are.
func TestBackoffIsExponentialWithFullJitter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		base := time.Duration(rapid.Int64Range(-5, int64(time.Hour)).Draw(t, "base"))
		most := max(base, time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "most")))
		retried := rapid.IntRange(0, 1_000_000).Draw(t, "retried")
		limit := most
		if d := float64(base) * pow2(retried); d < float64(most) {
			limit = time.Duration(d)
		}
		for range 10 {
			if d := backoffDelay(base, most, retried); d < 0 || d > max(limit, 0) {
				t.Fatalf("%v; want 0 to %v", d, limit)
			}
		}
	})
	// All of that range is used.
	const n = 1000
	var low, high int
	for range n {
		switch d := backoffDelay(time.Second, time.Hour, 3); {
		case d < 2*time.Second:
			low++
		case d > 6*time.Second:
			high++
		}
	}
	if low < n/8 || high < n/8 {
		t.Errorf("of %d delays up to 8 s, %d are below 2 s and %d above 6 s", n, low, high)
	}
}

func pow2(n int) float64 {
	f := 1.0
	for range min(n, 200) {
		f *= 2
	}
	return f
}

func TestNotBefore(t *testing.T) {
	t.Parallel()
	if d := notBefore(0); d != 0 {
		t.Errorf("at once became %v", d)
	}
	for _, d := range []time.Duration{1, time.Millisecond, time.Second, 90 * time.Second} {
		for _, ns := range []int64{0, 1, 999_999_999, 500_000_000} {
			now := time.Unix(1_700_000_000, ns)
			at := time.Unix(now.Add(notBefore(d)).Unix(), 0) // as asynq keeps it
			if early := now.Add(d).Sub(at); early > 0 || early <= -time.Second {
				t.Errorf("%v after .%09d is %v early", d, ns, early)
			}
		}
	}
}

func TestSanitize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                        "",
		"plain":                   "plain",
		"Grüße, 日本\n\tline":       "Grüße, 日本\n\tline",
		"\xff\xfe":                "\uFFFD\uFFFD",
		"a\xc3":                   "a\uFFFD",
		"\x1b[2Jwiped":            "\uFFFD[2Jwiped",
		"nul\x00, csi\u009b31m":   "nul\uFFFD, csi\uFFFD31m",
		"dos\r\nline":             "dos\nline",
		strings.Repeat("a", 1024): strings.Repeat("a", 1024),
		strings.Repeat("a", 1025): strings.Repeat("a", 1024) + "...",
	} {
		if got := sanitize(in); got != want {
			t.Errorf("sanitize(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSanitize(f *testing.F) {
	for _, s := range []string{"", "\xff\xfe", "\x1b[0m", strings.Repeat("\xffa", 2000), strings.Repeat("é", 2000), "\u009b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := sanitize(s)
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		if len(got) > maxErrorText+len("...") {
			t.Errorf("%d bytes", len(got))
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
			t.Errorf("%q has a control character at %d", got, i)
		}
		if again := sanitize(got); len(got) <= maxErrorText && again != got {
			t.Errorf("a second time it gives %q", again)
		}
	})
}

// What asynq asks about errors that are its own, and of ours.
func TestIsFailureAndRetryDelay(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	ours := asynq.NewTaskWithHeaders("nobody-knows-it", nil, map[string]string{batch.Header: "1"})
	for _, c := range []struct {
		err   error
		fails bool
		delay time.Duration
	}{
		{&later{err: errInterrupted}, false, 0},
		{&later{err: errors.New("x"), after: time.Minute}, false, time.Minute},
		{fmt.Errorf("wrapped: %w", &later{err: errors.New("x"), after: time.Minute, counts: true}), true, time.Minute},
		{asynq.ErrLeaseExpired, false, 0},
		{context.Canceled, false, 0},
	} {
		if got := r.IsFailure(c.err); got != c.fails {
			t.Errorf("IsFailure(%v) = %v", c.err, got)
		}
		if got := r.RetryDelay(3, c.err, ours); got != c.delay {
			t.Errorf("RetryDelay(%v) = %v, want %v", c.err, got, c.delay)
		}
	}
	if r.IsFailure(nil) {
		t.Error("success is a failure")
	}
	if !r.IsFailure(errors.New("a plain asynq task's")) {
		t.Error("a failure is none")
	}
	if d := r.RetryDelay(1, errors.New("x"), asynq.NewTask("nobody-knows-it", nil)); d < 10*time.Second {
		t.Errorf("a foreign task of an unknown type is due in %v", d)
	}
}
