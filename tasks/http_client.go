package tasks

import (
	"errors"
	"net"
	"net/http"
	"time"
)

const maxRedirects = 10

// httpTransport holds the connections of every http task in the process. It has
// no proxy from the environment: what a task calls is in its payload. Its own
// time limits only keep what a task has given up from staying for ever: a
// task's time is its context's.
var httpTransport http.RoundTripper = newHTTPTransport()

func newHTTPTransport() *http.Transport {
	dialer := net.Dialer{Timeout: time.Minute, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           4096,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    time.Minute,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		// An HTTP/2 connection carries many tasks: one that died silently must
		// be found before all of them run into their timeouts.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// httpClient follows redirects, but not one whose status is what the task expects.
func httpClient(expect []statusRange) *http.Client {
	return &http.Client{
		Transport: httpTransport,
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case expected(expect, next.Response.StatusCode):
				return http.ErrUseLastResponse
			case len(via) > maxRedirects:
				return Permanent(errors.New("more than 10 redirects"))
			case next.URL.Scheme != "http" && next.URL.Scheme != "https":
				return Permanent(errors.New("redirected to what is no http or https URL"))
			}
			return nil
		},
	}
}
