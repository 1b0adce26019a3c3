package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/weir-tasks/weir/internal/egress"
	"golang.org/x/net/http/httpguts"
)

// HTTP makes one HTTP request (and follows redirects, unless `expect` has their
// status). Every request carries `Idempotency-Key: <batch>:<seq>`, so that a
// service can tell a second attempt from a second task.
var HTTP = Define("http", Policy{MaxPayload: maxPayload, Governed: true}, doHTTP)

// HTTPPayload is one request.
type HTTPPayload struct {
	Method      string            `json:"method,omitzero"`
	URL         string            `json:"url" weir:"line" validate:"required,http_url"`
	Headers     map[string]string `json:"headers,omitzero"`
	Body        string            `json:"body,omitzero"`
	Expect      []string          `json:"expect,omitzero" validate:"min=1,max=32" doc:"statuses that are a success: 2xx, 404, 200-299"`
	WantHeaders []string          `json:"want_headers,omitzero" validate:"max=64" doc:"response headers to keep, 16 KiB of them"`
	MaxBody     int               `json:"max_body,omitzero" validate:"gte=0,lte=1048576" doc:"bytes of the response body to keep"`
}

// These bound a request's head, generously: few services take as much.
const (
	maxURL         = 16 << 10
	maxHeaders     = 100
	maxHeaderName  = 256
	maxHeaderValue = 16 << 10
	maxHeaderBytes = 64 << 10 // of all together
)

// drainLimit and drainTime bound what is read of a body nobody wants, so that
// its connection can be used again; beyond, a new connection is cheaper.
const (
	drainLimit = 64 << 10
	drainTime  = time.Second
)

// Defaults fills in what a payload leaves out.
func (p *HTTPPayload) Defaults() {
	p.Method = http.MethodGet
	p.Expect = []string{"2xx"}
	p.MaxBody = 64 << 10
}

// Validate checks what goes on the wire: nothing in a payload may add a header
// or a second request.
func (p *HTTPPayload) Validate() error {
	if !httpguts.ValidHeaderFieldName(p.Method) || strings.EqualFold(p.Method, http.MethodConnect) {
		return invalidf("method", "is no HTTP method")
	}
	if _, err := url.Parse(p.URL); err != nil {
		return invalidf("url", "must be an http or https URL")
	}
	if len(p.URL) > maxURL {
		return invalidf("url", "is longer than %d bytes", maxURL)
	}
	if len(p.Headers) > maxHeaders {
		return invalidf("headers", "are %d, more than %d", len(p.Headers), maxHeaders)
	}
	seen, bytes := map[string]bool{}, 0
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		bytes += len(name) + len(p.Headers[name])
		switch canonical := http.CanonicalHeaderKey(name); {
		case len(name) > maxHeaderName:
			return invalidf("headers", "%q is longer than %d bytes", shorten(name, 40), maxHeaderName)
		case len(p.Headers[name]) > maxHeaderValue:
			return invalidf("headers."+name, "is longer than %d bytes", maxHeaderValue)
		case bytes > maxHeaderBytes:
			return invalidf("headers", "are more than %d bytes together", maxHeaderBytes)
		case !httpguts.ValidHeaderFieldName(name):
			return invalidf("headers", "%q is no header name", shorten(name, 40))
		case !httpguts.ValidHeaderFieldValue(p.Headers[name]):
			return invalidf("headers."+name, "must not contain control characters")
		case canonical == "Host" && !httpguts.ValidHostHeader(p.Headers[name]):
			return invalidf("headers."+name, "must be a host name")
		case seen[canonical]:
			return invalidf("headers."+name, "given twice")
		default:
			seen[canonical] = true
		}
	}
	_, err := parseExpect(p.Expect)
	return err
}

func doHTTP(ctx context.Context, p HTTPPayload) (HTTPResult, error) {
	expect, err := parseExpect(p.Expect)
	if err != nil {
		return HTTPResult{}, err
	}
	ctx, stop := context.WithCancel(ctx) // ends the drain
	defer stop()
	watch := newStopwatch()
	req, err := newHTTPRequest(watch.trace(ctx), p)
	if err != nil {
		return HTTPResult{}, err
	}
	resp, err := httpClient(ctx, expect, p.Body).Do(req)
	if err != nil {
		return HTTPResult{}, httpFailed(req, err)
	}
	defer resp.Body.Close()

	now := time.Now()
	quota, limited := quotaOf(resp.Header, now)
	if limited {
		ReportQuota(ctx, quota)
	}
	if err := verdict(req, resp, expect, now); err != nil {
		drain(resp, stop)
		return HTTPResult{}, err
	}
	result := HTTPResult{Status: resp.StatusCode, Proto: resp.Proto}
	result.Headers, result.HeadersTruncated = pick(resp.Header, p.WantHeaders)
	if err := result.readBody(resp, p.MaxBody); err != nil {
		return HTTPResult{}, httpFailed(req, fmt.Errorf("read body: %w", err))
	}
	result.Timing = watch.split()
	if result.Truncated {
		drain(resp, stop)
	}
	return result, nil
}

func newHTTPRequest(ctx context.Context, p HTTPPayload) (*http.Request, error) {
	var body io.Reader
	if p.Body != "" {
		body = strings.NewReader(p.Body)
	}
	req, err := http.NewRequestWithContext(ctx, p.Method, p.URL, body)
	if err != nil { // not with its text: the URL may hold a secret
		return nil, invalidf("url", "must be an http or https URL")
	}
	req.Header.Set("User-Agent", "weir")
	if info, ok := InfoFrom(ctx); ok && info.ID != "" {
		req.Header.Set("Idempotency-Key", info.ID)
	}
	for name, value := range p.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	return req, nil
}

// drain reads the rest of a body, if it is short and there soon.
func drain(resp *http.Response, stop context.CancelFunc) {
	if resp.ContentLength > 2*drainLimit {
		return
	}
	timer := time.AfterFunc(drainTime, stop)
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, drainLimit)
}

// httpError is a request that got no whole answer. Its text is short and has
// the host but not the rest of the URL, which may hold a secret.
type httpError struct {
	text string
	err  error
}

func (e *httpError) Error() string { return e.text }
func (e *httpError) Unwrap() error { return e.err }

func httpFailed(req *http.Request, err error) error {
	var outer *url.Error // its text is the URL
	if errors.As(err, &outer) {
		err = outer.Err
	}
	var denied *egress.DeniedError
	if errors.As(err, &denied) {
		return Rejected(&httpError{text: requestName(req) + ": " + denied.Error(), err: err})
	}
	failed := &httpError{text: requestName(req) + ": " + shorten(err.Error(), 200), err: err}
	if ofConnection(err) {
		return Overloaded(failed)
	}
	return failed
}

// ofConnection says that nobody answered, or not to the end.
func ofConnection(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func requestName(req *http.Request) string {
	return shorten(req.Method, 20) + " " + shorten(req.URL.Host, 100)
}
