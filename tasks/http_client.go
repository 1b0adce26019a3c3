package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/egress"
	"github.com/weir-tasks/weir/internal/tracing"
)

const (
	defaultRedirects = 3
	maxHead          = 256 << 10 // of an answer, in bytes
)

// newHTTPTransport makes what holds the connections of http tasks. It has no proxy from
// the environment: what a task calls is in its payload, and a proxy would connect to what
// the guard denies. Its own time limits only keep what a task has given up from staying
// for ever: a task's time is its context's.
func newHTTPTransport(guard *egress.Guard) *http.Transport {
	dialer := net.Dialer{Timeout: time.Minute, KeepAlive: 30 * time.Second, ControlContext: guard.Control}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           4096,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    time.Minute,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHead,
		// An HTTP/2 connection carries many tasks: one that died silently must
		// be found before all of them run into their timeouts.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// httpTransports are those of every http task in the process, by the rules of their
// guards: a connection that one worker may have made is not another's.
var httpTransports sync.Map

func httpTransport(ctx context.Context) http.RoundTripper {
	guard := meansOf(ctx).Egress
	rules := guard.String()
	if t, ok := httpTransports.Load(rules); ok {
		return t.(http.RoundTripper)
	}
	t, _ := httpTransports.LoadOrStore(rules, newHTTPTransport(guard))
	return t.(http.RoundTripper)
}

// httpClient follows redirects, but not one whose status is what the task expects.
func httpClient(ctx context.Context, expect []statusRange, body string) *http.Client {
	secretBody := hasSecret(ctx, body)
	most := cmp.Or(meansOf(ctx).MaxRedirects, defaultRedirects)
	return &http.Client{
		Transport: traced{httpTransport(ctx)},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case expected(expect, next.Response.StatusCode):
				return http.ErrUseLastResponse
			case len(via) > most:
				return Permanent(fmt.Errorf("more than %d redirects; a worker's --max-redirects is how many it follows", most))
			case next.URL.Scheme != "http" && next.URL.Scheme != "https":
				return Permanent(errors.New("redirected to what is no http or https URL"))
			case leavesHost(next, via) && next.Body != nil && secretBody:
				return Permanent(errors.New("redirected to another service, which would get a body with a secret"))
			case leavesHost(next, via):
				keepPublicHeaders(ctx, next.Header)
			}
			return nil
		},
	}
}

// traced makes a span of each request. The trace is told to the service that the payload
// names, and to no other that it redirects to.
type traced struct{ base http.RoundTripper }

// RoundTrip makes one request.
func (t traced) RoundTrip(req *http.Request) (*http.Response, error) {
	if !tracing.On() {
		return t.base.RoundTrip(req)
	}
	stayed := true
	for at := req; at.Response != nil && at.Response.Request != nil; { // the redirects that led here
		before := at.Response.Request
		stayed = stayed && sameService(before.URL, at.URL)
		at = before
	}
	return tracing.RoundTrip(t.base, req, stayed)
}

// leavesHost says that a redirect leads away from the service that the payload names, or
// has led away before: what comes back from elsewhere may be that one's making.
func leavesHost(next *http.Request, via []*http.Request) bool {
	first := via[0].URL
	for _, req := range append(via[1:], next) {
		if !sameService(first, req.URL) {
			return true
		}
	}
	return false
}

// sameService says that what may be told to the one URL's service may be told to the
// other's. The same host by https instead of http is.
func sameService(from, to *url.URL) bool {
	if from.Hostname() != to.Hostname() || from.Scheme == "https" && to.Scheme == "http" {
		return false
	}
	return portOf(from) == portOf(to) || portOf(from) == "80" && portOf(to) == "443"
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// publicHeaders are those of a payload that go to other services too. Of any other nobody
// knows whether it is a secret.
var publicHeaders = map[string]bool{
	"Accept": true, "Accept-Charset": true, "Accept-Encoding": true, "Accept-Language": true,
	"Content-Language": true, "Content-Type": true, "Idempotency-Key": true, "Range": true, "User-Agent": true,
}

// keepPublicHeaders takes all others off a request; the Referer, too, which has the query
// of the URL before.
func keepPublicHeaders(ctx context.Context, h http.Header) {
	for name, values := range h {
		if !publicHeaders[name] || hasSecret(ctx, strings.Join(values, ",")) {
			h.Del(name)
		}
	}
}
