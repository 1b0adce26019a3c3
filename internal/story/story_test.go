package story

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
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
	client, err := weir.Open(t.Context(), weir.Options{})
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
	run <- func(context.Context) error { return errors.New("not yet") }
	eventually("it waits for its next attempt", func(s *Story) bool {
		return s.Place == Retrying && s.Tries == 1 && s.Error == "not yet" && s.Next > 0 && s.FailedAt > 0
	})
	rdb.ZAdd(t.Context(), "asynq:{story}:retry", redis.Z{Score: 1, Member: "b:0"}) // its time has come
	run <- func(context.Context) error { return tasks.Permanent(errors.New("never")) }
	eventually("it has its outcome", func(s *Story) bool {
		return s.Place == Ended && s.Outcome != nil && s.Outcome.Error == "never" && s.Outcome.Attempts == 2 && s.Outcome.Worker == "me" && s.Recorded > 0
	})
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
