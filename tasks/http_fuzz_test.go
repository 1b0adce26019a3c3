package tasks

import (
	"net/http"
	"testing"
	"time"
)

// What a service says of waiting and of quotas is a time to come, or nothing.
func FuzzServiceHeaders(f *testing.F) {
	for _, s := range []string{"", "0", "1", "-1", "99999999999999999999", "1.5", "Wed, 21 Oct 2037 07:28:00 GMT", "Wed, 21 Oct 1987 07:28:00 GMT",
		"1893456000", "1893456000000", "NaN", "+Inf", "1e308", "\x00", " 7 ", `"default";r=50;t=30`, `a;r=1;t=1, b;r=0;t=9`, ";;r=;t==,,"} {
		f.Add(s, s)
	}
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, a, b string) {
		if wait, ok := retryAfter(a, now); wait < 0 || !ok && wait != 0 {
			t.Errorf("Retry-After %q: %v, %v", a, wait, ok)
		}
		for _, h := range []http.Header{
			{"Ratelimit-Remaining": {a}, "Ratelimit-Reset": {b}},
			{"X-Ratelimit-Remaining": {a}, "X-Ratelimit-Reset": {b}},
			{"Ratelimit": {a, b}},
		} {
			q, ok := quotaOf(h, now)
			if ok && (q.Remaining < 0 || q.Reset <= 0 || q.Reset > maxThrottle) || !ok && q != (Quota{}) {
				t.Errorf("%v: %+v, %v", h, q, ok)
			}
		}
	})
}
