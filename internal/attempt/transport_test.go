package attempt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/tasks"
)

// service is what a tasks.Transport stands on in these tests.
type service func(*http.Request) (*http.Response, error)

func (s service) RoundTrip(r *http.Request) (*http.Response, error) { return s(r) }

// answers is a response; its header is given as name and value.
func answers(r *http.Request, status int, body io.Reader, header ...string) (*http.Response, error) {
	resp := &http.Response{StatusCode: status, Header: make(http.Header), Body: io.NopCloser(body), Request: r}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp, nil
}

// broken is a body that fails, and slow one that comes after a while, unless its request ends.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type slow struct {
	ctx   context.Context
	after time.Duration
}

func (s slow) Read([]byte) (int, error) {
	select {
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	case <-time.After(s.after):
		return 0, io.EOF
	}
}

// asking makes requests in the context of a handler.
type asking struct {
	*http.Client
	ctx context.Context
}

func (a asking) get(url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(a.ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return a.Do(req)
}

// However a request ends, its permit is back: the lane has but one.
func TestEveryEndOfARequestGivesItsPermitBack(t *testing.T) {
	client := http.Client{Transport: tasks.Transport("", service(func(r *http.Request) (*http.Response, error) {
		switch r.URL.Path {
		case "/broken":
			return answers(r, 200, broken{})
		case "/slow":
			return answers(r, 200, slow{r.Context(), time.Minute})
		case "/redirect":
			return answers(r, 302, bytes.NewReader(make([]byte, 4096)), "Location", "/whole")
		case "/loop":
			return answers(r, 302, http.NoBody, "Location", "/loop")
		case "/away":
			return answers(r, 307, http.NoBody, "Location", "http://other.example/whole")
		case "/refused":
			return nil, errors.New("connection refused")
		case "/panic":
			panic("in the transport")
		case "/404":
			return answers(r, 404, bytes.NewReader([]byte("no")))
		}
		return answers(r, 200, bytes.NewReader([]byte("whole")))
	}))}
	ends := []struct {
		what string
		do   func(asking) error // an error is what is wrong
	}{
		{"read to its end", func(a asking) error {
			resp, err := a.get("http://one.example/whole")
			if err == nil {
				_, err = io.ReadAll(resp.Body) // and not closed
			}
			return err
		}},
		{"closed unread", func(a asking) error {
			resp, err := a.get("http://one.example/whole")
			if err == nil {
				err = errors.Join(resp.Body.Close(), resp.Body.Close())
			}
			return err
		}},
		{"no such page", func(a asking) error {
			resp, err := a.get("http://one.example/404")
			if err == nil {
				err = resp.Body.Close()
			}
			return err
		}},
		{"broken in its body", func(a asking) error {
			resp, err := a.get("http://one.example/broken")
			if err == nil {
				if _, got := io.ReadAll(resp.Body); !errors.Is(got, io.ErrUnexpectedEOF) {
					return fmt.Errorf("its body ends with %v", got)
				}
			}
			return err
		}},
		{"no connection", func(a asking) error { return fails(a.get("http://one.example/refused")) }},
		{"given up in its body", func(a asking) error {
			ctx, cancel := context.WithTimeout(a.ctx, time.Second)
			defer cancel()
			resp, err := asking{a.Client, ctx}.get("http://one.example/slow")
			if err == nil {
				if _, got := io.ReadAll(resp.Body); !errors.Is(got, context.DeadlineExceeded) {
					return fmt.Errorf("its body ends with %v", got)
				}
			}
			return err
		}},
		{"redirected", func(a asking) error {
			resp, err := a.get("http://one.example/redirect")
			if err == nil {
				err = resp.Body.Close()
			}
			return err
		}},
		{"redirected to another host", func(a asking) error {
			resp, err := a.get("http://one.example/away")
			if err == nil {
				err = resp.Body.Close()
			}
			return err
		}},
		{"redirected for ever", func(a asking) error { return fails(a.get("http://one.example/loop")) }},
		{"panicked in the transport", func(a asking) (err error) {
			defer func() {
				if recover() == nil {
					err = errors.New("there was no panic")
				}
			}()
			_, err = a.get("http://one.example/panic")
			return err
		}},
	}
	var here atomic.Pointer[world]
	handle := func(ctx context.Context, in payload) (string, error) {
		a := asking{&client, ctx}
		switch in.N {
		case 1:
			_, err := a.get("http://one.example/whole") // and left behind
			return "", err
		case 2:
			_, err := a.get("http://one.example/whole")
			panic(err)
		}
		for _, end := range ends {
			if err := end.do(a); err != nil {
				return "", fmt.Errorf("%s: %w", end.what, err)
			}
			for _, lane := range []string{"one.example", "other.example"} {
				if n := here.Load().inFlight(lane); n != 0 {
					return "", fmt.Errorf("%s: %d permits of %s are out", end.what, n, lane)
				}
			}
		}
		return "all", nil
	}
	o := batch.Options{Type: "test-job", TimeoutMS: 60_000, KeepMS: 3_600_000}
	inBubble(t, o, handle, func(t *testing.T, w *world) {
		here.Store(w)
		w.configure("one.example", governor.Config{Max: 1})
		for seq := range int64(3) {
			w.enqueue("b", seq)
			w.until(5*time.Minute, "it has its outcome", func() bool { return len(w.outcomes()) == int(seq)+1 })
			if n := w.inFlight("one.example"); n != 0 {
				t.Errorf("after task %d %d permits are out", seq, n)
			}
		}
		for _, o := range w.finish(3) {
			if want := map[bool]batch.State{true: batch.Failed, false: batch.OK}[o.Seq == 2]; o.State != want {
				t.Errorf("outcome %+v", o)
			}
		}
		w.wantNothingLeft()
	})
}

// fails wants a request to have failed.
func fails(resp *http.Response, err error) error {
	if err == nil {
		return fmt.Errorf("no error, but %d", resp.StatusCode)
	}
	return nil
}

// A service that says when to come back pauses the lane of its host in Redis, for all
// workers; nothing is sent until then, and other hosts go on.
func TestRetryAfterPausesTheLaneOfItsHostAlone(t *testing.T) {
	const pause = 20 * time.Second
	var mu sync.Mutex
	var refused time.Time
	sent := make(map[string][]time.Time)
	client := http.Client{Transport: tasks.Transport("", service(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		sent[r.URL.Host] = append(sent[r.URL.Host], time.Now())
		if status := map[string]int{"busy.example": 503, "strict.example:8080": 429}[r.URL.Host]; status != 0 && len(sent[r.URL.Host]) == 1 {
			refused = time.Now()
			return answers(r, status, http.NoBody, "Retry-After", "20")
		}
		return answers(r, 200, http.NoBody)
	}))}
	hosts := []string{"busy.example", "strict.example:8080", "fine.example"}
	handle := func(ctx context.Context, in payload) (string, error) {
		resp, err := asking{&client, ctx}.get("http://" + hosts[in.N%3] + "/")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		return "", tasks.CheckResponse(resp)
	}
	inBubble(t, someOptions, handle, func(t *testing.T, w *world) {
		w.enqueue("b", 0, 1, 2)
		state := func(lane string) governor.State {
			v, _, err := governor.Look(w.ctx, w.c, lane)
			if err != nil {
				t.Fatal(err)
			}
			return v.State
		}
		w.until(10*time.Second, "two lanes are paused", func() bool {
			return state("busy.example") == governor.Paused && state("strict.example_8080") == governor.Paused
		})
		if s := state("fine.example"); s != governor.Open {
			t.Errorf("the third is %v", s)
		}
		w.enqueue("b", 3, 4, 5, 6, 7, 8)
		for _, o := range w.finish(9) {
			if o.State != batch.OK || o.Attempts != 1 {
				t.Errorf("outcome %+v", o)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for host, times := range sent {
			if want := map[bool]int{true: 3, false: 4}[host == "fine.example"]; len(times) != want {
				t.Errorf("%s was asked %d times", host, len(times))
			}
			for i, at := range times {
				early := at.Sub(refused) < pause
				if host == "fine.example" && !early || host != "fine.example" && i > 0 && early {
					t.Errorf("%s: request %d came %v after the refusals", host, i, at.Sub(refused))
				}
			}
		}
		w.wantNothingLeft()
	})
}

// A call's latency goes to the end of its body, and is its lane's: the task's own goes
// without it.
func TestALaneLearnsHowLongItsCallsTake(t *testing.T) {
	const takes = 2 * time.Second
	client := http.Client{Transport: tasks.Transport("", service(func(r *http.Request) (*http.Response, error) {
		return answers(r, 200, slow{r.Context(), takes})
	}))}
	handle := func(ctx context.Context, in payload) (string, error) {
		resp, err := asking{&client, ctx}.get("http://slow.example/")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return "", err
	}
	inBubble(t, someOptions, handle, func(t *testing.T, w *world) {
		w.configure("slow.example", governor.Config{Max: 3})
		w.configure("jobs", governor.Config{Max: 3})
		w.run(60)
		slow, _, err := governor.Look(w.ctx, w.c, "slow.example")
		if err != nil || slow.Base < takes/2 || slow.Base > 2*takes {
			t.Errorf("the service's latency is %v, %v", slow.Base, err)
		}
		jobs, _, err := governor.Look(w.ctx, w.c, "jobs")
		if err != nil || jobs.Base > takes/2 {
			t.Errorf("the tasks' own is %v, %v", jobs.Base, err)
		}
	})
}
