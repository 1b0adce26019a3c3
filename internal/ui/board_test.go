package ui

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
	weirqueue "github.com/weir-tasks/weir/internal/queue"
)

// onServer is a client of a redis-server of this test.
func onServer(t *testing.T, s *conntest.RealServer) *weir.Client {
	t.Helper()
	client, err := weir.Open(t.Context(), weir.Options{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// get reads a path of the API, which answers with a status, into what it is.
func (s *site) get(path string, status int, into any) {
	s.t.Helper()
	res, body := s.do("GET", path)
	if res.StatusCode != status || res.Header.Get("Content-Type") != "application/json" {
		s.t.Fatalf("GET %s: %s %q: %s", path, res.Status, res.Header.Get("Content-Type"), body)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(body), into); err != nil {
			s.t.Fatalf("GET %s: %v: %s", path, err, body)
		}
	}
}

// post sends an action as our pages do, and gives the answer.
func (s *site) post(path, body string, status int) (a struct{ Done, Batch, Error string }) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "POST", s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil || res.StatusCode != status {
		s.t.Fatalf("POST %s %s: %s, want %d: %+v, %v", path, body, res.Status, status, a, err)
	}
	return a
}

// failedBatch makes a batch of n failed tasks that is over.
func failedBatch(t *testing.T, rdb redis.UniversalClient, name string, n int64) *batch.Ledger {
	t.Helper()
	l := failingBatch(t, rdb, name, n)
	seal(t, l, name, n)
	return l
}

// failingBatch makes a batch that goes on, with n failed tasks, every third of class timeout.
func failingBatch(t *testing.T, rdb redis.UniversalClient, name string, n int64) *batch.Ledger {
	t.Helper()
	l := batch.NewLedger(rdb)
	if _, err := l.Create(t.Context(), name, batch.Options{Type: "sleep", Lane: "sleep", TimeoutMS: 1000, Retries: 2, KeepMS: 3_600_000}); err != nil {
		t.Fatal(err)
	}
	for seq := range n {
		o := &batch.Outcome{Seq: seq, State: batch.Failed, Class: batch.Permanent, Error: fmt.Sprintf("no <b>%d</b>", seq), Attempts: 3, MS: 1.5, Worker: "host:1"}
		if seq%3 == 0 {
			o.Class, o.Error = batch.Timeout, "too late"
		}
		payload := fmt.Sprintf(`{"task_number":%d,"seconds":0.01,"note":"<script>alert(1)</script>","password":"hunter2"}`, seq)
		if _, err := l.Record(t.Context(), name, o, 20*time.Millisecond, []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func seal(t *testing.T, l *batch.Ledger, name string, n int64) {
	t.Helper()
	if err := l.Checkpoint(t.Context(), name, 0, n, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Seal(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func TestTheListOfBatchesIsFilteredAndPaged(t *testing.T) {
	client := embedded(t)
	failedBatch(t, client.Redis(), "bad", 9)
	l := batch.NewLedger(client.Redis())
	for i := range 7 {
		if _, err := l.Create(t.Context(), fmt.Sprint("open-", i), batch.Options{Type: "http", Lane: "l"}); err != nil {
			t.Fatal(err)
		}
	}
	s := siteOf(t, client, nil)
	var v struct {
		Total, Matching, Page, Pages int
		Counts                       map[string]int
		Rows                         []BatchLine
	}
	s.get("/api/batches?per=5&page=1", 200, &v)
	if v.Total != 8 || v.Matching != 8 || v.Pages != 2 || v.Page != 1 || len(v.Rows) != 3 || v.Counts["running"] != 7 || v.Counts["failed"] != 1 {
		t.Errorf("%+v", v)
	}
	if last := v.Rows[2]; last.Batch != "bad" || !last.Over || last.State != "done" || last.Failed != 9 || last.N != 9 || last.Waiting != 0 {
		t.Errorf("what is over comes last: %+v", v.Rows)
	}
	for query, want := range map[string]int{"q=open": 7, "q=sleep": 1, "q=none": 0, "state=done": 1, "state=failed": 1, "state=paused": 0, "q=OPEN-3": 1} {
		if s.get("/api/batches?"+query, 200, &v); v.Matching != want {
			t.Errorf("%s: %d, want %d", query, v.Matching, want)
		}
	}
	order := func(by string) (names []string) {
		s.get("/api/batches?sort="+by, 200, &v)
		for _, row := range v.Rows {
			names = append(names, row.Batch)
		}
		return names
	}
	byName := []string{"bad", "open-0", "open-1", "open-2", "open-3", "open-4", "open-5", "open-6"}
	if got := order("name"); !slices.Equal(got, byName) {
		t.Errorf("by name: %v", got)
	}
	if got := order("created"); got[0] == "bad" || got[7] != "bad" {
		t.Errorf("the newest first: %v", got)
	}
	if got := order("failed"); got[0] != "bad" {
		t.Errorf("by failures: %v", got)
	}
	if err := l.Checkpoint(t.Context(), "open-4", 0, 3, ""); err != nil {
		t.Fatal(err)
	}
	conntest.Eventually(t, 30*time.Second, "the one with most waiting comes first", func(context.Context) bool { return order("waiting")[0] == "open-4" })
	if _, err := l.Record(t.Context(), "open-2", &batch.Outcome{Seq: 0, State: batch.OK, Attempts: 1}, 0, nil); err != nil {
		t.Fatal(err)
	}
	conntest.Eventually(t, 30*time.Second, "the one with the highest rate comes first", func(context.Context) bool { return order("rate")[0] == "open-2" })
	conntest.Eventually(t, 30*time.Second, "failures are told by class with a sample", func(context.Context) bool {
		s.get("/api/batches?q=bad", 200, &v)
		f := v.Rows[0].Failures
		return f.Counted == 9 && f.Total == 9 && len(f.Classes) == 2 && *f.Classes[0] == classCount{batch.Permanent, 6, 1, "no <b>1</b>"}
	})
	client.Redis().HSet(t.Context(), "weir:{open-5}:batch", "format", 99)
	conntest.Eventually(t, 30*time.Second, "a batch that cannot be read is shown as that, beside the others", func(context.Context) bool {
		s.get("/api/batches?q=open", 200, &v)
		return v.Matching == 7 && v.Counts["unreadable"] == 1 && v.Counts["running"] == 6
	})
	client.Redis().Del(t.Context(), "weir:{open-3}:batch")
	conntest.Eventually(t, 30*time.Second, "a batch that has gone is no longer shown", func(context.Context) bool {
		s.get("/api/batches", 200, &v)
		return v.Total == 7
	})
}

func TestFailuresAreFilteredSearchedAndPaged(t *testing.T) {
	client := embedded(t)
	l := failingBatch(t, client.Redis(), "bad", 120)
	s := siteOf(t, client, nil)
	var p struct {
		Counted, Total, Matching, Page, Pages int
		Rows                                  []batch.Outcome
	}
	conntest.Eventually(t, 30*time.Second, "all are counted", func(context.Context) bool {
		s.get("/api/batches/bad/failures", 200, &p)
		return p.Counted == 120
	})
	for _, c := range []struct {
		query                 string
		matching, page, first int
		rows                  int
	}{
		{"", 120, 0, 0, 50},
		{"page=2", 120, 2, 100, 20},
		{"page=99", 120, 2, 100, 20},
		{"page=-1&per=0", 120, 0, 0, 1},
		{"class=timeout&per=10&page=1", 40, 1, 30, 10},
		{"class=permanent&q=" + "%3Cb%3E1%3C/b%3E", 1, 0, 1, 1},
		{"q=too+late", 40, 0, 0, 40},
		{"q=Too+late", 0, 0, -1, 0}, // as --match of producer failures
		{"class=panic", 0, 0, -1, 0},
	} {
		s.get("/api/batches/bad/failures?"+c.query, 200, &p)
		if p.Matching != c.matching || p.Page != c.page || len(p.Rows) != c.rows || c.rows > 0 && p.Rows[0].Seq != int64(c.first) {
			t.Errorf("%s: matching %d, page %d, %d rows %+v", c.query, p.Matching, p.Page, len(p.Rows), p.Rows[:min(1, len(p.Rows))])
		}
	}
	_, body := s.do("GET", "/api/batches/bad/failures")
	if strings.Contains(body, "<script>") || strings.Contains(body, "hunter2") || !strings.Contains(body, `\u003cscript\u003e`) {
		t.Errorf("payloads are not as they may be shown: %s", body[:400])
	}
	if _, err := l.Record(t.Context(), "bad", &batch.Outcome{Seq: 7000, State: batch.Failed, Class: batch.Crashed}, 0, nil); err != nil {
		t.Fatal(err)
	}
	conntest.Eventually(t, 30*time.Second, "one more is found", func(context.Context) bool {
		s.get("/api/batches/bad/failures?class=crashed", 200, &p)
		return p.Matching == 1 && p.Total == 121
	})
	s.get("/api/batches/none/failures", 404, nil)
	s.get("/api/batches/none", 404, nil)
}

func TestABatchAndItsTasksAreTold(t *testing.T) {
	client := embedded(t)
	failedBatch(t, client.Redis(), "bad", 3)
	s := siteOf(t, client, nil)
	var b struct {
		Batch, State, Shown string
		Over                bool
		N, Failed, Attempts int
		Series              map[string][]*float64
	}
	s.get("/api/batches/bad", 200, &b)
	if b.Batch != "bad" || b.Shown != "done" || !b.Over || b.N != 3 || b.Failed != 3 || b.Attempts != 3 || len(b.Series["t"]) != 1 || *b.Series["failed"][0] != 3 {
		t.Errorf("%+v", b)
	}
	var story struct {
		Place   string
		WaitMS  float64 `json:"wait_ms"`
		Outcome *batch.Outcome
		Payload map[string]any
	}
	s.get("/api/batches/bad/tasks/1", 200, &story)
	if story.Place != "ended" || story.Outcome == nil || story.Outcome.Worker != "host:1" || story.Outcome.Attempts != 3 || story.WaitMS != 20 || story.Payload["password"] != "***" {
		t.Errorf("%+v", story)
	}
	for _, seq := range []string{"3", "-1", "99999999999999999999"} {
		if res, _ := s.do("GET", "/api/batches/bad/tasks/"+seq); res.StatusCode/100 != 4 {
			t.Errorf("task %s: %s", seq, res.Status)
		}
	}
}

func TestActionsOnBatchesHaveTheirEffect(t *testing.T) {
	client := embedded(t)
	l := batch.NewLedger(client.Redis())
	if _, err := l.Create(t.Context(), "b", batch.Options{Type: "sleep", Lane: "sleep", KeepMS: 3_600_000}); err != nil {
		t.Fatal(err)
	}
	seal(t, l, "b", 5)
	retried := make(chan string, 1)
	s := siteOf(t, client, func(o *Options) {
		o.Retry = func(_ context.Context, of string, class batch.Class, match string) (string, func(context.Context) error, error) {
			return of + "-again", func(context.Context) error { retried <- fmt.Sprint(of, class, match); return nil }, nil
		}
	})
	info := func() *batch.Info {
		i, err := l.Info(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if s.post("/api/batches/b/pause", "{}", 200); !info().Paused {
		t.Error("it is not paused")
	}
	if s.post("/api/batches/b/resume", "{}", 200); info().Paused {
		t.Error("it is still paused")
	}
	s.post("/api/batches/b/retry", "{}", 409) // it runs
	s.post("/api/batches/b/dance", "{}", 400)
	s.post("/api/batches/none/cancel", "{}", 404)
	if s.post("/api/batches/b/cancel", "{}", 200); info().Cancelled != 5 {
		t.Errorf("it is not cancelled: %+v", info())
	}
	s.post("/api/batches/b/cancel", "{}", 409)
	s.post("/api/batches/b/pause", "{}", 409)
	s.post("/api/batches/b/retry", "{}", 409) // nothing failed
	failedBatch(t, client.Redis(), "bad", 3)
	if a := s.post("/api/batches/bad/retry", `{"class":"timeout","match":"late"}`, 200); a.Batch != "bad-again" || <-retried != "badtimeoutlate" {
		t.Errorf("%+v", a)
	}
	s.post("/api/batches/bad/retry", `{"klass":"timeout"}`, 400)
}

func TestActionsOnLanesHaveTheirEffect(t *testing.T) {
	client := embedded(t)
	s := siteOf(t, client, nil)
	conf := func() governor.Config {
		c, err := governor.LoadConfig(t.Context(), client.Redis(), "api.example.com")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	s.post("/api/lanes/api.example.com", `{"rate":"600/m","max":20,"min":2,"weight":3,"shards":12,"pause":true}`, 200)
	if got, want := conf(), (governor.Config{Rate: 10, Max: 20, Min: 2, Paused: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	s.post("/api/lanes/api.example.com", `{"resume":true,"max":0}`, 200)
	if got, want := conf(), (governor.Config{Rate: 10, Min: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{`{"rate":"fast"}`, `{"max":1}`, `{"weight":101}`, `{"shards":65}`, `{"limit":-1}`, `{"limits":1}`, `[]`, `{"max":"20"}`} {
		if a := s.post("/api/lanes/api.example.com", bad, 400); a.Error == "" {
			t.Errorf("%s: no reason", bad)
		}
	}
	s.post("/api/lanes/%7Bx%7D", `{}`, 400)
	if got, want := conf(), (governor.Config{Rate: 10, Min: 2}); got != want {
		t.Errorf("after refusals: %+v, want %+v", got, want)
	}
	var v struct {
		Weight int
		Shards int
		Config struct{ Rate, Min float64 }
	}
	s.get("/api/lanes/api.example.com", 200, &v)
	if v.Weight != 3 || v.Shards != 12 || v.Config.Rate != 10 || v.Config.Min != 2 {
		t.Errorf("%+v", v)
	}
	s.get("/api/lanes/none", 404, nil)
}

// What another site can make a browser send, and what no page of ours sends, does nothing.
func TestActionsAreGuarded(t *testing.T) {
	client := embedded(t)
	l := batch.NewLedger(client.Redis())
	if _, err := l.Create(t.Context(), "b", batch.Options{Type: "sleep", Lane: "sleep"}); err != nil {
		t.Fatal(err)
	}
	s := siteOf(t, client, nil)
	for _, from := range []string{"Sec-Fetch-Site: cross-site", "Origin: http://evil.example", "Origin: null", "Host: evil.example"} {
		for _, path := range []string{"/api/batches/b/pause", "/api/lanes/sleep"} {
			if res, _ := s.do("POST", path, from, "Content-Type: application/json"); res.StatusCode != 403 {
				t.Errorf("POST %s with %s: %s", path, from, res.Status)
			}
		}
	}
	if res, _ := s.do("POST", "/api/lanes/sleep", "Content-Type: text/plain"); res.StatusCode != 400 {
		t.Errorf("as a form: %s", res.Status)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if res, _ := s.do(method, "/api/batches/b/pause", "Content-Type: application/json"); res.StatusCode/100 != 4 {
			t.Errorf("%s: %s", method, res.Status)
		}
	}
	shows := siteOf(t, client, func(o *Options) { o.Actions = false })
	if a := shows.post("/api/batches/b/cancel", "{}", 403); !strings.Contains(a.Error, "--actions=on") {
		t.Errorf("it does not say how: %+v", a)
	}
	shows.post("/api/lanes/sleep", `{"max":1}`, 403)
	if i, err := l.Info(t.Context(), "b"); err != nil || i.Paused || i.Phase != batch.Open {
		t.Errorf("%+v, %v", i, err)
	}
	if names, _ := governor.Configured(t.Context(), client.Redis()); len(names) != 0 {
		t.Errorf("configured: %v", names)
	}
}

func TestOf100000FailuresAPageComesWithinASecond(t *testing.T) {
	client := onServer(t, conntest.Server(t))
	l := failedBatch(t, client.Redis(), "many", 1)
	const n = 100_000
	for from := int64(1); from < n; from += 5000 {
		letters := make([]any, 0, 10_000)
		for seq := from; seq < min(n, from+5000); seq++ {
			letters = append(letters, seq, fmt.Sprintf(`{"seq":%d,"state":"failed","error":"answer %d","class":"permanent","attempts":1,"ms":1,"payload":{"task_number":%d}}`, seq, seq%1000, seq))
		}
		if err := client.Redis().HSet(t.Context(), "weir:{many}:dead", letters...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if seqs, err := l.FailedSeqs(t.Context(), "many"); err != nil || len(seqs) != n {
		t.Fatal(len(seqs), err)
	}
	s := siteOf(t, client, nil)
	var p struct{ Counted, Total, Matching, Pages int }
	within := func(what, path string) {
		t.Helper()
		began := time.Now()
		s.get(path, 200, &p)
		took := time.Since(began)
		t.Logf("%s: %v", what, took)
		if took > 5*time.Second { // with the race detector, and others on the machine
			t.Errorf("%s took %v", what, took)
		}
	}
	within("the first page", "/api/batches/many/failures")
	if p.Total != n || p.Pages != 2000 {
		t.Errorf("%+v", p)
	}
	within("the last page", "/api/batches/many/failures?page=1999")
	conntest.Eventually(t, 60*time.Second, "all are counted", func(context.Context) bool {
		s.get("/api/batches/many/failures", 200, &p)
		return p.Counted == n
	})
	within("a page of a search", "/api/batches/many/failures?q=answer+77&page=3")
	if p.Matching != n/1000*11 { // 77 and 770 to 779
		t.Errorf("%+v", p)
	}
}

// events reads server-sent events until the stream ends.
func (s *site) events(ctx context.Context, query string, each func(event, data string)) {
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/api/live?"+query, nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		if ctx.Err() == nil {
			s.t.Error(err)
		}
		return
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		s.t.Errorf("content type %q", got)
	}
	event := ""
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if name, ok := bytes.CutPrefix(lines.Bytes(), []byte("event: ")); ok {
			event = string(name)
		}
		if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
			each(event, string(data))
		}
	}
}

// commands is how many commands Redis has run.
func commands(t *testing.T, rdb redis.UniversalClient) int64 {
	t.Helper()
	text, err := rdb.Info(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "total_commands_processed:")
	number, _, _ := strings.Cut(rest, "\r")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Twenty pages cost Redis what one does, and none costs nothing; a thousand batches and a
// thousand lanes cost it little.
func TestLookingIsSharedAndBounded(t *testing.T) {
	server := conntest.Server(t)
	client := onServer(t, server)
	rdb := server.Client()
	l := batch.NewLedger(rdb)
	enqueue := asynq.NewClientFromRedisClient(rdb)
	for i := range 1000 {
		if _, err := l.Create(t.Context(), fmt.Sprint("batch-", i), batch.Options{Type: "http"}); err != nil {
			t.Fatal(err)
		}
		if _, err := enqueue.Enqueue(asynq.NewTask("http", nil), asynq.Queue(fmt.Sprint("lane-", i))); err != nil {
			t.Fatal(err)
		}
	}
	s := siteOf(t, client, nil)
	const span = 4 * time.Second
	// cost is in commands a second, while pages look for a span, and each until it was told twice.
	cost := func(pages int, view string) float64 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		before, began := commands(t, rdb), time.Now()
		var all sync.WaitGroup
		var told atomic.Int64
		for range pages {
			all.Go(func() {
				seen := 0
				s.events(ctx, "view="+view, func(event, data string) {
					if seen++; event != "view" || !json.Valid([]byte(data)) && ctx.Err() == nil { // at the end it is cut off
						t.Errorf("%s: %s", event, data)
					}
					if seen == 2 {
						told.Add(1)
					}
				})
			})
		}
		conntest.Eventually(t, time.Minute, "each page of "+view+" is told twice", func(context.Context) bool {
			return told.Load() == int64(pages) && time.Since(began) > span
		})
		cancel()
		all.Wait()
		return float64(commands(t, rdb)-before) / time.Since(began).Seconds()
	}
	for _, view := range []string{"batches", "lanes", "workers", "redis"} {
		one, twenty := cost(1, view), cost(20, view)
		t.Logf("%s: %.0f commands/s for one page, %.0f for twenty", view, one, twenty)
		if twenty > 4*one+20 { // one look more or less of those that fit into the span
			t.Errorf("%s: twenty pages cost %.0f commands/s, one %.0f", view, twenty, one)
		}
		if one > 15_000 {
			t.Errorf("%s: %.0f commands/s", view, one)
		}
	}
	if nobody := cost(0, ""); nobody > 5 {
		t.Errorf("%.0f commands/s while nobody looks", nobody)
	}
}

func TestLivePagesAreToldOfTroubleAndOfItsEnd(t *testing.T) {
	server := conntest.Server(t)
	s := siteOf(t, onServer(t, server), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan string, 100)
	var all sync.WaitGroup
	all.Go(func() { s.events(ctx, "view=batches", func(event, _ string) { events <- event }) })
	until := func(want string) {
		t.Helper()
		for {
			select {
			case event := <-events:
				if event == want {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("no event %q", want)
			}
		}
	}
	until("view")
	server.Kill()
	until("trouble")
	server.Restart()
	until("view")
	all.Go(func() { s.events(ctx, "view=batch&name=none", func(event, data string) { events <- event + data }) })
	until(`trouble{"error":"batch \"none\": no such batch","missing":true}`)
	if err := s.close(); err != nil { // which ends them
		t.Fatal(err)
	}
	all.Wait()
	if res, _ := s.do("GET", "/api/batches"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after its end: %s", res.Status)
	}
}

func TestAViewThatIsNoneIsRefused(t *testing.T) {
	s := siteOf(t, embedded(t), nil)
	for _, path := range []string{"/api/live", "/api/live?view=secrets"} {
		if res, _ := s.do("GET", path); res.StatusCode != 400 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	for _, path := range []string{"/", "/batches/any", "/batches/any/tasks/1", "/lanes", "/lanes/a.b_80", "/workers", "/redis", "/static/app.css", "/static/pages/batch.js"} {
		if res, body := s.do("GET", path); res.StatusCode != 200 || len(body) < 200 {
			t.Errorf("%s: %s, %d bytes", path, res.Status, len(body))
		}
	}
	for _, path := range []string{"/nothing", "/static/", "/static/../ui.go", "/batches/", "/static/none.js"} {
		if res, _ := s.do("GET", path); res.StatusCode == 200 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	res, _ := s.do("GET", "/static/app.js")
	if again, _ := s.do("GET", "/static/app.js", "If-None-Match: "+res.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("the same file again: %s", again.Status)
	}
}

// asynqmon's page about queues works for a user who may not ask for MEMORY USAGE.
func TestAsynqmonWorksWhereMemoryUsageIsForbidden(t *testing.T) {
	server := conntest.Server(t, "--user", "managed", "on", ">SECRET", "~*", "&*", "+@all", "-memory", "-memory|usage")
	client, err := weir.Open(t.Context(), weir.Options{URL: strings.Replace(server.URL(), "://", "://managed:SECRET@", 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := asynq.NewClientFromRedisClient(client.Redis()).Enqueue(asynq.NewTask("http", nil), asynq.Queue(queue)); err != nil {
		t.Fatal(err)
	}
	if _, err := asynq.NewInspectorFromRedisClient(client.Redis()).GetQueueInfo(queue); err == nil {
		t.Fatal("this user may ask for it: the test shows nothing")
	}
	s := siteOf(t, client, nil)
	var v struct {
		Queues []struct {
			Queue   string
			Pending int
		}
	}
	s.get("/asynq/api/queues", 200, &v)
	if len(v.Queues) != 1 || v.Queues[0].Pending != 1 {
		t.Errorf("%+v", v)
	}
	if err := client.Redis().MemoryUsage(t.Context(), weirqueue.Pending(queue)).Err(); err == nil {
		t.Error("the caller's own client hides it too")
	}
}

func TestEveryViewWorksOnACluster(t *testing.T) {
	client, err := weir.Open(t.Context(), weir.Options{URL: conntest.Cluster(t, 3).URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	failedBatch(t, client.Redis(), "bad", 9)
	if _, err := asynq.NewClientFromRedisClient(client.Redis()).Enqueue(asynq.NewTask("http", nil), asynq.Queue(queue)); err != nil {
		t.Fatal(err)
	}
	s := siteOf(t, client, nil)
	for _, path := range []string{"/api/batches", "/api/batches/bad", "/api/batches/bad/failures", "/api/batches/bad/tasks/3", "/api/lanes",
		"/api/lanes/" + queue, "/api/workers", "/asynq/api/queues", "/asynq/api/redis_info"} {
		s.get(path, 200, nil)
	}
	var v struct {
		Nodes []struct{ Version string }
	}
	if s.get("/api/redis", 200, &v); len(v.Nodes) < 2 || v.Nodes[0].Version == "" {
		t.Errorf("%+v", v)
	}
	s.post("/api/lanes/"+queue, `{"max":3}`, 200)
}
