package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cdpnetwork "github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

const many = 1000 // lanes, and batches

// manyLanes makes governed lanes with tasks in them, as workers and producers do.
func manyLanes(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	enqueue := asynq.NewClientFromRedisClient(rdb)
	inParallel(t, func(ctx context.Context, i int) error {
		name := laneNamed(i)
		if err := queue.Publish(ctx, rdb, name); err != nil {
			return err
		}
		if err := lane.Announce(ctx, rdb, name); err != nil {
			return err
		}
		if i%4 == 0 {
			if err := governor.Configure(ctx, rdb, name, governor.Config{Max: 50 + i}); err != nil {
				return err
			}
		}
		for range 1 + i%3 {
			if _, err := enqueue.EnqueueContext(ctx, asynq.NewTask("http", nil), asynq.Queue(name)); err != nil {
				return err
			}
		}
		return report(ctx, rdb, i)
	})
}

func laneNamed(i int) string { return fmt.Sprintf("host-%04d.example.com", i) }

// report is what a worker says of a lane.
func report(ctx context.Context, rdb redis.UniversalClient, i int) error {
	_, err := governor.Sync(ctx, rdb, laneNamed(i), governor.Report{Worker: "w", Wants: 5, InFlight: 1 + i%4, Slots: 100, Answered: 3, Remaining: -1})
	return err
}

// manyBatches makes batches that run, some of them paused, some over, some with failures.
func manyBatches(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	ledger := batch.NewLedger(rdb)
	inParallel(t, func(ctx context.Context, i int) error {
		name := batchNamed(i)
		if _, err := ledger.Create(ctx, name, batch.Options{Type: "http", TimeoutMS: 1000, KeepMS: 3_600_000}); err != nil {
			return err
		}
		n := int64(3 + i%5)
		if err := ledger.Checkpoint(ctx, name, 0, n, ""); err != nil {
			return err
		}
		if i%4 == 3 {
			return ledger.SetPaused(ctx, name, i%8 == 7)
		}
		ends := n // how many have their outcome
		if i%4 == 0 {
			ends = 1
		}
		for seq := range ends {
			if err := endOne(ctx, ledger, name, seq, i%10 == 1); err != nil {
				return err
			}
		}
		if i%4 == 0 {
			return nil
		}
		_, err := ledger.Seal(ctx, name)
		return err
	})
}

func batchNamed(i int) string { return fmt.Sprintf("batch-%04d", i) }

func endOne(ctx context.Context, ledger *batch.Ledger, name string, seq int64, fails bool) error {
	o := &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1, MS: 12.5, Worker: "host:1"}
	if fails {
		o.State, o.Class, o.Error = batch.Failed, batch.Timeout, "no answer in time"
	}
	_, err := ledger.Record(ctx, name, o, time.Millisecond, []byte(`{"url":"http://example.com/"}`))
	return err
}

func inParallel(t *testing.T, do func(ctx context.Context, i int) error) {
	t.Helper()
	var all sync.WaitGroup
	for part := range 20 {
		all.Go(func() {
			for i := part; i < many; i += 20 {
				if err := do(t.Context(), i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// goOn makes lanes and batches go on until the test ends.
func goOn(t *testing.T, rdb redis.UniversalClient) {
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	ledger := batch.NewLedger(rdb)
	working.Go(func() {
		seq := int64(1)
		for ; ctx.Err() == nil; seq++ {
			for range 20 {
				_ = report(ctx, rdb, rand.IntN(many))
				name := batchNamed(4 * rand.IntN(many/4))
				_ = ledger.Checkpoint(ctx, name, 0, seq+10, "") // refused where it has moved on
				_ = endOne(ctx, ledger, name, seq, false)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		working.Wait()
	})
}

// With a thousand lanes and a thousand batches that go on all the time, the lists open, each
// entry is found by leafing, filtering and sorting, keys and clicks are obeyed at once, and
// page, traffic and process stay small.
func TestTheWebUIIsUsableAtAThousandLanesAndBatches(t *testing.T) {
	s := conntest.Server(t)
	rdb := s.Client()
	manyLanes(t, rdb)
	manyBatches(t, rdb)
	goOn(t, rdb)
	p := startProducer(t, s.URL(), "ui", "--addr=127.0.0.1:0")
	b := newBrowser(t, uiOf(p))
	var news, told atomic.Int64 // how often, and how many bytes
	chromedp.ListenTarget(b.ctx, func(event any) {
		if e, ok := event.(*cdpnetwork.EventEventSourceMessageReceived); ok {
			told.Add(int64(len(e.Data)))
			news.Add(1)
		}
	})
	b.open("/redis") // the browser has begun
	b.says(".facts", "noeviction")
	for _, l := range []struct {
		path, all, one, order string
	}{
		{"/", "1,000 batches", batchNamed(777), "Batch"},
		{"/lanes", "1,000 lanes", laneNamed(777), "Lane"},
	} {
		began := time.Now()
		b.open(l.path)
		b.becomes(`document.querySelectorAll("tbody tr").length === 50`, "the first 50 are shown")
		within(t, l.path+" opens", began, 20*time.Second)
		b.says(".pager", "page 1 of 20, "+l.all)
		if n := eval[int](b, `document.querySelectorAll("*").length`); n > 5000 {
			t.Errorf("%s: %d elements", l.path, n)
		} else {
			t.Logf("%s: %d elements", l.path, n)
		}
		b.watchLongTasks()

		before, since, heard := told.Load(), time.Now(), news.Load()
		eventually(t, long, func() bool { return news.Load() >= heard+4 }, "news come")
		rate := float64(told.Load()-before) / time.Since(since).Seconds()
		t.Logf("%s: %.0f KB of news a second", l.path, rate/1000)
		if rate > 300_000 {
			t.Errorf("%s: %.0f bytes of news a second", l.path, rate)
		}

		// A key and a click while news come: each is seen on the screen soon.
		b.run(chromedp.Focus("#q"))
		var took []time.Duration
		for i, r := range l.one {
			began := time.Now()
			b.press(string(r))
			b.becomes(fmt.Sprintf(`document.querySelector("#q").value.length === %d`, i+1), "a key is obeyed")
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("%s: keys are obeyed in %v, at most in %v", l.path, took[len(took)/2], took[len(took)-1])
		if took[len(took)/2] > 5*time.Second {
			t.Errorf("%s: keys are obeyed in %v", l.path, took)
		}
		began = time.Now()
		b.becomes(`document.querySelectorAll("tbody tr").length === 1`, "it is filtered")
		within(t, l.path+" is filtered", began, 20*time.Second)
		b.says("tbody th", l.one)
		b.says("#heard", "1 of "+l.all)
		for range l.one {
			b.press(kb.Backspace)
		}
		b.says(".pager", "page 1 of 20")

		began = time.Now()
		b.click("thead button", l.order)
		b.becomes(`document.querySelector("[aria-sort]")?.textContent === "`+l.order+`" && document.querySelector("tbody th").textContent.includes("0000")`, "it is sorted by name")
		within(t, l.path+" is sorted", began, 20*time.Second)
		found := make(map[string]bool)
		began = time.Now()
		for page := 1; ; page++ {
			b.says(".pager", fmt.Sprintf("page %d of 20", page))
			for _, name := range eval[[]string](b, `[...document.querySelectorAll("tbody th a")].map(a => a.textContent)`) {
				found[name] = true
			}
			if page == 20 {
				break
			}
			b.click(".pager button", "Next")
		}
		within(t, l.path+" is leafed through", began, long)
		if len(found) != many {
			t.Errorf("%s: %d are found by leafing, want %d", l.path, len(found), many)
		}
		if longest := b.longestTask(); longest > 10_000 {
			t.Errorf("%s: the page was busy for %.0f ms", l.path, longest)
		}
	}
	if held := rss(t, p); held > 300 {
		t.Errorf("the process of the UI holds %.0f MB", held)
	} else {
		t.Logf("the process of the UI holds %.0f MB", held)
	}
}

// within says how long something took, and wants less than a limit.
func within(t *testing.T, what string, began time.Time, limit time.Duration) {
	t.Helper()
	took := time.Since(began)
	t.Logf("%s in %v", what, took.Round(time.Millisecond))
	if took > limit {
		t.Errorf("%s took %v, want less than %v", what, took, limit)
	}
}

// watchLongTasks notes what keeps the page from obeying.
func (b *browser) watchLongTasks() {
	b.t.Helper()
	b.run(chromedp.Evaluate(`(window.longTasks = []), new PerformanceObserver((all) => window.longTasks.push(...all.getEntries().map((e) => e.duration))).observe({type: "longtask", buffered: true})`, nil))
}

// longestTask is the longest of them in milliseconds.
func (b *browser) longestTask() float64 {
	b.t.Helper()
	all := eval[[]float64](b, `window.longTasks`)
	longest := 0.0
	for _, d := range all {
		longest = max(longest, d)
	}
	b.t.Logf("%d tasks of more than 50 ms, the longest of %.0f ms", len(all), longest)
	return longest
}
