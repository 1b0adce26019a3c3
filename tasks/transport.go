package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Transport returns an http.RoundTripper for the calls that handlers make: each takes a
// permit of a lane, as with Acquire, for as long as it lasts, and tells the lane of the
// answer as an http task does: 429 and 503 with their Retry-After, 502 and 504, quotas in
// headers, connections and times that fail, and the latency to the end of the body.
//
//	var client = &http.Client{Transport: tasks.Transport("", nil)}
//
//	func handle(ctx context.Context, p Payload) (Result, error) {
//		req, err := http.NewRequestWithContext(ctx, "GET", p.URL, nil)
//		...
//		resp, err := client.Do(req)
//		if err != nil {
//			return Result{}, err
//		}
//		defer resp.Body.Close()
//		if err := tasks.CheckResponse(resp); err != nil {
//			return Result{}, err
//		}
//		...
//
// An empty lane is that of each request's URL, the same that http tasks for it are in. A
// nil base is http.DefaultTransport. A request finds its worker by its context, which must
// be the handler's; one without is sent as it is. The permit goes back with the body's end or
// its Close; a refusal gives it back at once. What Acquire returns as an error, RoundTrip
// does too.
func Transport(lane string, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{lane, traced{base}}
}

type transport struct {
	lane string
	base http.RoundTripper
}

// RoundTrip makes one request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	permit, err := t.acquire(req)
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as its contract wants
		}
		return nil, err
	}
	panicked := true
	defer func() {
		if panicked { // and its handler may go on
			permit.Done(context.Canceled)
		}
	}()
	resp, err := t.base.RoundTrip(req)
	panicked = false
	if err != nil {
		permit.Done(ended(req.Context(), err))
		return nil, err
	}
	now := time.Now()
	if quota, limited := quotaOf(resp.Header, now); limited {
		permit.ReportQuota(quota)
	}
	err = verdict(req, resp, anyAnswer, now)
	_, throttled := AsThrottled(err)
	switch {
	case throttled, IsOverloaded(err), resp.StatusCode == http.StatusSwitchingProtocols, resp.Body == nil, resp.Body == http.NoBody:
		permit.Done(err)
	default:
		resp.Body = &permitBody{resp.Body, req.Context(), permit, err}
	}
	resp.Request = req.WithContext(context.WithValue(req.Context(), laneToldKey{}, true))
	return resp, nil
}

// ended says of a request that failed whether its time was over, or whoever made it gave it
// up. Its error need not tell: where http.Client's Timeout ends it, that is but "request
// canceled".
func ended(ctx context.Context, err error) error {
	deadline, limited := ctx.Deadline()
	switch {
	case limited && !time.Now().Before(deadline):
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Canceled, err)
	}
	return err
}

func (t *transport) acquire(req *http.Request) (*Permit, error) {
	lane := t.lane
	if lane == "" {
		var err error
		if lane, err = serviceLane(req.URL.String()); err != nil {
			return nil, err
		}
	}
	return Acquire(req.Context(), lane)
}

// anyAnswer are the statuses that are neither a refusal nor an error.
var anyAnswer = []statusRange{{100, 399}}

// permitBody gives a permit back when a response is over.
type permitBody struct {
	io.ReadCloser
	ctx    context.Context // the request's
	permit *Permit
	err    error // what the status said
}

func (b *permitBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.permit.Done(b.err)
	default:
		b.permit.Done(ended(b.ctx, err))
	}
	return n, err
}

func (b *permitBody) Close() error {
	err := b.ReadCloser.Close()
	b.permit.Done(b.err)
	return err
}

// laneToldKey marks the request of a response of which a lane has been told.
type laneToldKey struct{}

// CheckResponse judges a response by its status as an http task does: nil for 2xx, else
// the error for the handler to return. 429 and 503 with a Retry-After are a
// *ThrottledError; 408, 425, 429 and 5xx otherwise are worth another attempt, anything else
// is permanent. It does not read the body. The lane of a response that came by Transport
// has been told already; that of any other hears of it by what the handler returns.
func CheckResponse(resp *http.Response) error {
	req := resp.Request
	if req == nil { // made by a test
		req = &http.Request{URL: new(url.URL)}
	}
	err := verdict(req, resp, success, time.Now())
	if told, _ := req.Context().Value(laneToldKey{}).(bool); !told {
		return err
	}
	switch e := err.(type) {
	case *ThrottledError:
		e.told = true
	case *overloadedError:
		return e.err
	}
	return err
}

var success = []statusRange{{200, 299}}
