package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/status"
)

// spread is a feeder of a lane that is spread over n queues.
func (b *bench) spread(src *lines, window int64, n int) *Feeder {
	f := b.feeder(src, window)
	f.opts.Shards = func(context.Context) (map[string]int, error) { return map[string]int{lane: n}, nil }
	return f
}

// inQueues are the tasks that wait in the batch's queues, by queue.
func (b *bench) inQueues() map[string][]string {
	b.t.Helper()
	queues, err := b.ledger.Lanes(b.t.Context(), b.name)
	if err != nil {
		b.t.Fatal(err)
	}
	in := make(map[string][]string)
	for _, of := range queues {
		if ids := b.rdb.LRange(b.t.Context(), queue.Pending(of), 0, -1).Val(); len(ids) > 0 {
			slices.Reverse(ids)
			in[of] = ids
		}
	}
	return in
}

// wantOnce wants tasks 0 to n-1 to wait in one queue each.
func (b *bench) wantOnce(n int) {
	b.t.Helper()
	all := slices.Concat(slices.Collect(maps.Values(b.inQueues()))...)
	want := ids(0, n)
	slices.Sort(all)
	slices.Sort(want)
	if !slices.Equal(all, want) {
		b.t.Errorf("%d tasks wait: %v", len(all), all)
	}
}

func (b *bench) status() *status.Status {
	b.t.Helper()
	st, err := status.Read(b.t.Context(), b.rdb, b.ledger, b.name)
	if err != nil {
		b.t.Fatal(err)
	}
	if st.Missing() != 0 {
		b.t.Errorf("read %d, outcomes %d, in Redis %d: %d missing", st.Read(), st.Outcomes(), st.Sum(), st.Missing())
	}
	return st
}

// A task's ID says in which of its lane's queues it is, in each of which the order of input
// is kept; whoever looks for a batch's tasks finds all of them.
func TestALaneIsSpreadOverItsQueues(t *testing.T) {
	check := func(t *testing.T, b *bench) {
		const n, shards = 600, 12
		if err := b.spread(numbered(n), 1000, shards).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantOnce(n)
		in := b.inQueues()
		if len(in) != shards {
			t.Errorf("tasks are in %d queues", len(in))
		}
		queues := queue.Shards(lane, shards)
		for of, got := range in {
			var want []string
			for _, id := range ids(0, n) {
				if queue.Pick(queues, id) == of {
					want = append(want, id)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("in %s are %v, want %v", of, got, want)
			}
		}
		known := b.rdb.SMembers(t.Context(), queue.All).Val()
		if len(known) != shards || !slices.Equal(queue.Lanes(known), []string{lane}) {
			t.Errorf("asynq knows %v", known)
		}
		if st := b.status(); st.Pending != n {
			t.Errorf("status %+v", st.Tally)
		}
		if err := Pause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
			t.Error(err)
		}
		if st := b.status(); st.Scheduled != n {
			t.Errorf("paused: %+v", st.Tally)
		}
		if err := Unpause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
			t.Error(err)
		}
		if got := b.inQueues(); !maps.EqualFunc(got, in, slices.Equal) {
			t.Error("resumed, the tasks are elsewhere")
		}
		if err := Cancel(t.Context(), b.rdb, b.ledger, "b"); err != nil {
			t.Error(err)
		}
		if i := b.info(); i.Cancelled != n || len(b.inQueues()) > 0 {
			t.Errorf("cancelled: %+v, %v", i, b.inQueues())
		}
	}
	both(t, check)
	t.Run("cluster", func(t *testing.T) { check(t, newBench(t, conntest.Cluster(t, 3).Client())) })
}

// Each life finds the lane spread over another number of queues, and dies between the
// enqueue of a chunk and the move of the checkpoint: no task gets into a second queue.
func TestATaskStaysInItsQueueWhateverTheShards(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		const n = 40
		for life, shards := range []int{3, 1, 7, 2, 64, 1} {
			ctx, dying := b.dieBefore(2)
			f := New(dying, batch.NewLedger(dying), numbered(n), b.spread(nil, 100, shards).opts)
			f.opts.Ahead = func() int64 { return f.next + 5 }
			if err := f.Run(ctx); !errors.Is(err, errDied) {
				t.Fatalf("life %d ended with %v", life, err)
			}
			in := slices.Concat(slices.Collect(maps.Values(b.inQueues()))...)
			b.wantOnce(len(in))
			if next := b.info().Next; next >= int64(len(in)) {
				t.Fatalf("after life %d the checkpoint is at %d, and %d tasks are there", life, next, len(in))
			}
		}
		before := b.inQueues()
		if err := b.spread(numbered(n), 100, 5).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantOnce(n)
		for of, had := range before {
			if has := b.inQueues()[of]; !slices.Equal(had, has[:min(len(had), len(has))]) {
				t.Errorf("in %s were %v, and are %v", of, had, has)
			}
		}
	})
}

// What is left of a task in a queue that its lane has no more keeps it from nothing.
func TestAGhostInAFormerQueueIsDropped(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		const n = 30
		if err := b.spread(numbered(n), 100, 4).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		ghosts := 0
		for of, in := range b.inQueues() {
			if of != lane {
				b.rdb.LRem(t.Context(), queue.Pending(of), 0, in[0])
				ghosts++
			}
		}
		if ghosts != 3 {
			t.Fatalf("%d ghosts", ghosts)
		}
		if err := b.spread(numbered(n), 100, 1).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantOnce(n)
		for _, of := range queue.Shards(lane, 4) {
			records := 0
			for _, id := range ids(0, n) {
				records += int(b.rdb.Exists(t.Context(), queue.TaskPrefix(of)+id).Val())
			}
			if waiting := len(b.inQueues()[of]); records != waiting {
				t.Errorf("%s has the records of %d tasks, and %d wait", of, records, waiting)
			}
		}
	})
}

// A change of the lane's shards holds for what is enqueued a second later.
func TestNewShardsHoldForNewTasks(t *testing.T) {
	b := mini(t)
	var n atomic.Int64
	n.Store(1)
	src := make(pipe)
	f := b.feeder(src, 1e6)
	f.opts.Shards = func(context.Context) (map[string]int, error) { return map[string]int{lane: int(n.Load())}, nil }
	done := start(t, f)
	sent := 0
	send := func() { src <- fmt.Sprintf(`{"n":%d}`, sent); sent++ }
	for range 10 {
		send()
	}
	b.await("the first are enqueued", func() bool { return len(b.inQueues()[lane]) == 10 })
	n.Store(6)
	b.await("others are in six queues", func() bool { send(); return len(b.inQueues()) == 6 })
	n.Store(1)
	b.await("new ones are in one again", func() bool {
		before := len(b.inQueues()[lane])
		for range 20 {
			send()
		}
		b.await("they are enqueued", func() bool { return b.info().Next == int64(sent) })
		return len(b.inQueues()[lane]) == before+20
	})
	close(src)
	if err := wait(t, done); err != nil {
		t.Fatal(err)
	}
	b.wantOnce(sent)
}

// A lane's share of the window is that of all its queues.
func TestAStuckLaneHasItsShareInAllItsQueues(t *testing.T) {
	b := real(t)
	s := newServices(b)
	src := sorted(200, "stuck", "b")
	f := s.feeder(src, 640)
	f.opts.Shards = func(context.Context) (map[string]int, error) { return map[string]int{"stuck": 8}, nil }
	done := start(t, f)
	s.await("the other lane runs to its end", func() bool { s.serve("b", 100); return len(s.ran["b"]) == 200 })
	if in, first := len(slices.Concat(slices.Collect(maps.Values(b.inQueues()))...)), 640/4; in == 0 || in > first {
		t.Errorf("of the stuck lane %d tasks are in Redis, of a window of 640", in)
	}
	b.await("all of it runs", func() bool {
		for _, of := range queue.Shards("stuck", 8) {
			s.serve(of, 100)
		}
		ran := 0
		for _, of := range queue.Shards("stuck", 8) {
			ran += len(s.ran[of])
		}
		return ran == 200
	})
	if err := wait(t, done); err != nil {
		t.Fatal(err)
	}
}

// asked counts how often a set is read.
type asked struct {
	redis.Hook
	key string
	n   int
}

func (a *asked) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "smembers" && args[1] == a.key {
			a.n++
		}
		return next(ctx, cmd)
	}
}

func (a *asked) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *asked) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Which queues earlier lives used is read once: a batch may have 100,000 lanes, and go on in
// steps of a task each.
func TestFormerQueuesAreReadOnce(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		if err := b.ledger.AddLane(t.Context(), b.name, lane); err != nil {
			t.Fatal(err)
		}
		f := b.spread(numbered(9), 100, 3)
		f.found = new(batch.Info)
		f.found.Upto = 9
		hook := &asked{key: "weir:{" + b.name + "}:lanes"}
		b.rdb.AddHook(hook)
		for seq := range int64(9) {
			if err := f.spread(t.Context(), []task{{seq: seq, lane: lane}}); err != nil {
				t.Fatal(err)
			}
		}
		if hook.n != 1 {
			t.Errorf("they were read %d times", hook.n)
		}
	})
}
