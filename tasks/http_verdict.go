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
//	408, 425, 429 and 5xx otherwise   an ordinary error: another try may help
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
	switch {
	case status >= 500, status == http.StatusTooManyRequests,
		status == http.StatusRequestTimeout, status == http.StatusTooEarly:
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
