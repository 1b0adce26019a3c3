package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// clerk is a worker's side of Acquire: it notes which lanes were asked for and what they
// were told.
type clerk struct {
	refuse error
	lanes  []string
	told   []Answer
}

func (c *clerk) context(ctx context.Context) context.Context {
	return WithMeans(ctx, &Means{Acquire: func(_ context.Context, lane string) (func(Answer), error) {
		c.lanes = append(c.lanes, lane)
		if c.refuse != nil {
			return nil, c.refuse
		}
		return func(a Answer) { c.told = append(c.told, a) }, nil
	}})
}

// kind is what an error says of a service, in a word.
func kind(err error) string {
	later, throttled := AsThrottled(err)
	switch {
	case err == nil:
		return "ok"
	case throttled:
		return fmt.Sprint("throttled ", later.After)
	case IsOverloaded(err):
		return "overload"
	}
	return "answer"
}

func get(t *testing.T, ctx context.Context, client *http.Client, address string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return client.Do(req)
}

// What each answer tells the lane, and what it makes of the task: the lane is told once.
func TestTransportTellsTheLaneOfTheAnswer(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if after := q.Get("after"); after != "" {
			w.Header().Set("Retry-After", after)
		}
		if left := q.Get("left"); left != "" {
			w.Header().Set("X-RateLimit-Remaining", left)
			w.Header().Set("X-RateLimit-Reset", "30")
		}
		var status int
		_, _ = fmt.Sscan(q.Get("status"), &status)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "body")
	})
	for _, c := range []struct {
		query, lane, task string
	}{
		{"status=200", "ok", "ok"},
		{"status=200&left=7", "ok", "ok"},
		{"status=304", "ok", "permanent"},
		{"status=404", "answer", "permanent"},
		{"status=500", "answer", "answer"},
		{"status=408", "answer", "answer"},
		{"status=502", "overload", "answer"},
		{"status=503", "overload", "answer"},
		{"status=503&after=3", "throttled 3s", "throttled 3s told"},
		{"status=504", "overload", "answer"},
		{"status=429", "overload", "answer"},
		{"status=429&after=7", "throttled 7s", "throttled 7s told"},
		{"status=429&left=0", "throttled 30s", "throttled 30s told"},
	} {
		t.Run(c.query, func(t *testing.T) {
			worker := &clerk{}
			client := &http.Client{Transport: Transport("", nil)}
			resp, err := get(t, worker.context(t.Context()), client, server.URL+"?"+c.query)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			refused := c.lane != "ok" && c.lane != "answer"
			if resp.StatusCode != http.StatusNotModified && refused != (len(worker.told) == 1) {
				t.Errorf("before the body was read the lane was told %v", worker.told)
			}
			task := CheckResponse(resp)
			got := kind(task)
			if later, is := AsThrottled(task); is && later.Told() {
				got += " told"
			}
			if IsPermanent(task) {
				got = "permanent"
			}
			if got != c.task {
				t.Errorf("the task's error is %s (%v), want %s", got, task, c.task)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusNotModified && string(body) != "body" {
				t.Errorf("body %q, %v", body, err)
			}
			resp.Body.Close()
			if len(worker.told) != 1 || kind(worker.told[0].Err) != c.lane {
				t.Fatalf("the lane was told %+v, want %s once", worker.told, c.lane)
			}
			if q := worker.told[0].Quota; strings.Contains(c.query, "left=") != (q != nil) || q != nil && q.Reset != 30*time.Second {
				t.Errorf("quota %+v", q)
			}
		})
	}
}

// The permit is held, and the latency counted, until the body has been read.
func TestTransportHoldsThePermitUntilTheBodysEnd(t *testing.T) {
	const slow = 50 * time.Millisecond
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(slow)
		_, _ = io.WriteString(w, "second")
	})
	worker := &clerk{}
	resp, err := get(t, worker.context(t.Context()), &http.Client{Transport: Transport("slow", nil)}, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if len(worker.told) != 0 {
		t.Error("the permit was given back at the header")
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "firstsecond" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	resp.Body.Close()
	if len(worker.told) != 1 || worker.told[0].Latency < slow || worker.lanes[0] != "slow" {
		t.Errorf("lanes %v were told %+v", worker.lanes, worker.told)
	}
}

// A connection that fails, and a time that is over, are the service's overload; a
// connection that breaks in the body too.
func TestTransportTellsOfConnectionsThatFail(t *testing.T) {
	hang := make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-hang
			return
		}
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "short")
	})
	defer close(hang)
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct {
		url     string
		timeout time.Duration
	}{"refused": {gone.URL, 0}, "timeout": {server.URL + "/hang", 20 * time.Millisecond}, "broken": {server.URL, 0}} {
		worker := &clerk{}
		client := &http.Client{Transport: Transport("x", nil), Timeout: c.timeout}
		resp, err := get(t, worker.context(t.Context()), client, c.url)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil || len(worker.told) != 1 || kind(worker.told[0].Err) != "overload" {
			t.Errorf("%s: error %v, the lane was told %+v", name, err, worker.told)
		}
	}
}

// A request that its handler gave up says nothing of the service.
func TestTransportOfARequestThatIsGivenUp(t *testing.T) {
	hang := make(chan struct{})
	asked := make(chan struct{})
	server := serve(t, func(http.ResponseWriter, *http.Request) { close(asked); <-hang })
	defer close(hang)
	worker := &clerk{}
	ctx, cancel := context.WithCancel(worker.context(t.Context()))
	go func() { <-asked; cancel() }()
	_, err := get(t, ctx, &http.Client{Transport: Transport("x", nil), Timeout: time.Minute}, server.URL)
	if err == nil || len(worker.told) != 1 || IsOverloaded(worker.told[0].Err) || !errors.Is(worker.told[0].Err, context.Canceled) {
		t.Errorf("error %v, the lane was told %+v", err, worker.told)
	}
}

// Without a permit no request is made, the handler gets the lane's error through the
// client, and a request's body is closed. The lane of a URL is that of http tasks.
func TestTransportWithoutAPermitSendsNothing(t *testing.T) {
	worker := &clerk{refuse: fmt.Errorf("busy: %w", &ThrottledError{After: 4 * time.Second})}
	body := &closed{Reader: strings.NewReader("x")}
	req, err := http.NewRequestWithContext(worker.context(t.Context()), http.MethodPost, "http://Service.Example:8080/x", body)
	if err != nil {
		t.Fatal(err)
	}
	base := roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, errors.New("sent")
	})
	_, err = (&http.Client{Transport: Transport("", base)}).Do(req)
	later, throttled := AsThrottled(err)
	if !throttled || !later.Told() || later.After != 4*time.Second || !body.closed || worker.lanes[0] != "service.example_8080" {
		t.Errorf("error %v, body closed %v, lanes %v", err, body.closed, worker.lanes)
	}
}

type closed struct {
	io.Reader
	closed bool
}

func (c *closed) Close() error { c.closed = true; return nil }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Redirects take a permit each, one after the other.
func TestTransportFollowsRedirects(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/end" {
			http.Redirect(w, r, "/end", http.StatusFound)
		}
	})
	worker := &clerk{}
	resp, err := get(t, worker.context(t.Context()), &http.Client{Transport: Transport("x", nil)}, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if len(worker.told) != 2 || CheckResponse(resp) != nil {
		t.Errorf("told %+v", worker.told)
	}
}

// Outside of a worker there are no lanes, and nothing to wait for.
func TestPermitsOutsideOfAWorker(t *testing.T) {
	permit, err := Acquire(t.Context(), "anything")
	if err != nil {
		t.Fatal(err)
	}
	permit.ReportQuota(Quota{})
	permit.Done(nil)
	permit.Done(nil)
	if _, err := Acquire(t.Context(), "No Lane"); !IsPermanent(err) {
		t.Errorf("error %v for what is no lane", err)
	}
	if err := CheckResponse(&http.Response{StatusCode: 503}); !IsOverloaded(err) {
		t.Errorf("a response of nobody's: %v", err)
	}
}

// What an error of a call tells, for other protocols than HTTP.
func TestPermitDoneTellsByTheError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "ok"},
		{errors.New("no such user"), "answer"},
		{Overloaded(errors.New("busy")), "overload"},
		{Throttled(time.Second), "throttled 1s"},
		{io.ErrUnexpectedEOF, "overload"},
		{context.DeadlineExceeded, "overload"},
		{&url.Error{Op: "Get", URL: "http://x", Err: errors.New("stopped after 10 redirects")}, "answer"},
		{context.Canceled, "answer"},
	} {
		worker := &clerk{}
		permit, err := Acquire(worker.context(t.Context()), "ldap")
		if err != nil {
			t.Fatal(err)
		}
		permit.Done(c.err)
		permit.Done(errors.New("again"))
		if len(worker.told) != 1 || kind(worker.told[0].Err) != c.want {
			t.Errorf("%v: told %+v, want %s", c.err, worker.told, c.want)
		}
	}
}
