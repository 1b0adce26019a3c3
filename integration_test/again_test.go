package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

// What failed is seen with its payload, sorted by class and text, and run again as a
// batch of its own when the cause is mended.
func TestFailedTasksAreRunAgainAsANewBatch(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case mended.Load():
		case strings.HasPrefix(r.URL.Path, "/gone"):
			w.WriteHeader(http.StatusNotFound)
		case strings.HasPrefix(r.URL.Path, "/broken"):
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer service.Close()
	url := conntest.Server(t).URL()
	startWorker(t, url)
	var urls strings.Builder
	for i := range 60 {
		fmt.Fprintf(&urls, "%s/%s/%d\n", service.URL, []string{"gone", "good", "broken"}[i%3], i)
	}
	urls.WriteString("no url\n")
	producerReading(t, urls.String(), url, "run", "http", "--batch", "b", "--retries", "0").exits(t, 1)

	for args, want := range map[string]int{
		"": 41, "--class permanent": 20, "--class exhausted": 20, "--class invalid": 1, "--class timeout": 0,
		"--match 404": 20, "--class permanent --match 500": 0,
	} {
		r := producer(t, url, append([]string{"failures", "b"}, strings.Fields(args)...)...).exits(t, 0)
		all := outcomes(t, r.stdout)
		if len(all) != want {
			t.Errorf("failures %s: %d, want %d", args, len(all), want)
		}
		for i, o := range all {
			if o.State != batch.Failed || len(o.Payload) == 0 || i > 0 && o.Seq <= all[i-1].Seq {
				t.Errorf("failures %s: %+v", args, o)
			}
		}
	}

	r := producer(t, url, "retry", "b", "--class", "permanent").exits(t, 1) // not mended yet
	r.says(t, "batch b-retry: done")
	mended.Store(true)
	r = producer(t, url, "retry", "b", "--class", "permanent", "--ordered").exits(t, 0)
	r.says(t, "batch b-retry-2: done")
	allOK(t, outcomes(t, r.stdout), 20)
	r = producer(t, url, "retry", "b").exits(t, 1)
	r.says(t, "ok 40 + failed 1", "failed: invalid 1")

	producer(t, url, "retry", "b-retry-2").exits(t, 0).says(t, "batch b-retry-2: nothing failed, there is nothing to retry")
	producer(t, url, "retry", "nope").exits(t, 2).says(t, `batch "nope": no such batch`)
	producer(t, url, "failures", "nope").exits(t, 2).says(t, `batch "nope": no such batch`)
	waiting := producer(t, url, "enqueue", "sleep", "--batch", "c", "--payload", `{"task_number":1,"seconds":60}`)
	waiting.exits(t, 0)
	producer(t, url, "retry", "c").exits(t, 2).says(t, `batch "c" still runs; wait for its end (producer follow c), or cancel it`)
}

// Tasks that were taken out of Redis by hand, or that it knows of but nobody would run,
// come back from the input.
func TestRepairEnqueuesWhatIsMissing(t *testing.T) {
	t.Parallel()
	const n = 200
	server := conntest.Server(t)
	url, rdb := server.URL(), server.Client()
	repeat := func(n int) []string { return []string{"square", "--repeat", fmt.Sprint(n)} }
	producer(t, url, append([]string{"enqueue", "--batch", "b"}, repeat(n)...)...).exits(t, 0)
	for seq := range 30 {
		id := batch.TaskID("b", int64(seq*6))
		must(t, rdb.LRem(t.Context(), queue.Pending("square"), 0, id).Err())
		switch seq % 3 {
		case 0:
			must(t, rdb.Del(t.Context(), queue.TaskPrefix("square")+id).Err())
		case 1: // a ghost
		case 2:
			must(t, rdb.HSet(t.Context(), queue.TaskPrefix("square")+id, "state", "archived").Err())
			must(t, rdb.Do(t.Context(), "ZADD", queue.Archived("square"), 1, id).Err())
		}
	}
	if s := status(t, url, "b"); s.Pending != n-30 || s.Missing != 30 {
		t.Errorf("%+v", s)
	}

	repair := func(n int) []string { return append([]string{"repair", "b"}, repeat(n)...) }
	producer(t, url, repair(n-1)...).exits(t, 2).says(t, "and now has 199")
	producer(t, url, "repair", "b", "fibonacci", "--repeat", "5").exits(t, 2).says(t, `batch "b" is of type square, not fibonacci`)
	producer(t, url, "repair", "nope", "square", "--repeat", "5").exits(t, 2).says(t, `batch "nope": no such batch`)
	if s := status(t, url, "b"); s.Missing != 30 {
		t.Errorf("refused, repair has changed the batch: %+v", s)
	}

	producer(t, url, repair(n)...).exits(t, 0).says(t, "30 tasks were missing, 0 are")
	producer(t, url, repair(n)...).exits(t, 0).says(t, "0 tasks were missing, 0 are")
	producer(t, url, repair(n+1)...).exits(t, 2).says(t, "it had 200 records, and now has more")
	startWorker(t, url)
	allOK(t, producer(t, url, "follow", "b").exits(t, 0).outcomes(t), n)
	producer(t, url, repair(n)...).exits(t, 0).says(t, "every task has its outcome, there is nothing to repair")
}

// A paused batch's running tasks finish, no other begins; resumed, it goes on.
func TestAPausedBatchGoesOnWhenItIsResumed(t *testing.T) {
	t.Parallel()
	const n = 2500
	url := conntest.Server(t).URL()
	startWorker(t, url, "--concurrency", "5")
	p := startProducer(t, url, "run", "sleep", "--batch", "b", "--repeat", fmt.Sprint(n), "--window", "50", "--payload", sleepOf(20*time.Millisecond))
	p.prints(20)
	producer(t, url, "pause", "b").exits(t, 0).says(t, "paused: producer resume b goes on with it")
	awaitStanding(t, url, "b", "what ran has finished", func(s standing) bool { return s.Active == 0 && s.Pending == 0 })
	before := status(t, url, "b")
	time.Sleep(3 * time.Second) // nothing happens
	if now := status(t, url, "b"); now.OK != before.OK || now.Read != before.Read || !p.running() {
		t.Errorf("paused, it went from %+v to %+v", before, now)
	}
	producer(t, url, "resume", "b").exits(t, 0)
	allOK(t, p.wait().exits(t, 0).outcomes(t), n)
	producer(t, url, "pause", "b").exits(t, 2).says(t, `batch "b" is over; there is nothing to pause`)
	producer(t, url, "resume", "nope").exits(t, 2).says(t, `batch "nope": no such batch`)
}

// At its deadline a batch ends: each task has its outcome, those that did not come to
// theirs are failed and expired. Also without any worker.
func TestADeadlineEndsABatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		workers int
		args    []string
	}{
		{"slow tasks", 1, []string{"--repeat", "100", "--payload", sleepOf(700 * time.Millisecond)}},
		{"no worker", 0, []string{"--repeat", "100", "--payload", sleepOf(time.Millisecond)}},
		{"long backoff", 1, []string{"--repeat", "3", "--payload", `{"task_number":1,"seconds":0,"fail":"unexpected"}`, "--backoff", "1h"}},
		{"endless input", 1, []string{"--repeat", "1000000000", "--window", "20", "--payload", sleepOf(100 * time.Millisecond)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := conntest.Server(t).URL()
			for range c.workers {
				startWorker(t, url, "--concurrency", "5")
			}
			r := producer(t, url, append([]string{"run", "sleep", "--batch", "b", "--deadline", "2s"}, c.args...)...).exits(t, 1)
			all := r.outcomes(t)
			states := map[string]int{}
			for _, o := range bySeq(t, all, len(all)) {
				states[fmt.Sprint(o.State, o.Class)]++
			}
			t.Logf("%v in %v", states, r.took)
			if states["ok"]+states["failedexpired"] != len(all) || states["failedexpired"] == 0 || r.took > 20*time.Second {
				t.Errorf("%v in %v", states, r.took)
			}
			s := status(t, url, "b")
			s.addsUp(t)
			if s.Read != int64(len(all)) || s.Pending+s.Active+s.Retry+s.Scheduled != 0 {
				t.Errorf("%d outcomes, %+v", len(all), s)
			}
			failed := outcomes(t, producer(t, url, "failures", "b", "--class", "expired").exits(t, 0).stdout)
			for _, o := range failed {
				if len(o.Payload) == 0 {
					t.Errorf("seq %d is kept without its payload", o.Seq)
				}
			}
		})
	}
}

// Followers of one batch do not take from each other; one that dies goes on with its
// file.
func TestFollowersGoOnAndShareNothing(t *testing.T) {
	t.Parallel()
	const n = 3000
	url := conntest.Server(t).URL()
	producer(t, url, "enqueue", "sleep", "--batch", "b", "--repeat", fmt.Sprint(n), "--window", fmt.Sprint(n), "--payload", sleepOf(5*time.Millisecond)).exits(t, 0)
	file := filepath.Join(t.TempDir(), "out")
	follow := []string{"follow", "b", "--out", file}
	other := startProducer(t, url, "follow", "b", "--ordered")
	startWorker(t, url, "--concurrency", "10")
	for _, lines := range []int{100, 1000, 2000} {
		p := startProducer(t, url, follow...)
		eventually(t, long, func() bool { return linesOf(file) >= lines }, "outcomes in the file")
		p.kill()
	}
	producer(t, url, follow...).exits(t, 0)
	allOK(t, readOutcomes(t, file), n)
	all := other.wait().exits(t, 0).outcomes(t)
	allOK(t, all, n)
	inOrder(t, all)
}

// Of a batch that nobody follows only the failures need be kept.
func TestADetachedBatchMayKeepItsFailuresOnly(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	url := server.URL()
	startWorker(t, url)
	var records strings.Builder
	for i := range 500 {
		fmt.Fprintf(&records, "{\"task_number\":%d,\"seconds\":0%s}\n", i, map[bool]string{true: `,"fail":"expected"`}[i%50 == 0])
	}
	producerReading(t, records.String(), url, "enqueue", "sleep", "--batch", "b", "--format", "ndjson", "--outcomes", "failed").exits(t, 0)
	awaitStanding(t, url, "b", "it is done", func(s standing) bool { return s.State == "done" })
	if kept := server.Client().XLen(t.Context(), "weir:{b}:out").Val(); kept != 11 {
		t.Errorf("%d entries are kept, want 10 failures and the end", kept)
	}
	r := producer(t, url, "follow", "b").exits(t, 1)
	r.says(t, "read 500 = ok 490 + failed 10 + cancelled 0")
	if all := r.outcomes(t); len(all) != 10 {
		t.Errorf("%d outcomes", len(all))
	}
	producer(t, url, "follow", "b", "--ordered").exits(t, 2).says(t, "keeps its failures only")
}

// A batch that nobody reads may fill no more than a given part of Redis: its producer
// waits for the one reader, which may die and go on.
func TestAProducerMayWaitForTheReader(t *testing.T) {
	t.Parallel()
	const n, most = 1000, 100
	server := conntest.Server(t)
	url := server.URL()
	c := server.Client()
	unread := func() int64 { return c.XLen(t.Context(), "weir:{b}:out").Val() }
	startWorker(t, url)
	p := startProducer(t, url, "enqueue", "square", "--batch", "b", "--repeat", fmt.Sprint(n), "--payload", `{"n":{n}}`, "--max-unread", fmt.Sprint(most))
	eventually(t, long, func() bool { return unread() == most }, "as many outcomes as may be unread")
	p.logs("producer follow b") // why it waits
	producer(t, url, "follow", "b").exits(t, 2).says(t, "--out FILE")

	file := filepath.Join(t.TempDir(), "out")
	for _, lines := range []int{most, 3 * most} {
		f := startProducer(t, url, "follow", "b", "--out", file)
		eventually(t, long, func() bool { return linesOf(file) >= lines || !f.running() }, "outcomes in the file")
		f.kill()
		if got := unread(); got > most+1 {
			t.Errorf("%d outcomes wait, %d may", got, most)
		}
	}
	producer(t, url, "follow", "b", "--out", file+"2").exits(t, 2).says(t, "nobody else can read them", file)
	producer(t, url, "follow", "b", "--out", file).exits(t, 0)
	p.wait().exits(t, 0)
	allOK(t, readOutcomes(t, file), n)
	if got := unread(); got > 1 {
		t.Errorf("%d entries are left", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	producer(t, url, "follow", "b", "--out", file).exits(t, 2).says(t, "bring the file back")
}
