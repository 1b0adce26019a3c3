package story

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/tasks"
)

func TestMain(m *testing.M) { conntest.Main(m) }

type text struct {
	Text string `json:"text" weir:"line"`
}

var run = make(chan func(context.Context) error, 10)

var told = tasks.Define("story", tasks.Policy{Retries: 3, Backoff: time.Minute}, func(ctx context.Context, in text) (text, error) {
	return in, (<-run)(ctx)
})

// What is known of a task, from before it is read to its outcome.
func TestATasksStory(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) { tellsATasksStory(t, "") })
	t.Run("redis", func(t *testing.T) { tellsATasksStory(t, conntest.Server(t).URL()) })
}

// says wants words in why a task is where it is, and in what helps.
func (s *Story) says(t *testing.T, why, do string) {
	t.Helper()
	if !strings.Contains(s.Why, why) || !strings.Contains(s.Do, do) || (do == "") != (s.Do == "") {
		t.Errorf("%s: says %q, %q; want %q, %q", s.Place, s.Why, s.Do, why, do)
	}
}

func tellsATasksStory(t *testing.T, url string) {
	client, err := weir.Open(t.Context(), weir.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	rdb := client.Redis()
	ledger := batch.NewLedger(rdb)
	read := func() *Story {
		t.Helper()
		s, err := Read(t.Context(), rdb, ledger, "b", 0)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if _, err := Read(t.Context(), rdb, ledger, "b", 0); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("no batch: %v", err)
	}
	if _, err := weir.Enqueue(t.Context(), client, told, text{"secret https://u:pass@h/"}, weir.BatchOptions{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	if s := read(); s.Place != Pending || s.Lane != "story" || time.Since(time.UnixMilli(s.Enqueued)) > time.Minute || s.Tries != 0 || s.Outcome != nil || len(s.Payload) == 0 {
		t.Errorf("enqueued: %+v", s)
	}
	read().says(t, "It waits in lane story. What the lane waits for: no worker takes its tasks.", "Start a worker")
	for _, seq := range []int64{-1, 1, batch.MaxTasks} {
		if _, err := Read(t.Context(), rdb, ledger, "b", seq); !errors.Is(err, ErrNoTask) {
			t.Errorf("task %d: %v", seq, err)
		}
	}
	if err := client.Pause(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if s := read(); s.Place != Scheduled {
		t.Errorf("paused: %+v", s)
	}
	read().says(t, "The batch is paused", "producer resume b")
	if err := client.Resume(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}

	worker, err := client.NewWorker(weir.WorkerOptions{Concurrency: 1, Name: "me"})
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	eventually := func(what string, is func(*Story) bool) {
		t.Helper()
		var last *Story
		defer func() {
			if t.Failed() {
				t.Logf("%s: %+v, outcome %+v", what, last, last.Outcome)
			}
		}()
		conntest.Eventually(t, 20*time.Second, what, func(context.Context) bool { last = read(); return is(last) })
	}
	eventually("it runs", func(s *Story) bool { return s.Place == Active && s.Worker != "" })
	read().says(t, "has run it for ", "")
	run <- func(context.Context) error { return errors.New("not yet") }
	eventually("it waits for its next attempt", func(s *Story) bool {
		return s.Place == Retrying && s.Tries == 1 && s.Error == "not yet" && s.Next > 0 && s.FailedAt > 0
	})
	read().says(t, "Of at most 4 attempts it has had 1; the last failed: not yet. It waits for its next attempt, due ", "") // now, where chance makes the wait short
	rdb.ZAdd(t.Context(), "asynq:{story}:retry", redis.Z{Score: 1, Member: "b:0"})                                          // its time has come
	run <- func(context.Context) error { return tasks.Permanent(errors.New("never")) }
	eventually("it has its outcome", func(s *Story) bool {
		return s.Place == Ended && s.Outcome != nil && s.Outcome.Error == "never" && s.Outcome.Attempts == 2 && s.Outcome.Worker == "me" && s.Recorded > 0
	})
	s := read()
	s.says(t, "It failed for good after 2 attempts: its handler said that another attempt cannot help.", "producer retry b")
	if len(s.Attempts) != 1 || s.Attempts[0].Attempt != 1 || s.Attempts[0].Worker != "me" || s.Attempts[0].Error != "not yet" ||
		s.Attempts[0].Class != batch.Exhausted || time.Since(time.UnixMilli(s.Attempts[0].At)) > time.Minute {
		t.Errorf("its earlier attempts: %+v", s.Attempts)
	}
}

// A task whose message is too large is told as such; the message stays in Redis.
func TestALargeMessageIsToldAndNotRead(t *testing.T) {
	client, err := weir.Open(t.Context(), weir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := weir.Enqueue(t.Context(), client, told, text{"x"}, weir.BatchOptions{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	rdb := client.Redis()
	if err := rdb.HSet(t.Context(), "asynq:{story}:t:b:0", "msg", strings.Repeat("x", queue.MaxMessage+1)).Err(); err != nil {
		t.Fatal(err)
	}
	s, err := Read(t.Context(), rdb, batch.NewLedger(rdb), "b", 0)
	if err != nil || s.Place != Unreadable || s.Lane != "story" || s.Payload != nil {
		t.Fatalf("%+.300v, %v", s, err)
	}
	s.says(t, "its message is larger than 16777216 bytes", "producer repair b")
	if first := s.Lines()[0]; first != "task 0 of batch b: cannot be read" {
		t.Errorf("in the terminal: %q", first)
	}
}

// An outcome that lies deep in the stream is found, and one that was handed on is not
// made up.
func TestAnOutcomeIsFoundInTheStream(t *testing.T) {
	conntest.Both(t, func(t *testing.T, rdb redis.UniversalClient) {
		ledger := batch.NewLedger(rdb)
		if _, err := ledger.Create(t.Context(), "b", batch.Options{Type: "story", Lane: "story"}); err != nil {
			t.Fatal(err)
		}
		for seq := range int64(1200) {
			if _, err := ledger.Record(t.Context(), "b", &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1}, time.Millisecond, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := ledger.Checkpoint(t.Context(), "b", 0, 1201, ""); err != nil {
			t.Fatal(err)
		}
		for _, seq := range []int64{0, 700, 1199} {
			if s, err := Read(t.Context(), rdb, ledger, "b", seq); err != nil || s.Outcome == nil || s.Outcome.Seq != seq || s.WaitMS != 1 {
				t.Errorf("task %d: %+v, %v", seq, s, err)
			}
		}
		if s, err := Read(t.Context(), rdb, ledger, "b", 1200); err != nil || s.Place != Missing {
			t.Errorf("a task that is nowhere: %+v, %v", s, err)
		}
		if s, err := Read(t.Context(), rdb, ledger, "b", 1201); err != nil || s.Place != Unread {
			t.Errorf("a task that was not read: %+v, %v", s, err)
		}
		rdb.XTrimMaxLen(t.Context(), "weir:{b}:out", 1)
		if s, err := Read(t.Context(), rdb, ledger, "b", 5); err != nil || s.Place != Ended || s.Outcome != nil {
			t.Errorf("one that was handed on: %+v, %v", s, err)
		}
	})
}

// What is said where a task waits, or has ended, is what a person can act upon.
func TestWhatIsSaidOfATask(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	open := batch.Info{Name: "b", Phase: batch.Open, Mark: batch.Mark{Next: 12_345, Upto: 20_000}, Options: batch.Options{Type: "sleep"}}
	with := func(change func(*batch.Info)) *batch.Info { i := open; change(&i); return &i }
	for _, is := range []struct {
		what    string
		f       facts
		s       Story
		why, do string
	}{
		{"read, and held for its lane", facts{info: &open, fed: true}, Story{Place: Unread, Seq: 15_000}, "12,345 of its batch's tasks have. Its producer has read its record", "producer lanes"},
		{"not read", facts{info: &open, fed: true}, Story{Place: Unread, Seq: 30_000}, "Its producer reads on", ""},
		{"nobody feeds", facts{info: &open}, Story{Place: Unread, Seq: 30_000}, "No producer feeds the batch now.", "the batch's command again"},
		{"paused before it was read", facts{info: with(func(i *batch.Info) { i.Paused = true }), fed: true}, Story{Place: Unread}, "is paused", "producer resume b"},
		{"lost", facts{info: &open}, Story{Place: Missing}, "somebody deleted it by hand", "producer repair b sleep FILE"},
		{"withdrawn", facts{info: with(func(i *batch.Info) { i.Stopped = true })}, Story{Place: Missing}, "interrupted", "the batch's command again"},
		{"lost, and looked after", facts{info: &open, fed: true}, Story{Place: Missing}, "fills it", ""},
		{"given up half", facts{info: with(func(i *batch.Info) { i.Phase = batch.GivenUp })}, Story{Place: Missing}, "was given up", "producer cancel b"},
		{"behind others", facts{info: &open, lane: &lane.Overview{Name: "l", Pending: 1200, Active: 5, Oldest: 90 * time.Second}}, Story{Place: Pending, Lane: "l"},
			"It waits in lane l, where 1,200 tasks do; the first has waited for 1m30s. What the lane waits for: all slots", "more workers"},
		{"in a lane that is held", facts{info: &open, lane: &lane.Overview{Name: "l", Pending: 1, Config: governor.Config{Paused: true}}}, Story{Place: Pending, Lane: "l"}, "paused by the operator", "producer lane l --resume"},
		{"of an expired batch", facts{info: with(func(i *batch.Info) { i.Expired = true })}, Story{Place: Pending, Lane: "l"}, "deadline has passed", ""},
		{"of a cancelled batch", facts{info: with(func(i *batch.Info) { i.Phase = batch.GivenUp })}, Story{Place: Pending, Lane: "l"}, "batch is cancelled", ""},
		{"of a paused batch", facts{info: with(func(i *batch.Info) { i.Paused = true })}, Story{Place: Retrying, Tries: 1, Most: 4, Error: "no"}, "no attempt begins until producer resume b", ""},
		{"put off", facts{info: &open, now: now}, Story{Place: Retrying, Error: "told to wait", Next: now.UnixMilli() + 90_000}, "at no cost of an attempt: told to wait. It waits for its next attempt, due in 1m30s.", ""},
		{"for later", facts{info: &open, now: now}, Story{Place: Scheduled, Next: now.UnixMilli() - 1}, "It was put off now.", ""},
		{"just taken", facts{info: &open}, Story{Place: Active}, "none has told of it yet", ""},
		{"stuck", facts{info: &open}, Story{Place: Active, Worker: "w", Running: 61, TimeoutMS: 2000}, "Worker w has run it for 1m1s, though an attempt may take 2s", "restart that worker"},
		{"its third attempt", facts{info: &open}, Story{Place: Active, Worker: "w", Running: 1, TimeoutMS: 2000, Tries: 2, Most: 4}, "at its 3rd attempt of at most 4", ""},
		{"suspected", facts{info: &open}, Story{Place: Active, Worker: "w", TimeoutMS: 1, Deaths: 2}, "Its worker has died 2 times", ""},
		{"archived", facts{info: &open}, Story{Place: "archived"}, "somebody has moved it there", "producer repair b"},
		{"too large", facts{info: &open}, Story{Place: Unreadable, Lane: "l"}, "larger than 16777216 bytes", "producer repair b"},
		{"cancelled", facts{info: &open}, Story{Place: Ended, Outcome: &batch.Outcome{State: batch.Cancelled}}, "was cancelled", ""},
		{"ok", facts{info: &open}, Story{Place: Ended, Outcome: &batch.Outcome{State: batch.OK, Attempts: 12}}, "at its 12th attempt", ""},
		{"handed on", facts{info: &open}, Story{Place: Ended}, "handed on", ""},
	} {
		t.Run(is.what, func(t *testing.T) {
			s := is.s
			s.Batch = "b"
			s.Why, s.Do = is.f.explain(&s)
			s.says(t, is.why, is.do)
		})
	}
	for _, class := range []batch.Class{batch.Invalid, batch.Rejected, batch.Permanent, batch.Timeout, batch.Panic, batch.Exhausted, batch.Crashed, batch.Expired} {
		if meanings[class] == "" {
			t.Errorf("class %s has no meaning", class)
		}
	}
}
