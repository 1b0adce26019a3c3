package ui

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// site is a UI on an embedded Redis with two pending tasks in the queue "site".
type site struct {
	t     *testing.T
	weir  *weir.Client
	redis redis.UniversalClient
	url   string
	close func() error
}

const (
	hostile = `{"note":"<script>alert(1)</script>"}`
	queue   = "site"
)

// embedded is a client of an embedded Redis of this test.
func embedded(t *testing.T) *weir.Client {
	t.Helper()
	client, err := weir.Open(t.Context(), weir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newSite(t *testing.T, change func(*Options)) *site {
	t.Helper()
	client := embedded(t)
	enqueue := asynq.NewClientFromRedisClient(client.Redis())
	for id, payload := range map[string]string{"b:0": hostile, "b:1": strings.Repeat("é", 10<<10)} {
		if _, err := enqueue.Enqueue(asynq.NewTask("http", []byte(payload)), asynq.Queue(queue), asynq.TaskID(id)); err != nil {
			t.Fatal(err)
		}
	}
	return siteOf(t, client, change)
}

// siteOf is a UI of a client's Redis.
func siteOf(t *testing.T, client *weir.Client, change func(*Options)) *site {
	t.Helper()
	opt := Options{Weir: client, Addr: "ui.example:8080", Actions: true}
	if change != nil {
		change(&opt)
	}
	h, closeUI, err := Handler(opt)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		if err := closeUI(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return &site{t: t, weir: client, redis: client.Redis(), url: server.URL, close: closeUI}
}

// do sends a request; each header is "Name: value".
func (s *site) do(method, path string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(r) // no redirects followed
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

func (s *site) pending() int64 {
	s.t.Helper()
	n, err := s.redis.LLen(s.t.Context(), "asynq:{"+queue+"}:pending").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestAsynqmonsPageLoads(t *testing.T) {
	s := newSite(t, nil)
	res, page := s.do("GET", "/asynq/")
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("page: %s, %q", res.Status, res.Header.Get("Content-Type"))
	}
	if !strings.Contains(page, `window.FLAG_READ_ONLY="true"`) {
		t.Error("the page does not know that it is read-only")
	}
	assets := regexp.MustCompile(`<script src="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(assets) == 0 {
		t.Fatal("the page names no script")
	}
	for _, asset := range assets {
		res, body := s.do("GET", asset[1])
		if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || !strings.HasPrefix(got, "application/javascript") || len(body) < 10_000 {
			t.Errorf("%s: %s, %q, %d bytes", asset[1], res.Status, got, len(body))
		}
	}
}

func TestTheQueuesAreListed(t *testing.T) {
	s := newSite(t, nil)
	res, body := s.do("GET", "/asynq/api/queues")
	var list struct {
		Queues []struct {
			Queue   string `json:"queue"`
			Pending int    `json:"pending"`
		} `json:"queues"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s, %v: %s", res.Status, err, body)
	}
	if len(list.Queues) != 1 || list.Queues[0].Queue != queue || list.Queues[0].Pending != 2 {
		t.Errorf("got %+v, want %s with 2 pending", list.Queues, queue)
	}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	if res, body := s.do("GET", "/asynq/api/redis_info"); res.StatusCode != 200 || !strings.Contains(body, `"address"`) {
		t.Errorf("redis_info: %s: %s", res.Status, body)
	}
}

func TestAPayloadIsShownAsTextAndCut(t *testing.T) {
	s := newSite(t, nil)
	res, body := s.do("GET", "/asynq/api/queues/"+queue+"/pending_tasks")
	var list struct {
		Tasks []struct {
			ID      string `json:"id"`
			Payload string `json:"payload"`
		} `json:"tasks"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Tasks) != 2 {
		t.Fatalf("%s, %v: %s", res.Status, err, body)
	}
	if strings.Contains(body, "<script>") || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("a browser may take this for a page: %q", res.Header.Get("Content-Type"))
	}
	for _, task := range list.Tasks {
		switch task.ID {
		case "b:0":
			if task.Payload != hostile {
				t.Errorf("b:0: %q", task.Payload)
			}
		case "b:1":
			if len(task.Payload) > showMax+64 || !strings.HasSuffix(task.Payload, "é… (20480 bytes in all)") {
				t.Errorf("b:1: %d bytes, ending %q", len(task.Payload), task.Payload[len(task.Payload)-40:])
			}
		}
	}
}

func TestShow(t *testing.T) {
	long := strings.Repeat("x", showMax)
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"{}\n", "{}\n"},
		{"\xff\xfe", "2 bytes that are not text"},
		{long, long},
		{long + "y", long + "… (4097 bytes in all)"},
		{long[1:] + "é", long[1:] + "… (4097 bytes in all)"},
		{long[3:] + "\U0001F600" + "z", long[3:] + "… (4098 bytes in all)"},
		{long + "\xff", long + "… (4097 bytes in all)"},
		{"\xff" + long, "4097 bytes that are not text"},
	} {
		if got := show("http", []byte(c.in)); got != c.want {
			t.Errorf("%d bytes: got %.60q... (%d), want %.60q... (%d)", len(c.in), got, len(got), c.want, len(c.want))
		}
	}
}

// What a page of another site makes the user's browser send.
func TestACrossSiteRequestIsRefused(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Writable = true })
	for _, from := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://evil.example", "Origin: null"} {
		for _, path := range []string{
			"/asynq/api/queues/" + queue + ":pause",
			"/asynq/api/queues/" + queue + "/pending_tasks:archive_all",
		} {
			if res, _ := s.do("POST", path, from, "Content-Type: text/plain"); res.StatusCode != 403 {
				t.Errorf("POST %s with %s: %s, want 403", path, from, res.Status)
			}
		}
		res, _ := s.do("GET", "/asynq/api/queues", from)
		for name := range res.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s is sent to a foreign page", name)
			}
		}
	}
	if s.pending() != 2 {
		t.Errorf("%d tasks pending, want 2", s.pending())
	}
}

func TestReadOnlyRefusesChanges(t *testing.T) {
	const one = "/asynq/api/queues/" + queue + "/pending_tasks/b:0"
	for _, readOnly := range []bool{true, false} {
		s := newSite(t, func(o *Options) { o.Writable = !readOnly })
		res, body := s.do("DELETE", one, "Sec-Fetch-Site: same-origin")
		if readOnly && (res.StatusCode != 405 || s.pending() != 2) {
			t.Errorf("read-only: %s, %d pending, %s", res.Status, s.pending(), body)
		}
		if !readOnly && (res.StatusCode/100 != 2 || s.pending() != 1) {
			t.Errorf("writable: %s, %d pending, %s", res.Status, s.pending(), body)
		}
	}
}

func TestAForeignHostIsRefused(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Hosts = []string{"Proxy.example"} })
	for host, want := range map[string]int{
		"localhost:8080":       200,
		"LOCALHOST":            200,
		"weir.localhost":       200,
		"127.0.0.1:9":          200,
		"127.9.9.9":            200,
		"[::1]:8080":           200,
		"[::1]":                200,
		"ui.example":           200, // the listen address
		"ui.example:443":       200,
		"proxy.example":        200,
		"evil.example":         403,
		"evil.example:8080":    403,
		"localhost.evil.test":  403,
		"127.0.0.1.evil.test":  403,
		"ui.example.evil.test": 403,
		"203.0.113.7":          403,
		"0.0.0.0":              403,
	} {
		if res, _ := s.do("GET", "/asynq/api/queues", "Host: "+host); res.StatusCode != want {
			t.Errorf("host %s: %s, want %d", host, res.Status, want)
		}
	}
	if res, body := s.do("GET", "/healthz", "Host: evil.example"); res.StatusCode != 200 || body != "ok\n" {
		t.Errorf("healthz: %s %q", res.Status, body)
	}
}

func TestOnAllAddressesTheMachinesOwnWillDo(t *testing.T) {
	h := allowHosts(http.NotFoundHandler(), []string{"0.0.0.0", ""})
	for host, want := range map[string]int{"172.18.0.4:8080": 404, "[::ffff:172.18.0.4]:8080": 404, "172.18.0.5:8080": 403, "0.0.0.0:8080": 403, "": 403} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		at := &net.TCPAddr{IP: net.IPv4(172, 18, 0, 4), Port: 8080}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(at)))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("host %q: %d, want %d", host, w.Code, want)
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{"/asynq/", "/asynq/api/queues", "/asynq/api/queues/none", "/asynq/static/media/logo-color.c2b0c1f3.svg"} {
		scripts := s.guarded(path)
		if strings.Contains(scripts, "unsafe") || strings.Count(scripts, "sha256-") != 2 {
			t.Errorf("%s: %q", path, scripts)
		}
	}
	for _, path := range []string{"/", "/lanes/x", "/api/batches", "/api/none", "/static/app.js", "/static/none.js", "/none", "/healthz", "/../../etc/passwd"} {
		if scripts := s.guarded(path); scripts != "script-src 'self'" {
			t.Errorf("%s: %q", path, scripts)
		}
	}
	if res, _ := s.do("GET", "/asynq/static/media/logo-color.c2b0c1f3.svg"); res.Header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("logo: %q", res.Header.Get("Content-Type"))
	}
	if res, _ := s.do("GET", "/asynq/static/nothing.svg"); !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Errorf("the page in place of what is not found: %q", res.Header.Get("Content-Type"))
	}
}

// guarded checks the headers of an answer, and gives its policy for scripts.
func (s *site) guarded(path string) string {
	s.t.Helper()
	res, _ := s.do("GET", path)
	policy := res.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'", "script-src 'self'"} {
		if !strings.Contains(policy, part) {
			s.t.Errorf("%s: policy %q lacks %q", path, policy, part)
			return ""
		}
	}
	if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("X-Frame-Options") != "DENY" {
		s.t.Errorf("%s: %v", path, res.Header)
	}
	scripts, _, _ := strings.Cut(policy[strings.Index(policy, "script-src"):], ";")
	return scripts
}

func TestTheClientOutlivesTheUI(t *testing.T) {
	s := newSite(t, nil)
	for range 2 {
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	if res, _ := s.do("GET", "/asynq/api/queues"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after close: %s", res.Status)
	}
	if err := s.redis.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the shared client: %v", err)
	}
}

// wrapped is a client that asynqmon cannot use.
type wrapped struct{ *weir.Client }

func (w wrapped) Redis() redis.UniversalClient {
	return struct{ redis.UniversalClient }{w.Client.Redis()}
}

func TestHandlerRefuses(t *testing.T) {
	for name, opt := range map[string]Options{"no redis": {}, "a wrapped one": {Weir: wrapped{embedded(t)}}} {
		if _, _, err := Handler(opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestServeStopsGracefully(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- Serve(ctx, ln, h) }()

	answer := make(chan string, 1)
	go func() {
		transport := &http.Transport{DisableKeepAlives: true}
		r, _ := http.NewRequest("GET", "http://"+ln.Addr().String(), nil)
		res, err := transport.RoundTrip(r)
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		answer <- string(body)
	}()
	<-started
	cancel()
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request in progress: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("the request in progress got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
