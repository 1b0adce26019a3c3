package tasks

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// httpRun makes one request as a task.
func httpRun(t *testing.T, ctx context.Context, p HTTPPayload) (HTTPResult, error) {
	t.Helper()
	data, err := HTTP.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, ctx, HTTP, string(data))
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestHTTPRequestAndResult(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("X-Two", "1")
		w.Header().Add("X-Two", "2")
		w.Header().Set("X-Not-Asked", "x")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s %s %s %s é", r.Method, r.Host, r.URL, r.Header.Get("X-In"), r.UserAgent(), body)
	})
	got, err := httpRun(t, t.Context(), HTTPPayload{
		Method: "PATCH", URL: server.URL + "/p?q=1", Body: "hello",
		Headers:     map[string]string{"x-in": "in", "host": "other.example", "User-Agent": "me"},
		WantHeaders: []string{"x-two", "X-Missing"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "PATCH other.example /p?q=1 in me hello é"
	if got.Status != 201 || got.Body != want || got.BodyBase64 != "" || got.Bytes != int64(len(want)) || got.Truncated || got.Proto != "HTTP/1.1" {
		t.Errorf("got %+v", got)
	}
	if len(got.Headers) != 1 || got.Headers["x-two"] != "1, 2" {
		t.Errorf("got headers %v", got.Headers)
	}
	if timing := got.Timing; timing.Connect <= 0 || timing.TLS != 0 || timing.FirstByte <= timing.Connect || timing.Total < timing.FirstByte {
		t.Errorf("got timing %+v", timing)
	}
}

func TestHTTPBody(t *testing.T) {
	euros := strings.Repeat("€", 100)
	for _, c := range []struct {
		name, body, payload string
		want                HTTPResult
	}{
		{"empty", "", ``, HTTPResult{}},
		{"text", "héllo", ``, HTTPResult{Body: "héllo", Bytes: 6}},
		{"binary", "\xff\x00", ``, HTTPResult{BodyBase64: "/wA=", Bytes: 2}},
		{"at the cap", "12345", `,"max_body":5`, HTTPResult{Body: "12345", Bytes: 5}},
		{"over the cap", "123456", `,"max_body":5`, HTTPResult{Body: "12345", Bytes: 6, Truncated: true}},
		{"cut in a character", euros, `,"max_body":100`, HTTPResult{Body: euros[:99], Bytes: 300, Truncated: true}},
		{"binary, cut", "\xff\xff\xff", `,"max_body":2`, HTTPResult{BodyBase64: "//8=", Bytes: 3, Truncated: true}},
		{"none wanted", "abc", `,"max_body":0`, HTTPResult{Bytes: 3, Truncated: true}},
		{"by default 64 KiB", strings.Repeat("x", 70000), ``, HTTPResult{Body: strings.Repeat("x", 65536), Bytes: 70000, Truncated: true}},
	} {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(c.body)))
			_, _ = io.WriteString(w, c.body)
		})
		got, err := run(t, t.Context(), HTTP, `{"url":"`+server.URL+`"`+c.payload+`}`)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		c.want.Status, c.want.Proto, c.want.Timing = 200, "HTTP/1.1", got.Timing
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(c.want)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: got %.200s, want %.200s", c.name, a, b)
		}
	}
}

// The worst body of the largest size still fits the result's cap.
func TestHTTPWorstBodyFits(t *testing.T) {
	half := maxDefaultBody / 2
	for what, body := range map[string]string{
		"zeros":                               strings.Repeat("\x00", maxDefaultBody),
		"no UTF-8":                            strings.Repeat("\xff", maxDefaultBody),
		"quotes":                              strings.Repeat(`"`, maxDefaultBody),
		"separators of lines":                 strings.Repeat("\u2028", maxDefaultBody/3),
		"as many controls as a text may have": strings.Repeat("\x01", maxDefaultBody/5) + strings.Repeat(`\`, maxDefaultBody-maxDefaultBody/5),
		"controls and text":                   strings.Repeat("\x01", half) + strings.Repeat("x", half),
	} {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, body) })
		got, err := httpRun(t, t.Context(), HTTPPayload{URL: server.URL})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		kept, err := base64.StdEncoding.DecodeString(got.BodyBase64)
		if err != nil || got.Truncated || string(kept)+got.Body != body {
			t.Errorf("%s: kept %d and %d of %d bytes, %v", what, len(got.Body), len(kept), len(body), err)
		}
	}
}

// maxDefaultBody is what is kept of a body where the payload says nothing.
const maxDefaultBody = 64 << 10

// A body that is asked for and does not fit the cap of results is cut, for the request is done;
// with a higher --max-result it is kept whole, up to the largest that may be asked for.
func TestABodyBeyondTheCapOfResultsIsCut(t *testing.T) {
	for what, body := range map[string]string{
		"text":                strings.Repeat("x", 1<<20),
		"long characters":     strings.Repeat("€", 1<<20/3),
		"quotes":              strings.Repeat(`"`, 300<<10),
		"text, then controls": strings.Repeat("x", 200<<10) + strings.Repeat("\x01", 30<<10) + strings.Repeat("y", 30<<10),
		"no text":             strings.Repeat("\xff\x00", 150<<10),
	} {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("v", 10<<10))
			_, _ = io.WriteString(w, body)
		})
		payload, err := HTTP.Encode(HTTPPayload{Method: "POST", URL: server.URL, Expect: []string{"200"}, MaxBody: 1 << 20, WantHeaders: []string{"X"}})
		if err != nil {
			t.Fatal(err)
		}
		for most, whole := range map[int]bool{0: false, 20 << 10: false, 2 << 20: true} {
			data, err := HTTP.Type().Run(WithMeans(t.Context(), &Means{MaxResult: most}), payload)
			if err != nil {
				t.Errorf("%s, up to %d: %v", what, most, err)
				continue
			}
			got, err := HTTP.DecodeResult(data)
			if err != nil {
				t.Fatal(err)
			}
			if most == 0 {
				most = DefaultPolicy.MaxResult
			}
			kept, err := base64.StdEncoding.DecodeString(got.BodyBase64)
			if kept := string(kept) + got.Body; err != nil || !strings.HasPrefix(body, kept) || (kept == body) != whole || got.Truncated == whole {
				t.Errorf("%s, up to %d: kept %d of %d bytes, truncated %v, %v", what, most, len(kept), len(body), got.Truncated, err)
			}
			if len(data) > most || !whole && len(data) < most-20 || len(got.Headers["X"]) != 10<<10 || got.HeadersTruncated || got.Bytes != int64(len(body)) && got.Bytes != 1<<20 {
				t.Errorf("%s, up to %d: a result of %d bytes, header of %d, body of %d", what, most, len(data), len(got.Headers["X"]), got.Bytes)
			}
		}
	}
	_, err := HTTP.Encode(HTTPPayload{Method: "GET", URL: "http://h/", Expect: []string{"200"}, MaxBody: 1<<20 + 1})
	wantInvalid(t, err, "max_body", "1,048,576 or less")
}

// Headers that are asked for are cut where they are too large, in the order they are asked for;
// and go where results may hardly have anything.
func TestWantedHeadersAreBounded(t *testing.T) {
	body := strings.Repeat("x", 64<<10)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("A", strings.Repeat("a", 10<<10))
		w.Header().Set("Huge", strings.Repeat("h", 200<<10))
		_, _ = io.WriteString(w, body)
	})
	for _, c := range []struct {
		want    []string
		most    int // of the result
		a, huge int // bytes kept
		cut     bool
	}{
		{[]string{"A"}, 0, 10 << 10, 0, false},
		{[]string{"Huge", "A"}, 0, 0, 16<<10 - 4, true},
		{[]string{"A", "Huge"}, 0, 10 << 10, 6<<10 - 5, true},
		{[]string{"A"}, 1 << 10, 0, 0, true},
		{nil, 1 << 10, 0, 0, false},
	} {
		ctx := WithMeans(t.Context(), &Means{MaxResult: c.most})
		got, err := httpRun(t, ctx, HTTPPayload{URL: server.URL, WantHeaders: c.want})
		if err != nil || len(got.Headers["A"]) != c.a || len(got.Headers["Huge"]) != c.huge || got.HeadersTruncated != c.cut || got.Truncated != (c.most > 0) {
			t.Errorf("%v, up to %d: %d and %d bytes, cut %v, truncated %v, %v", c.want, c.most, len(got.Headers["A"]), len(got.Headers["Huge"]), got.HeadersTruncated, got.Truncated, err)
		}
	}
}

func TestHTTPGzipBomb(t *testing.T) {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = zw.Write(make([]byte, 4<<20))
	_ = zw.Close()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	got, err := httpRun(t, t.Context(), HTTPPayload{URL: server.URL, MaxBody: 10})
	if err != nil || len(got.Body) != 10 || !got.Truncated {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestHTTPVerdicts(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const ok, permanent, ordinary, throttled = "ok", "permanent", "ordinary", "throttled"
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		status     int
		retryAfter string
		expect     string // separated by spaces; "" = 2xx
		want       string
		after      time.Duration
	}{
		{200, "", "", ok, 0},
		{299, "", "", ok, 0},
		{204, "", "200", permanent, 0},
		{404, "", "200 404", ok, 0},
		{404, "", "200-299 400-410", ok, 0},
		{500, "", "5xx", ok, 0},
		{500, "", "5XX", ok, 0},
		{429, "7", "429", ok, 0},
		{304, "", "", permanent, 0},
		{400, "", "", permanent, 0},
		{401, "", "", permanent, 0},
		{404, "7", "", permanent, 0},
		{410, "", "", permanent, 0},
		{418, "", "", permanent, 0},
		{408, "", "", ordinary, 0},
		{425, "", "", ordinary, 0},
		{500, "7", "", ordinary, 0},
		{502, "", "", ordinary, 0},
		{504, "7", "", ordinary, 0},
		{429, "", "", ordinary, 0},
		{503, "", "", ordinary, 0},
		{429, "7", "", throttled, 7 * time.Second},
		{503, " 7 ", "", throttled, 7 * time.Second},
		{503, "0", "", throttled, 0},
		{503, "86401", "", throttled, 24 * time.Hour},
		{503, "99999999999999999999", "", throttled, 24 * time.Hour},
		{503, in(90 * time.Second), "", throttled, 90 * time.Second},
		{503, in(48 * time.Hour), "", throttled, 24 * time.Hour},
		{429, "315360000", "", throttled, 24 * time.Hour},
		{503, in(10 * 365 * 24 * time.Hour), "", throttled, 24 * time.Hour},
		{503, "Fri, 31 Dec 9999 23:59:59 GMT", "", throttled, 24 * time.Hour},
		{503, in(-time.Second), "", ordinary, 0},
		{503, "-7", "", ordinary, 0},
		{503, "+7", "", ordinary, 0},
		{503, "7.5", "", ordinary, 0},
		{503, "soon", "", ordinary, 0},
		{429, "-315360000", "", ordinary, 0},
		{429, "1e9", "", ordinary, 0},
		{429, "0x10", "", ordinary, 0},
		{429, "7, 8", "", ordinary, 0},
		{429, "٣", "", ordinary, 0},
		{429, "NaN", "", ordinary, 0},
		{429, "\x00", "", ordinary, 0},
		{429, "Thu, 01 Jan 1970 00:00:00 GMT", "", ordinary, 0},
		{503, "Fri, 99 Jan 2026 03:04:05 GMT", "", ordinary, 0},
	} {
		if c.expect == "" {
			c.expect = "2xx"
		}
		expect, err := parseExpect(strings.Fields(c.expect))
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest("GET", "http://h/", nil)
		resp := &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.retryAfter}}}
		err = verdict(req, resp, expect, now)

		got, after := ok, time.Duration(0)
		if later, is := AsThrottled(err); is {
			got, after = throttled, later.After
		} else if IsPermanent(err) {
			got = permanent
		} else if err != nil {
			got = ordinary
		}
		var status *StatusError
		if got != c.want || after != c.after || err != nil && (!errors.As(err, &status) || status.Status != c.status) {
			t.Errorf("%d, Retry-After %q, expect %s: got %s %v (%v)", c.status, c.retryAfter, c.expect, got, after, err)
		}
	}
}

func TestHTTPStatusErrors(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(map[string]int{"/404": 404, "/500": 500, "/503": 503}[r.URL.Path])
		_, _ = io.WriteString(w, "secret body")
	})
	host := strings.TrimPrefix(server.URL, "http://")
	for path, want := range map[string]string{
		"/404": "GET " + host + ": status 404 Not Found",
		"/500": "GET " + host + ": status 500 Internal Server Error",
		"/503": "throttled: again in 7s: GET " + host + ": status 503 Service Unavailable",
	} {
		_, err := httpRun(t, t.Context(), HTTPPayload{URL: "http://user:secret@" + host + path + "?token=secret"})
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestHTTPConnectionErrors(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := free.Addr().String()
	free.Close()
	cut := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "short")
		panic(http.ErrAbortHandler)
	})
	noHTTP := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		_, _ = io.WriteString(conn, "hello\r\n\r\n")
		conn.Close()
	})
	for what, address := range map[string]string{
		"refused":      "http://u:secret@" + refused + "/secret?secret",
		"cut":          cut.URL + "/secret",
		"not HTTP":     noHTTP.URL + "/secret",
		"no such host": "http://host.invalid/secret",
	} {
		_, err := httpRun(t, t.Context(), HTTPPayload{URL: address})
		_, throttled := AsThrottled(err)
		if err == nil || IsPermanent(err) || throttled || strings.Contains(err.Error(), "secret") || len(err.Error()) > 300 {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestHTTPTimeout(t *testing.T) {
	arrived := make(chan func(), 1)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "the beginning")
			_ = http.NewResponseController(w).Flush()
		}
		(<-arrived)()
		<-r.Context().Done()
	})
	for _, path := range []string{"/headers", "/body"} {
		ctx, cancel := context.WithCancel(t.Context())
		arrived <- cancel
		_, err := httpRun(t, ctx, HTTPPayload{URL: server.URL + path})
		if !errors.Is(err, context.Canceled) || IsPermanent(err) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	arrived <- func() {}
	if _, err := httpRun(t, ctx, HTTPPayload{URL: server.URL}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestHTTPIdempotencyKey(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/from" {
			http.Redirect(w, r, "/to", http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("Idempotency-Key"))
	})
	ctx := WithInfo(t.Context(), Info{ID: "batch:42", Batch: "batch", Seq: 42, Attempt: 2})
	for _, c := range []struct {
		ctx  context.Context
		path string
		own  map[string]string
		want string
	}{
		{ctx, "/", nil, "batch:42"},
		{ctx, "/from", nil, "batch:42"},
		{ctx, "/", map[string]string{"idempotency-key": "mine"}, "mine"},
		{t.Context(), "/", nil, ""},
	} {
		got, err := httpRun(t, c.ctx, HTTPPayload{Method: "POST", Body: "x", URL: server.URL + c.path, Headers: c.own})
		if err != nil || got.Body != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.path, got.Body, err, c.want)
		}
	}
}

func TestHTTPRedirects(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		switch _, err := fmt.Sscanf(r.URL.Path, "/%d", &n); {
		case err != nil:
			w.Header().Set("Location", "ftp://h/")
			w.WriteHeader(302)
		case n > 0:
			http.Redirect(w, r, fmt.Sprintf("/%d", n-1), http.StatusFound)
		}
	})
	for most, ctx := range map[int]context.Context{
		3: t.Context(),
		1: WithMeans(t.Context(), &Means{MaxRedirects: 1}),
		7: WithMeans(t.Context(), &Means{MaxRedirects: 7}),
	} {
		if got, err := httpRun(t, ctx, HTTPPayload{URL: fmt.Sprintf("%s/%d", server.URL, most)}); err != nil || got.Status != 200 {
			t.Errorf("%d redirects: got %+v, %v", most, got, err)
		}
		_, err := httpRun(t, ctx, HTTPPayload{URL: fmt.Sprintf("%s/%d", server.URL, most+1)})
		if want := fmt.Sprintf("more than %d redirects; a worker's --max-redirects", most); !IsPermanent(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("one more than %d redirects: got %v", most, err)
		}
	}
	if _, err := httpRun(t, t.Context(), HTTPPayload{URL: server.URL + "/ftp"}); !IsPermanent(err) || !strings.Contains(err.Error(), "no http or https URL") {
		t.Errorf("to ftp: got %v", err)
	}
	got, err := httpRun(t, t.Context(), HTTPPayload{URL: server.URL + "/1", Expect: []string{"302"}, WantHeaders: []string{"Location"}})
	if err != nil || got.Status != 302 || got.Headers["Location"] != "/0" {
		t.Errorf("an expected redirect: got %+v, %v", got, err)
	}
}

func TestHTTPReusesConnections(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 10000))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	for i := range 30 {
		p := HTTPPayload{URL: server.URL, MaxBody: 10000}
		switch i % 3 {
		case 1:
			p.MaxBody = 10 // cut: the rest is drained
		case 2:
			p.URL += "/fail"
		}
		if _, err := httpRun(t, t.Context(), p); (err != nil) != (i%3 == 2) {
			t.Fatal(err)
		}
	}
	// Ten more if one of the three were not drained; a machine may be too slow for one.
	if n := opened.Load(); n > 5 {
		t.Errorf("30 requests opened %d connections", n)
	}
}

func TestHTTP2(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	for i := range 5 {
		got, err := httpRun(t, t.Context(), HTTPPayload{URL: server.URL})
		if err != nil || got.Proto != "HTTP/2.0" || (i == 0) != (got.Timing.TLS > 0) {
			t.Fatalf("request %d: got %+v, %v", i, got, err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("5 requests opened %d connections", n)
	}
}

// A body that never ends, or never comes, costs an attempt no more than its
// verdict needs.
func TestHTTPEndlessBody(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			w.WriteHeader(http.StatusBadGateway)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 32<<10))
		}
	})
	start := time.Now()
	if got, err := httpRun(t, t.Context(), HTTPPayload{URL: server.URL}); err != nil || !got.Truncated {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err := httpRun(t, t.Context(), HTTPPayload{URL: server.URL + "/slow"})
	var status *StatusError
	if !errors.As(err, &status) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestHTTPPayloadRules(t *testing.T) {
	for _, c := range []struct{ more, field, reason string }{
		{`"url":"http://h","method":"GE T"`, "method", "is no HTTP method"},
		{`"url":"http://h","method":"CONNECT"`, "method", "is no HTTP method"},
		{`"url":"http://h","method":""`, "method", "is no HTTP method"},
		{`"url":"h"`, "url", "must be an http or https URL"},
		{`"url":"ftp://h"`, "url", "must be an http or https URL"},
		{`"url":"file:///etc/passwd"`, "url", "must be an http or https URL"},
		{`"url":"http://"`, "url", "must be an http or https URL"},
		{`"url":"http://h\u0000"`, "url", "must be an http or https URL"},
		{`"url":"http://h/\r\nX: y"`, "url", "must be an http or https URL"},
		{`"url":"http://h","headers":{"A\r\nB":"c"}`, "headers", "is no header name"},
		{`"url":"http://h","headers":{"":"c"}`, "headers", "is no header name"},
		{`"url":"http://h","headers":{"A":"b\r\nC: d"}`, "headers.A", "control characters"},
		{`"url":"http://h","headers":{"A":"b\u0000"}`, "headers.A", "control characters"},
		{`"url":"http://h","headers":{"Host":"a b"}`, "headers.Host", "must be a host name"},
		{`"url":"http://h","headers":{"a":"1","A":"2"}`, "headers.a", "given twice"},
		{`"url":"http://h","expect":[]`, "expect", "at least 1 item"},
		{`"url":"http://h","expect":["2xx","6xx"]`, "expect.1", "must be a status or a range"},
		{`"url":"http://h","expect":["299-200"]`, "expect.0", "must be a status or a range"},
		{`"url":"http://h","expect":["-200"]`, "expect.0", "must be a status or a range"},
		{`"url":"http://h","expect":["xxx"]`, "expect.0", "must be a status or a range"},
		{`"url":"http://h","max_body":-1`, "max_body", "must be 0 or greater"},
		{`"url":"http://h","max_body":1048577`, "max_body", "must be 1,048,576 or less"},
	} {
		t.Run(c.more, func(t *testing.T) {
			_, err := run(t, t.Context(), HTTP, "{"+c.more+"}")
			wantInvalid(t, err, c.field, c.reason)
		})
	}
	for _, good := range []string{`"url":"HTTPS://h/ä?ö"`, `"url":"http://[::1]:80/"`, `"url":"http://h","headers":{"A":"é"}`, `"url":"http://h","headers":null`} {
		if err := HTTP.Type().Check([]byte("{" + good + "}")); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}
