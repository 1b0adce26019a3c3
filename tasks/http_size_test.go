package tasks

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestHTTPHeadsAreBounded: the largest that is taken, and one more.
func TestHTTPHeadsAreBounded(t *testing.T) {
	headers := func(n, size int) map[string]string {
		all := make(map[string]string)
		for i := range n {
			all[fmt.Sprintf("X-%03d", i)] = strings.Repeat("v", size)
		}
		return all
	}
	with := func(all map[string]string, name, value string) map[string]string {
		all = maps.Clone(all)
		all[name] = value
		return all
	}
	for _, c := range []struct {
		payload       HTTPPayload
		field, reason string // "" if it is taken
	}{
		{HTTPPayload{URL: "http://h/" + strings.Repeat("x", maxURL-9)}, "", ""},
		{HTTPPayload{URL: "http://h/" + strings.Repeat("x", maxURL-8)}, "url", "is longer than 16384 bytes"},
		{HTTPPayload{Headers: headers(maxHeaders, 1)}, "", ""},
		{HTTPPayload{Headers: headers(maxHeaders+1, 1)}, "headers", "are 101, more than 100"},
		{HTTPPayload{Headers: map[string]string{"A": strings.Repeat("v", maxHeaderValue)}}, "", ""},
		{HTTPPayload{Headers: map[string]string{"A": strings.Repeat("v", maxHeaderValue+1)}}, "headers.A", "is longer than 16384 bytes"},
		{HTTPPayload{Headers: map[string]string{strings.Repeat("n", maxHeaderName): "v"}}, "", ""},
		{HTTPPayload{Headers: map[string]string{strings.Repeat("n", maxHeaderName+1): "v"}}, "headers", "is longer than 256 bytes"},
		{HTTPPayload{Expect: slices.Repeat([]string{"200"}, 32)}, "", ""},
		{HTTPPayload{Expect: slices.Repeat([]string{"200"}, 33)}, "expect", "at most 32"},
		{HTTPPayload{WantHeaders: make([]string, 64)}, "", ""},
		{HTTPPayload{WantHeaders: make([]string, 65)}, "want_headers", "at most 64"},
		{HTTPPayload{Headers: headers(4, maxHeaderBytes/4-5)}, "", ""},
		{HTTPPayload{Headers: with(headers(4, maxHeaderBytes/4-5), "Z", "")}, "headers", "are more than 65536 bytes together"},
	} {
		if c.payload.URL == "" {
			c.payload.URL = "http://h/"
		}
		c.payload.Method = "GET"
		if c.payload.Expect == nil {
			c.payload.Expect = []string{"200"}
		}
		_, err := HTTP.Encode(c.payload)
		switch {
		case c.field != "":
			wantInvalid(t, err, c.field, c.reason)
		case err != nil:
			t.Errorf("%.60v: %v", c.payload, err)
		}
	}
}

// TestTheHeadOfAnAnswerIsBounded: one that is nearly as large as may be, and one that is
// larger. It is counted by the buffer, so not to the byte.
func TestTheHeadOfAnAnswerIsBounded(t *testing.T) {
	for size, ok := range map[int]bool{maxHead - 1<<10: true, maxHead + 8<<10: false} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("v", size)) })
		_, err := httpRun(t, t.Context(), HTTPPayload{URL: server.URL})
		if ok != (err == nil) || !ok && !strings.Contains(err.Error(), "server response headers exceeded 262144 bytes") {
			t.Errorf("a head of %d bytes: %v", size, err)
		}
	}
}
