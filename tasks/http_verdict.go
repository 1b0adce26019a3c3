package tasks

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// StatusError is an answer whose status was not expected.
type StatusError struct {
	Request string // method and host
	Status  int
}

func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s: status %d %s", e.Request, e.Status, http.StatusText(e.Status)))
}

// verdict judges an answer:
//
//	expected                          nil
//	429, 503 with a Retry-After       *ThrottledError
//	429 with a quota that is used up  *ThrottledError until it is full again
//	429, 502, 503, 504 otherwise      overloaded: another try may help, later
//	408, 425 and 5xx otherwise        an ordinary error: another try may help
//	anything else                     permanent: it would be the same again
//
// A 429 without Retry-After is no ThrottledError, since those cost no attempt
// and it would go round for ever. 408 and 425 are the statuses that by their
// meaning ask for another try.
func verdict(req *http.Request, resp *http.Response, expect []statusRange, now time.Time) error {
	status := resp.StatusCode
	if expected(expect, status) {
		return nil
	}
	err := &StatusError{Request: requestName(req), Status: status}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		if after, ok := retryAfter(resp.Header.Get("Retry-After"), now); ok {
			return &ThrottledError{After: clampThrottle(after), Err: err}
		}
	}
	if quota, ok := quotaOf(resp.Header, now); ok && quota.Remaining == 0 && status == http.StatusTooManyRequests {
		return &ThrottledError{After: clampThrottle(quota.Reset), Err: err}
	}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway,
		status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return Overloaded(err)
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return err
	}
	return Permanent(err)
}

// retryAfter reads a Retry-After header: seconds or a date to come. Anything
// else counts as absent.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value != "" && strings.Trim(value, "0123456789") == "" {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > int64(maxThrottle/time.Second) {
			return maxThrottle, true
		}
		return time.Duration(n) * time.Second, true
	}
	date, err := http.ParseTime(value)
	if err != nil || !date.After(now) {
		return 0, false
	}
	return date.Sub(now), true
}

// quotaOf reads how much the service will still answer: the headers RateLimit-Remaining
// and -Reset, or X-RateLimit-... as most services have it, where a reset is seconds or a
// moment; or the RateLimit of draft-ietf-httpapi-ratelimit-headers-10. A Reset that is not
// ahead, or beyond a day, counts as absent.
func quotaOf(h http.Header, now time.Time) (q Quota, ok bool) {
	remaining, reset := h.Get("RateLimit-Remaining"), h.Get("RateLimit-Reset")
	if remaining == "" {
		remaining, reset = h.Get("X-RateLimit-Remaining"), h.Get("X-RateLimit-Reset")
	}
	if remaining == "" {
		remaining, reset = rateLimitField(h.Get("RateLimit"))
	}
	n, err := strconv.Atoi(strings.TrimSpace(remaining))
	seconds, errReset := strconv.ParseFloat(strings.TrimSpace(reset), 64)
	if err != nil || errReset != nil || n < 0 {
		return Quota{}, false
	}
	if seconds > 1e9 { // a moment, in seconds or milliseconds
		if seconds > 1e12 {
			seconds /= 1000
		}
		seconds -= float64(now.UnixMilli()) / 1000
	}
	if !(seconds > 0 && seconds <= maxThrottle.Seconds()) {
		return Quota{}, false
	}
	return Quota{n, time.Duration(seconds * float64(time.Second))}, true
}

// rateLimitField reads r and t of `"default";r=50;t=30`, the first policy of the list.
func rateLimitField(field string) (remaining, reset string) {
	first, _, _ := strings.Cut(field, ",")
	for part := range strings.SplitSeq(first, ";") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "r":
			remaining = value
		case "t":
			reset = value
		}
	}
	return remaining, reset
}

// statusRange is a range of statuses, both ends included.
type statusRange struct{ from, to int }

func expected(expect []statusRange, status int) bool {
	for _, r := range expect {
		if r.from <= status && status <= r.to {
			return true
		}
	}
	return false
}

// parseExpect reads statuses and ranges: "404", "2xx", "200-299".
func parseExpect(texts []string) ([]statusRange, error) {
	ranges := make([]statusRange, 0, len(texts))
	for i, text := range texts {
		from, to, isRange := strings.Cut(text, "-")
		if !isRange {
			to = text
		}
		if len(text) == 3 && strings.EqualFold(text[1:], "xx") {
			from, to = text[:1]+"00", text[:1]+"99"
		}
		r := statusRange{parseStatus(from), parseStatus(to)}
		if r.from == 0 || r.to < r.from {
			return nil, invalidf(fmt.Sprintf("expect.%d", i), "must be a status or a range, as 404, 2xx or 200-299")
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// parseStatus returns 0 for what is no status.
func parseStatus(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || len(text) != 3 || n < 100 || n > 599 {
		return 0
	}
	return n
}
