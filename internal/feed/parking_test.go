package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/status"
)

// to is a record for a lane.
func to(lane string, n int) string { return fmt.Sprintf(`{"to":%q,"n":%d}`, lane, n) }

func laneOf(payload []byte) (string, error) {
	var p struct{ To string }
	err := json.Unmarshal(payload, &p)
	return p.To, err
}

// sorted is n records for each lane, one lane after the other.
func sorted(n int, lanes ...string) *lines {
	l := &lines{end: io.EOF}
	for _, lane := range lanes {
		for i := range n {
			l.records = append(l.records, to(lane, i))
		}
	}
	return l
}

// services are what works a batch's lanes off.
type services struct {
	*bench
	ran map[string][]int64 // seqs by lane, in the order in which they ran
}

func newServices(b *bench) *services { return &services{b, make(map[string][]int64)} }

func (s *services) feeder(src *lines, window int64) *Feeder {
	f := s.bench.feeder(&lines{records: src.records, end: io.EOF}, window) // each life reads it anew
	f.opts.Lane, f.opts.LaneOf = "", laneOf
	return f
}

// serve runs up to n tasks that wait in a lane.
func (s *services) serve(lane string, n int) (ran int) {
	s.t.Helper()
	for ; ran < n; ran++ {
		id, err := s.rdb.RPopLPush(s.t.Context(), queue.Pending(lane), queue.Active(lane)).Result()
		if err != nil {
			return ran
		}
		s.rdb.HSet(s.t.Context(), queue.TaskPrefix(lane)+id, "state", "active")
		_, seq, _ := batch.ParseTaskID(id)
		_, err = s.ledger.Record(s.t.Context(), s.name, &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1}, 0, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		s.rdb.LRem(s.t.Context(), queue.Active(lane), 0, id)
		s.rdb.Del(s.t.Context(), queue.TaskPrefix(lane)+id)
		// Else it was enqueued again just when it ran, and a worker would have seen so. The record
		// would say that too where the client has sent it twice, as the answer was late.
		if !slices.Contains(s.ran[lane], seq) {
			s.ran[lane] = append(s.ran[lane], seq)
		}
	}
	return ran
}

// wantAll wants each record of an input to have run once, in its lane, in order.
func (s *services) wantAll(src *lines) {
	s.t.Helper()
	want := make(map[string][]int64)
	for seq, r := range src.records {
		lane, _ := laneOf([]byte(r))
		want[lane] = append(want[lane], int64(seq))
	}
	if !maps.EqualFunc(s.ran, want, slices.Equal) {
		s.t.Errorf("ran %v, want %v", s.ran, want)
	}
	if i := s.info(); i.Phase != batch.Done || i.N != int64(len(src.records)) || i.OK != i.N || i.Ahead != 0 || i.Next != i.N {
		s.t.Errorf("batch %+v", i)
	}
}

// wantSum wants the places of all tasks to add up to what was read.
func (s *services) wantSum() *status.Status {
	s.t.Helper()
	st, err := status.Read(s.t.Context(), s.rdb, s.ledger, s.name)
	if err != nil {
		s.t.Fatal(err)
	}
	if st.Missing() != 0 {
		s.t.Errorf("read %d, outcomes %d, in Redis %d: %d missing", st.Read(), st.Outcomes(), st.Sum(), st.Missing())
	}
	return st
}

func TestASortedInputDoesNotStopAtAStuckLane(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		s, src := newServices(b), sorted(40, "stuck", "b", "c")
		f := s.feeder(src, 20)
		done := start(t, f)
		s.await("the other lanes are done", func() bool {
			s.serve("b", 100)
			s.serve("c", 100)
			s.wantSum()
			return len(s.ran["b"]) == 40 && len(s.ran["c"]) == 40
		})
		s.await("the checkpoint says so", func() bool { return s.info().Upto == 120 })
		waiting := s.rdb.LLen(t.Context(), queue.Pending("stuck")).Val()
		i := s.info()
		if i.Next != waiting || i.Ahead != 80 || waiting == 0 || waiting > 10 || f.Read() != 80+waiting {
			t.Errorf("batch %+v, %d read, %d wait in the lane", i, f.Read(), waiting)
		}
		if st := s.wantSum(); st.Read() != 80+waiting || st.Pending != waiting || st.OK != 80 {
			t.Errorf("status %+v, read %d", st, st.Read())
		}
		if len(f.Parked()) < 40-int(waiting) {
			t.Errorf("%d are parked", len(f.Parked()))
		}
		s.await("the lane is done", func() bool { s.serve("stuck", 1); s.wantSum(); return len(s.ran["stuck"]) == 40 })
		if err := wait(t, done); err != nil {
			t.Fatal(err)
		}
		s.wantAll(src)
	})
}

// The feeder dies while records are parked; a fresh one goes on.
func TestWhatHadOvertakenIsNotEnqueuedAgain(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		s, src := newServices(b), sorted(30, "stuck", "b", "c")
		for life := range 3 {
			ctx, die := context.WithCancelCause(t.Context())
			ended := make(chan error, 1)
			f := s.feeder(src, 20)
			go func() { ended <- f.Run(ctx) }()
			s.await("some have overtaken", func() bool {
				s.serve("b", 7)
				s.serve("c", 3)
				i := s.info()
				return len(s.ran["b"])+len(s.ran["c"]) >= 15*(life+1) && i.Ahead >= 15*int64(life+1)
			})
			die(errDied)
			if err := wait(t, ended); !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			s.wantSum()
			if life == 1 { // what waits is taken out, as when the producer is interrupted
				if _, err := Stop(t.Context(), s.rdb, s.ledger, "b", "me"); err != nil {
					t.Fatal(err)
				}
				if err := Resume(t.Context(), s.rdb, s.ledger, "b", "me"); err != nil {
					t.Fatal(err)
				}
			}
		}
		before := s.info()
		// One that had overtaken, or was parked, is another now.
		for _, at := range []int64{before.Next, before.Upto - 1} {
			other := sorted(30, "stuck", "b", "c")
			other.records[at] = to("b", 1000)
			var input *InputError
			if err := s.feeder(other, 20).Run(t.Context()); !errors.As(err, &input) {
				t.Errorf("another record %d: %v", at, err)
			}
			if after := s.info(); *after != *before {
				t.Errorf("another record %d: %+v became %+v", at, before, after)
			}
		}
		done := start(t, s.feeder(src, 20))
		s.await("all are done", func() bool {
			for _, lane := range []string{"stuck", "b", "c"} {
				s.serve(lane, 5)
			}
			return s.info().Phase == batch.Done
		})
		if err := wait(t, done); err != nil {
			t.Fatal(err)
		}
		s.wantAll(src)
	})
}

func TestABatchGivenUpWhileRecordsAreParkedCountsThem(t *testing.T) {
	t.Parallel()
	for what, expire := range map[string]bool{"cancelled": false, "expired": true} {
		t.Run(what, func(t *testing.T) {
			both(t, func(t *testing.T, b *bench) {
				s := newServices(b)
				f := s.feeder(sorted(20, "stuck", "b"), 20)
				done := start(t, f)
				s.await("the other is done", func() bool { s.serve("b", 5); return len(s.ran["b"]) == 20 && s.info().Upto == 40 })
				var err error
				if expire {
					err = Expire(t.Context(), s.rdb, s.ledger, "b", f.Parked)
				} else {
					err = Cancel(t.Context(), s.rdb, s.ledger, "b")
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := wait(t, done); !errors.Is(err, ErrCancelled) {
					t.Errorf("ended with %v", err)
				}
				i := s.info()
				if !i.Complete() || i.N != 40 || i.Next != 40 || i.OK != 20 || i.Cancelled+i.Failed != 20 {
					t.Errorf("batch %+v", i)
				}
				s.wantSum()
				dead, err := s.ledger.Failures(t.Context(), "b", []int64{0, 10, 19})
				if err != nil || len(dead) != map[bool]int{true: 3}[expire] {
					t.Fatalf("%d dead letters, %v", len(dead), err)
				}
				for _, o := range dead {
					if string(o.Payload) != to("stuck", int(o.Seq)) {
						t.Errorf("dead letter %+v has payload %s", o, o.Payload)
					}
				}
			})
		})
	}
}

// In order of input, no more overtake than the reader may hold.
func TestOvertakingIsBoundedWhereOutcomesAreOrdered(t *testing.T) {
	b := mini(t)
	s := newServices(b)
	f := s.feeder(sorted(50, "stuck", "b"), 20)
	f.opts.Ordered = true
	f.opts.Ahead = func() int64 { return 70 } // the turn is at 0
	start(t, f)
	s.await("what may overtake has", func() bool { s.serve("b", 5); return len(s.ran["b"]) == 20 })
	time.Sleep(2 * poll) // what must not come gets time to come
	if i := s.info(); i.Upto != 70 || s.serve("b", 5) != 0 {
		t.Errorf("batch %+v", i)
	}
	// It is no deadlock: the tasks whose turn it is go on.
	s.await("the lane goes on", func() bool { s.serve("stuck", 5); return len(s.ran["stuck"]) == 50 })
}

func TestABatchHasManyLanes(t *testing.T) {
	b := real(t)
	const hosts = 2000
	s := newServices(b)
	src := &lines{end: io.EOF}
	var lanes []string
	for i := range hosts {
		lanes = append(lanes, fmt.Sprint("host", i))
		src.records = append(src.records, to(lanes[i], 0), to(lanes[i], 1))
	}
	sub := b.rdb.Subscribe(t.Context(), queue.WakeChannel)
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	wakes := sub.Channel(redis.WithChannelSize(4 * hosts))
	if err := s.feeder(src, 10_000).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.wantSum(); st.Pending != 2*hosts || st.Phase != batch.Sealed {
		t.Errorf("status %+v", st)
	}
	if got, err := s.ledger.Lanes(t.Context(), "b"); len(got) != hosts || err != nil {
		t.Errorf("the batch has %d lanes, %v", len(got), err)
	}
	if got := b.rdb.SCard(t.Context(), queue.All).Val(); got != hosts {
		t.Errorf("asynq knows %d lanes", got)
	}
	heard := make(map[string]bool)
	for timeout := time.After(10 * time.Second); len(heard) < hosts; {
		select {
		case m := <-wakes:
			heard[m.Payload] = true
		case <-timeout:
			t.Fatalf("heard of %d lanes", len(heard))
		}
	}
	if err := Pause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
		t.Error(err)
	}
	if st := s.wantSum(); st.Scheduled != 2*hosts {
		t.Errorf("paused: %+v", st)
	}
	if err := Unpause(t.Context(), b.rdb, b.ledger, "b"); err != nil {
		t.Error(err)
	}
	if st := s.wantSum(); st.Pending != 2*hosts {
		t.Errorf("resumed: %+v", st)
	}
	if err := Cancel(t.Context(), b.rdb, b.ledger, "b"); err != nil {
		t.Error(err)
	}
	if i := s.info(); i.Cancelled != 2*hosts {
		t.Errorf("batch %+v", i)
	}
}

// One record whose lane cannot be told is one invalid record.
func TestARecordWithoutALaneIsInvalid(t *testing.T) {
	b := mini(t)
	s := newServices(b)
	src := &lines{records: []string{to("a", 0), `{"to":1}`, to("b", 0)}, end: io.EOF}
	if err := s.feeder(src, 10).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := s.outcomes()
	if len(all) != 1 || all[0].Seq != 1 || all[0].Class != batch.Invalid {
		t.Errorf("outcomes %v", all)
	}
}

func TestALanesShareFollowsWhatItDoes(t *testing.T) {
	t.Parallel()
	const first, window = 10, 1000
	now := time.Now()
	l := &laneState{}
	see := func(waiting, share, credit int64, pause time.Duration) {
		t.Helper()
		l.saw(waiting, first, window, now)
		if l.share != share || l.credit != credit || l.pause != pause {
			t.Errorf("share %d, credit %d, pause %v; want %d, %d, %v", l.share, l.credit, l.pause, share, credit, pause)
		}
		l.spend(l.credit)
	}
	see(0, 10, 10, soon)
	see(10, 10, 0, 2*soon) // nothing is done
	see(10, 10, 0, 4*soon)
	see(10, 10, 0, 8*soon)
	see(2, 20, 18, soon) // it has run through it
	for _, share := range []int64{40, 80, 160, 320, 500, 500} {
		see(0, share, share, soon)
	}
	see(300, 500, 200, soon) // slower
	for _, share := range []int64{250, 125, 62, 31, 15, 10} {
		see(500, share, 0, min(l.pause*2, late)) // and dead
	}
	for range 10 {
		l.saw(500, first, window, now)
	}
	if l.pause != late {
		t.Errorf("it is asked again after %v", l.pause)
	}
	if l.due(now) || !l.due(now.Add(late)) {
		t.Error("when is it due?")
	}
}

// However many lanes are dead, they leave room for the others.
func TestDeadLanesLeaveRoom(t *testing.T) {
	t.Parallel()
	const window = 1000
	p := newParking()
	var held int64
	for i := range 200 {
		l := p.lane(fmt.Sprint(i))
		l.saw(0, p.first(window), window, time.Now())
		held += l.credit
		l.spend(l.credit)
		p.park(task{seq: int64(i), lane: fmt.Sprint(i)})
	}
	if held > window*9/10 {
		t.Errorf("200 dead lanes hold %d of a window of %d", held, window)
	}
}

func TestParkedTasksAreBounded(t *testing.T) {
	t.Parallel()
	p := newParking()
	for seq := range int64(maxParked) {
		if !p.open() {
			t.Fatalf("full with %d", seq)
		}
		p.park(task{seq: seq, lane: "a"})
	}
	if p.open() {
		t.Error("open with all it may hold")
	}
	p.lane("a").credit = 10
	if got := p.release(3); len(got) != 3 || got[2].seq != 2 || !p.open() || p.lowest(1<<20) != 3 {
		t.Errorf("released %v, the lowest is %d", got, p.lowest(1<<20))
	}
	p = newParking()
	big := task{lane: "a"}
	big.Payload = make([]byte, 1<<20)
	for range maxParkedBytes >> 20 {
		p.park(big)
	}
	if p.open() {
		t.Error("open with all the bytes it may hold")
	}
	p.lane("a").credit = 1000
	if n := len(p.release(1000)); n != maxParkedBytes>>20 || p.bytes != 0 || p.tasks != 0 || len(p.full) != 0 {
		t.Errorf("released %d; %d bytes, %d tasks are left", n, p.bytes, p.tasks)
	}
}

func TestLanesTakeTurns(t *testing.T) {
	t.Parallel()
	p := newParking()
	for seq := range int64(30) {
		name := string(rune('a' + seq/10))
		p.park(task{seq: seq, lane: name})
		p.lane(name).credit = 100
	}
	p.lane("b").credit = 0
	var got []int64
	for range 3 {
		for _, t := range p.release(4) {
			got = append(got, t.seq)
		}
	}
	if want := []int64{0, 1, 2, 3, 20, 21, 22, 23, 4, 5, 6, 7}; !slices.Equal(got, want) {
		t.Errorf("released %v, want %v", got, want)
	}
}

func TestLanesThatAreNotNeededAreForgotten(t *testing.T) {
	t.Parallel()
	p := newParking()
	p.park(task{lane: "kept"})
	for i := range 3 * maxKnown {
		p.lane(fmt.Sprint(i))
	}
	if len(p.lanes) > maxKnown || len(p.lane("kept").parked) != 1 {
		t.Errorf("%d lanes are remembered", len(p.lanes))
	}
}

// Feeders that live and die, lanes that are served or not, at random: in the end each
// record has run once, in its lane, in the order of input.
func TestFeedersAndLanesAgainstAPlainMap(t *testing.T) {
	t.Parallel()
	rdb := conntest.Mini(t)
	rapid.Check(t, func(rt *rapid.T) {
		rdb.FlushAll(t.Context())
		b := &bench{t, rdb, batch.NewLedger(rdb), "b"}
		if _, err := b.ledger.Create(t.Context(), b.name, batch.Options{Type: "square", TimeoutMS: 60_000, KeepMS: 60_000}); err != nil {
			rt.Fatal(err)
		}
		s := newServices(b)
		names := []string{"la", "lb", "lc", "ld"}
		src := &lines{end: io.EOF}
		for i := range rapid.IntRange(0, 40).Draw(rt, "records") {
			src.records = append(src.records, to(rapid.SampledFrom(names).Draw(rt, "lane"), i))
		}
		window := rapid.Int64Range(2, 40).Draw(rt, "window")
		for range rapid.IntRange(0, 3).Draw(rt, "lives") {
			ctx, die := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			f := s.feeder(src, window)
			go func() { ended <- f.Run(ctx) }()
			for range rapid.IntRange(0, 6).Draw(rt, "steps") {
				s.serve(rapid.SampledFrom(names).Draw(rt, "serve"), rapid.IntRange(0, 10).Draw(rt, "n"))
				s.wantSum()
				if rapid.Bool().Draw(rt, "wait") {
					time.Sleep(soon)
				}
			}
			die()
			<-ended
			s.wantSum()
		}
		done := make(chan error, 1)
		go func() {
			for {
				err := s.feeder(src, window).Run(t.Context())
				var rewound *batch.RewoundError
				if !errors.As(err, &rewound) { // by the last words of the life before
					done <- err
					return
				}
			}
		}()
		var err error
		ended := false
		s.await("all are done", func() bool {
			for _, name := range names {
				s.serve(name, 10)
			}
			select {
			case err = <-done:
				ended = true
			default:
			}
			return err != nil || ended && s.info().Phase == batch.Done
		})
		if err != nil {
			rt.Fatal(err)
		}
		s.wantAll(src)
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}
