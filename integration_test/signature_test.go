package integration_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// keyFile writes a file of keys, each NAME or NAME=SECRET; a secret is made of its name.
func keyFile(t *testing.T, names ...string) string {
	t.Helper()
	var text strings.Builder
	for _, name := range names {
		name, secret, other := strings.Cut(name, "=")
		if !other {
			secret = name
		}
		fmt.Fprintln(&text, name, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%-32s", secret)))
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// signing is a Redis, and a service that keeps which paths it was asked for.
type signing struct {
	t       *testing.T
	url     string
	rdb     redis.UniversalClient
	service *httptest.Server
	mu      sync.Mutex
	asked   map[string]int
}

func newSigning(t *testing.T) *signing {
	t.Parallel()
	server := conntest.Server(t)
	s := &signing{t: t, url: server.URL(), rdb: server.Client(), asked: make(map[string]int)}
	s.service = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked[r.URL.Path]++
		if strings.HasPrefix(r.URL.Path, "/bad") {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.service.Close)
	return s
}

func (s *signing) strict(keys ...string) *proc {
	s.t.Helper()
	return startWorker(s.t, s.url, "--require-signature", "--verify-keys", keyFile(s.t, keys...))
}

// wasAsked says for which path, and forgets it.
func (s *signing) wasAsked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer delete(s.asked, path)
	return s.asked[path]
}

// enqueue enqueues requests for /PATH0 to /PATH(n-1) that wait in one lane.
func (s *signing) enqueue(name, path string, n int, flags ...string) {
	s.t.Helper()
	producer(s.t, s.url, append([]string{"enqueue", "http", "--batch", name, "--lane", "jobs", "--retries", "0",
		"--repeat", fmt.Sprint(n), "--payload", fmt.Sprintf(`{"url": %q}`, s.service.URL+"/"+path+"{n}")}, flags...)...).exits(s.t, 0)
}

func taskKey(name string, seq int) string { return fmt.Sprintf("asynq:{jobs}:t:%s:%d", name, seq) }

// alter changes a message as whoever can write to Redis may.
func (s *signing) alter(name string, seq int, change func([]byte) []byte) {
	s.t.Helper()
	msg, err := s.rdb.HGet(s.t.Context(), taskKey(name, seq), "msg").Bytes()
	if err != nil {
		s.t.Fatal(err)
	}
	altered := change(bytes.Clone(msg))
	if bytes.Equal(msg, altered) {
		s.t.Fatalf("nothing of %q was altered", msg)
	}
	if err := s.rdb.HSet(s.t.Context(), taskKey(name, seq), "msg", altered).Err(); err != nil {
		s.t.Fatal(err)
	}
}

func rejected(t *testing.T, o batch.Outcome, why string) {
	t.Helper()
	if o.State != batch.Failed || o.Class != batch.Rejected || o.Attempts != 0 || !strings.Contains(o.Error, why) {
		t.Errorf("got %+v, want it rejected: %s", o, why)
	}
}

// TestAWorkerThatWantsSignaturesRunsNothingElse: unsigned, altered, by a stranger's key,
// under another task's ID, pushed by hand.
func TestAWorkerThatWantsSignaturesRunsNothingElse(t *testing.T) {
	s := newSigning(t)
	key := []string{"--sign-key", keyFile(t, "k1")}
	s.enqueue("signed", "signed", 7, key...)
	s.enqueue("unsigned", "unsigned", 2)
	s.enqueue("stranger", "stranger", 2, "--sign-key", keyFile(t, "k1=guessed"))
	s.enqueue("unknown", "unknown", 2, "--sign-key", keyFile(t, "k9"))

	s.alter("signed", 1, func(b []byte) []byte { return bytes.Replace(b, []byte("/signed1"), []byte("/evil001"), 1) })
	s.alter("signed", 2, func(b []byte) []byte { return bytes.Replace(b, []byte("http"), []byte("exec"), 1) })
	s.alter("signed", 3, func(b []byte) []byte { // another one's, with its signature
		other, err := s.rdb.HGet(t.Context(), taskKey("signed", 4), "msg").Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Replace(other, []byte("signed:4"), []byte("signed:3"), 1)
	})
	s.alter("signed", 5, func(b []byte) []byte { // as if it had never been signed
		return bytes.Replace(b, []byte("weir-signature"), []byte("weir-sIgnature"), 1)
	})
	byHand := asynq.NewClientFromRedisClient(s.rdb)
	for id, headers := range map[string]map[string]string{"plain": nil, "signed:9": {"weir": "1"}, "nobatch:0": {"weir": "1"}} {
		task := asynq.NewTaskWithHeaders("http", fmt.Appendf(nil, `{"url":"%s/byhand"}`, s.service.URL), headers)
		if _, err := byHand.Enqueue(task, asynq.TaskID(id), asynq.Queue("jobs")); err != nil {
			t.Fatal(err)
		}
	}

	worker := s.strict("k1")
	all := bySeq(t, producer(t, s.url, "follow", "signed").exits(t, 1).outcomes(t), 7)
	for _, seq := range []int64{0, 4, 6} {
		if o := all[seq]; o.State != batch.OK || s.wasAsked(fmt.Sprintf("/signed%d", seq)) != 1 {
			t.Errorf("got %+v", o)
		}
	}
	for _, seq := range []int64{1, 2, 3} {
		rejected(t, all[seq], "was altered")
	}
	rejected(t, all[5], "is not signed")
	for name, why := range map[string]string{"unsigned": "is not signed", "stranger": "does not fit it", "unknown": "key k9, which is not known"} {
		for _, o := range bySeq(t, producer(t, s.url, "follow", name).exits(t, 1).outcomes(t), 2) {
			rejected(t, o, why)
		}
	}
	worker.logs("a plain asynq task is not run")
	eventually(t, long, func() bool { return s.rdb.LLen(t.Context(), "asynq:{jobs}:pending").Val() == 0 }, "all are seen to")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) != 0 {
		t.Errorf("the service was asked for %v", s.asked)
	}
}

// TestSignedTasksGoTheirWay: paused and resumed, repaired, of a worker that was killed,
// failed and retried, while keys are changed.
func TestSignedTasksGoTheirWay(t *testing.T) {
	s := newSigning(t)
	old, both := keyFile(t, "old"), keyFile(t, "new", "old")
	const n = 20
	s.enqueue("b", "bad", n, "--sign-key", old)
	producer(t, s.url, "pause", "b").exits(t, 0)
	producer(t, s.url, "resume", "b").exits(t, 0)
	for seq := range 5 { // lost
		s.rdb.Del(t.Context(), taskKey("b", seq))
		s.rdb.LRem(t.Context(), "asynq:{jobs}:pending", 0, fmt.Sprintf("b:%d", seq))
	}
	producer(t, s.url, "repair", "b", "http", "--repeat", fmt.Sprint(n), "--payload", fmt.Sprintf(`{"url": %q}`, s.service.URL+"/bad{n}"), "--sign-key", both).
		exits(t, 0).says(t, "5 tasks were missing, 0 are")
	worker := s.strict("new", "old")
	for _, o := range bySeq(t, producer(t, s.url, "follow", "b").exits(t, 1).outcomes(t), n) {
		if o.Class != batch.Permanent || s.wasAsked(fmt.Sprintf("/bad%d", o.Seq)) != 1 {
			t.Errorf("got %+v", o)
		}
	}
	worker.kill()

	// What is signed again is what its producer has signed, and not what somebody has put
	// into its dead letter.
	letter := s.rdb.HGet(t.Context(), "weir:{b}:dead", "3").Val()
	if !strings.Contains(letter, "/bad3") {
		t.Fatalf("the dead letter is %s", letter)
	}
	s.rdb.HSet(t.Context(), "weir:{b}:dead", "3", strings.Replace(letter, "/bad3", "/evil", 1))
	if shown := producer(t, s.url, "failures", "b").exits(t, 0).stdout; strings.Contains(shown, "signature") {
		t.Errorf("failures shows signatures:\n%.300s", shown)
	}
	s.strict("new")
	all := bySeq(t, producer(t, s.url, "retry", "b", "--sign-key", both).exits(t, 1).outcomes(t), n)
	for _, o := range all {
		switch {
		case o.Seq == 3 && (o.Class != batch.Invalid || !strings.Contains(o.Error, "cannot be signed again")):
			t.Errorf("an altered dead letter: %+v", o)
		case o.Seq != 3 && o.Class != batch.Permanent:
			t.Errorf("got %+v", o)
		}
	}
	if s.wasAsked("/evil") != 0 {
		t.Error("an altered dead letter has run")
	}
	for _, o := range producer(t, s.url, "retry", "b", "--batch", "without").exits(t, 1).outcomes(t) {
		rejected(t, o, "is not signed")
	}
}

// TestASignatureIsGoodForItsTime: a task that waits longer is not run, and can be retried.
func TestASignatureIsGoodForItsTime(t *testing.T) {
	s := newSigning(t)
	key := keyFile(t, "k")
	s.enqueue("b", "x", 3, "--sign-key", key, "--sign-for", "1s")
	time.Sleep(2 * time.Second) // signatures are on the clock
	s.strict("k")
	for _, o := range bySeq(t, producer(t, s.url, "follow", "b").exits(t, 1).outcomes(t), 3) {
		rejected(t, o, "has expired")
	}
	for _, o := range bySeq(t, producer(t, s.url, "retry", "b", "--sign-key", key).exits(t, 0).outcomes(t), 3) {
		if s.wasAsked(fmt.Sprintf("/x%d", o.Seq)) != 1 {
			t.Errorf("%d has not run once", o.Seq)
		}
	}
}

// TestKeysAreRefusedThatOthersCanRead, by producer and worker, before anything is done.
func TestKeysAreRefusedThatOthersCanRead(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	open := keyFile(t, "k")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"run", "square", "--payload", `{"n":1}`, "--sign-key", open},
		{"enqueue", "square", "--payload", `{"n":1}`, "--sign-key", open},
	} {
		producer(t, url, args...).exits(t, 2).says(t, "mode 0644: others may read or write it; chmod 600")
	}
	start(t, command("worker", url, "--verify-keys", open)).wait().exits(t, 2).says(t, "mode 0644")
	start(t, command("worker", url, "--require-signature")).wait().exits(t, 2).says(t, "--require-signature needs --verify-keys FILE")
	var batches []json.RawMessage
	for line := range strings.Lines(producer(t, url, "status", "--json").exits(t, 0).stdout) {
		batches = append(batches, json.RawMessage(line))
	}
	if len(batches) != 0 {
		t.Errorf("batches were begun: %s", batches)
	}
}

// TestAWorkerMayVerifyWithoutRequiring, while producers learn to sign: what is not signed
// runs, what is altered does not.
func TestAWorkerMayVerifyWithoutRequiring(t *testing.T) {
	s := newSigning(t)
	s.enqueue("unsigned", "u", 1)
	s.enqueue("signed", "s", 2, "--sign-key", keyFile(t, "k"))
	s.alter("signed", 1, func(b []byte) []byte { return bytes.Replace(b, []byte("/s1"), []byte("/e1"), 1) })
	startWorker(t, s.url, "--verify-keys", keyFile(t, "k"))
	allOK(t, producer(t, s.url, "follow", "unsigned").exits(t, 0).outcomes(t), 1)
	all := bySeq(t, producer(t, s.url, "follow", "signed").exits(t, 1).outcomes(t), 2)
	if all[0].State != batch.OK {
		t.Errorf("got %+v", all[0])
	}
	rejected(t, all[1], "was altered")
}
