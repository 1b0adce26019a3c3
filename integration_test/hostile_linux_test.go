package integration_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// hostileMemory is the most that a process may have while all of it is tried, in MB, less
// than the 512 of docker-compose.yml, whose limit for Go's memory it is told.
const hostileMemory = 450

// TestAThousandHostileInputsFitInMemory: records, services and messages in Redis that are
// large, deep, endless or no sense at all. Each record has its outcome, no process grows
// beyond its bound or dies, and what is good among them runs.
func TestAThousandHostileInputsFitInMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "400MiB")
	server := conntest.Server(t)
	url, rdb := server.URL(), server.Client()
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, bytes.Repeat([]byte("x"), 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	worker := startWorker(t, url, "--concurrency", "20", "--max-result", "2MiB", "--allow-file", large, "--allow-exec", "yes=/usr/bin/yes", "--allow-exec", "sh=/bin/sh")
	tried := 0
	run := func(kind, name string, records []string, each func(o batch.Outcome)) {
		t.Helper()
		tried += len(records)
		p := startReading(t, strings.Join(records, "\n")+"\n", url, "run", kind, "--batch", name, "--format", "ndjson", "--retries", "0", "--timeout", "20s", "--quiet")
		if most := peak(p); most > hostileMemory {
			t.Errorf("%s: the producer had %.0f MB", name, most)
		} else {
			t.Logf("%s: %d inputs, the producer had %.0f MB", name, len(records), most)
		}
		r := p.wait()
		for _, o := range bySeq(t, r.outcomes(t), len(records)) {
			each(o)
		}
	}

	run("http", "records", hostileRecords(large), func(o batch.Outcome) {
		if o.State != batch.Failed || o.Class != batch.Invalid || o.Error == "" || len(o.Error) > 1200 {
			t.Errorf("a record: %+.300v", o)
		}
	})

	services := hostileServices(t, 100) // each in a lane of its own, which would slow down
	var requests []string
	ways := []string{"bomb", "endless", "head", "heads", "line", "chunk", "length", "loop", "nothing", "noise"}
	for i := range 300 {
		requests = append(requests, fmt.Sprintf(`{"url":"%s/%s/%d","max_body":1048576,"want_headers":["x"]}`, services[i%len(services)], ways[i%len(ways)], i))
	}
	run("http", "services", requests, func(o batch.Outcome) {
		if endsItself := ways[o.Seq%int64(len(ways))] == "bomb" || ways[o.Seq%int64(len(ways))] == "endless"; endsItself != (o.State == batch.OK) {
			t.Errorf("%s: %+.300v", ways[o.Seq%int64(len(ways))], o)
		}
	})
	run("exec", "commands", []string{
		`{"command":"sh","args":["-c","yes | head -c 300000000"]}`,
		`{"command":"sh","args":["-c","yes | head -c 300000000 >&2; exit 1"]}`,
		`{"command":"sh","args":["-c","head -c 100000000 /dev/zero"]}`,
	}, func(o batch.Outcome) {
		if ok := o.Seq != 1; ok != (o.State == batch.OK) {
			t.Errorf("a command: %+.300v", o)
		}
	})

	tried += pushHostile(t, url, 400)
	eventually(t, long, func() bool {
		return rdb.LLen(t.Context(), "asynq:{jobs}:pending").Val() == 0 && rdb.LLen(t.Context(), "asynq:{jobs}:active").Val() == 0
	}, "what was pushed by hand is seen to")
	for range 3 {
		tried++
		must(t, rdb.HSet(t.Context(), "asynq:{jobs}:t:huge", "msg", strings.Repeat("x", 100<<20), "state", "pending").Err())
		must(t, rdb.LPush(t.Context(), "asynq:{jobs}:pending", "huge").Err())
		eventually(t, long, func() bool {
			n, err := rdb.Exists(t.Context(), "asynq:{jobs}:t:huge").Result()
			return err == nil && n == 0
		}, "a message of 100 MiB is set aside")
	}
	if newest := rdb.LIndex(t.Context(), "weir:{jobs}:quarantine", 0).Val(); !strings.Contains(newest, fmt.Sprintf(`"size":%d`, 100<<20)) {
		t.Errorf("set aside was %.300s", newest)
	}
	allOK(t, producer(t, url, "run", "square", "--repeat", "100").exits(t, 0).outcomes(t), 100)
	if !worker.running() {
		t.Fatal("the worker has died")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", worker.pid()))
	if err != nil {
		t.Fatal(err)
	}
	most := megabytes(string(text), `(?m)^VmHWM:\s+(\d+) kB$`, 1<<10)
	t.Logf("%d hostile inputs; the worker had %.0f MB", tried, most)
	if most > hostileMemory {
		t.Errorf("the worker had %.0f MB, more than %d", most, hostileMemory)
	}
	if tried < 1000 {
		t.Errorf("only %d were tried", tried)
	}
}

// TestABombOfAServiceIsCut: what a service packs into 10 GB of zeros is unpacked as far as the
// largest body goes, and no further.
func TestABombOfAServiceIsCut(t *testing.T) {
	payload := fmt.Sprintf(`{"url":"%s/bomb","max_body":1048576}`, hostileServices(t, 1)[0])
	p := startProducer(t, "", "run", "http", "--payload", payload, "--max-result", "2MiB")
	if used := staysSmall(t, p); used > 64 {
		t.Errorf("10 GB of zeros took %.0f MB of memory", used)
	}
	o := p.wait().exits(t, 0).outcomes(t)[0]
	if o.State != batch.OK || !strings.Contains(string(o.Result), `"truncated":true`) || len(o.Result) < 1<<20 {
		t.Errorf("got %+.300v", o)
	}
}

// hostileRecords are payloads of http that must not pass.
func hostileRecords(large string) []string {
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	member := func(text string) string { return `{"url":"http://h/",` + text + `}` }
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, `"h%d":"v",`, i)
	}
	kinds := []string{
		member(`"body":"` + strings.Repeat("x", 300<<10) + `"`),
		member(`"body":"` + strings.Repeat("x", 2<<20) + `"`), // a line that is too long
		member(`"headers":` + deep(`{"a":`, "}", 30_000)),
		member(`"headers":` + deep("[", "]", 100_000)),
		deep("[", "]", 100_000),
		strings.Repeat("{", 200_000),
		member(`"headers":{` + strings.TrimSuffix(many.String(), ",") + `}`),
		member(`"headers":{"a":"` + strings.Repeat("v", 100_000) + `"}`),
		member(`"headers":{"` + strings.Repeat("n", 100_000) + `":"v"}`),
		member(`"headers":{"a":"b\r\nHost: evil"}`),
		member(`"headers":{"a":"1","A":"2"}`),
		member(`"url":"http://other/"`),
		member(`"max_body":1e999999999`),
		member(`"max_body":` + strings.Repeat("9", 100_000)),
		member(`"max_body":-1`),
		member(`"expect":[` + strings.Repeat(`"200",`, 10_000) + `"200"]`),
		member(`"want_headers":[` + strings.Repeat(`"a",`, 10_000) + `"a"]`),
		member(`"method":"` + strings.Repeat("G", 100_000) + ` /"`),
		member(`"body":"` + "\xff\xfe" + `"`),
		member(`"body":"\ud800"`),
		member(`"body":"` + "\x00" + `"`),
		member(`"` + strings.Repeat("unknown", 10_000) + `":1`),
		`{"url":"http://` + strings.Repeat("h", 100_000) + `/"}`,
		`{"url":"http://h/` + strings.Repeat("%2e", 30_000) + `"}`,
		`{"url":"gopher://h/"}`,
		`{"url":{"$env":"X"}}`,
		member(`"headers":{"a":{"$env":["X"]}}`),
		member(`"body":{"$file":"` + large + `","x":` + deep("[", "]", 50) + `}`),
		`{"url":"http://127.0.0.1:9/","expect":[` + strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"$file":%q},`, large), 2000), ",") + `]}`,
		`{"url":"http://127.0.0.1:9/","want_headers":[` + strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"$file":%q},`, large), 30), ",") + `]}`,
		`{"url":"http://h/"} trailing`,
		`null`,
		"\ufeff\ufeff{}",
		"{}",
	}
	random := rand.New(rand.NewPCG(1, 2))
	var records []string
	for i := range 340 {
		if i%2 == 0 {
			records = append(records, kinds[i/2%len(kinds)])
			continue
		}
		noise := []byte(kinds[random.IntN(len(kinds))])
		noise = noise[:1+random.IntN(min(len(noise), 4096))] // cut in the middle
		for range 1 + random.IntN(8) {
			noise[random.IntN(len(noise))] = byte(33 + random.IntN(200))
		}
		records = append(records, "{"+string(noise))
	}
	return records
}

// hostileServices answer as nobody should. They are n, by their URLs.
func hostileServices(t *testing.T, n int) (urls []string) {
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	if _, err := zip.Write(make([]byte, 32<<20)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	hijacked := func(w http.ResponseWriter, send func(out *bufio.ReadWriter)) {
		conn, out, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		send(out)
		_ = out.Flush()
	}
	endlessly := func(w io.Writer, text string) {
		for range 1 << 16 { // more than anybody should take
			if _, err := io.WriteString(w, strings.Repeat(text, 64)); err != nil {
				return
			}
		}
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch strings.Split(r.URL.Path, "/")[1] {
		case "bomb":
			w.Header().Set("Content-Encoding", "gzip")
			for range 300 { // 10 GB
				if _, err := w.Write(bomb.Bytes()); err != nil {
					return
				}
			}
		case "endless":
			endlessly(w, "x")
		case "head":
			hijacked(w, func(out *bufio.ReadWriter) {
				fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nx: %s\r\n\r\n", strings.Repeat("v", 4<<20))
			})
		case "heads":
			hijacked(w, func(out *bufio.ReadWriter) { endlessly(out, "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n") })
		case "line":
			hijacked(w, func(out *bufio.ReadWriter) { endlessly(out, "HTTP/1.1 200 ") })
		case "chunk":
			hijacked(w, func(out *bufio.ReadWriter) {
				fmt.Fprint(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx")
			})
		case "length":
			hijacked(w, func(out *bufio.ReadWriter) {
				fmt.Fprint(out, "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\nx")
			})
		case "loop":
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		case "nothing":
			hijacked(w, func(*bufio.ReadWriter) {})
		case "noise":
			hijacked(w, func(out *bufio.ReadWriter) { fmt.Fprint(out, "\x00\xff\x16\x03\x01 HTTP/9.9 999\r\n\r\n") })
		}
	})}
	t.Cleanup(func() { server.Close() })
	for i := range n {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", 2+i))
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = server.Serve(listener) }() // ends with Close
		urls = append(urls, "http://"+listener.Addr().String())
	}
	return urls
}

// pushHostile puts into a lane what no client of asynq would, n of it: noise in place of
// messages, messages that are cut off, tasks with payloads that fit no type.
func pushHostile(t *testing.T, url string, n int) int {
	t.Helper()
	ctx := t.Context()
	opts, err := asynq.ParseRedisURI(url)
	if err != nil {
		t.Fatal(err)
	}
	client := asynq.NewClient(opts)
	defer client.Close()
	raw, err := net.Dial("tcp", strings.TrimPrefix(url, "redis://"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	replies := bufio.NewReader(raw)
	do := func(args ...string) {
		fmt.Fprintf(raw, "*%d\r\n", len(args))
		for _, a := range args {
			fmt.Fprintf(raw, "$%d\r\n%s\r\n", len(a), a)
		}
		if line, err := replies.ReadString('\n'); err != nil || line[0] == '-' {
			t.Fatalf("%.100q: %q, %v", args, line, err)
		}
	}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range n {
		id := fmt.Sprintf("hostile-%d", i)
		if i%2 == 0 { // a task as such
			payload := []byte(strings.Repeat(`{"url":`, 1+random.IntN(50_000)))
			if _, err := client.EnqueueContext(ctx, asynq.NewTask("http", payload), asynq.TaskID(id), asynq.Queue("jobs"), asynq.MaxRetry(0)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		noise := make([]byte, random.IntN(1<<17))
		for k := range noise {
			noise[k] = byte(random.Uint32())
		}
		if i%4 == 1 { // a field that says it is 4 GB long
			noise = append([]byte{0x12, 0xff, 0xff, 0xff, 0xff, 0x0f}, noise...)
		}
		do("HSET", "asynq:{jobs}:t:"+id, "msg", string(noise), "state", "pending")
		do("LPUSH", "asynq:{jobs}:pending", id)
	}
	return n
}
