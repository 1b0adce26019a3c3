package rescue

import (
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// batch makes a sealed batch of n tasks in a lane, all of them active.
func (r *fixture) batch(name, lane string, n int64) *batch.Ledger {
	r.t.Helper()
	l := batch.NewLedger(r.c)
	if _, err := l.Create(r.ctx, name, batch.Options{Type: "t", TimeoutMS: 1000, KeepMS: 60_000, WithPayload: true}); err != nil {
		r.t.Fatal(err)
	}
	for seq := range n {
		task := asynq.NewTaskWithHeaders("t", []byte(`{"n":1}`), map[string]string{batch.Header: "1"})
		if _, err := r.client.Enqueue(task, asynq.Queue(lane), asynq.TaskID(batch.TaskID(name, seq))); err != nil {
			r.t.Fatal(err)
		}
		r.take(lane)
	}
	if err := l.Checkpoint(r.ctx, name, 0, n, ""); err != nil {
		r.t.Fatal(err)
	}
	if _, err := l.Seal(r.ctx, name); err != nil {
		r.t.Fatal(err)
	}
	return l
}

// take makes a lane's next task active.
func (r *fixture) take(lane string) (id string) {
	r.t.Helper()
	id = r.c.LMove(r.ctx, queue.Pending(lane), queue.Active(lane), "RIGHT", "LEFT").Val()
	r.c.HSet(r.ctx, queue.TaskPrefix(lane)+id, "state", "active")
	r.extend(lane, id)
	return id
}

// death waits until the workers of all active tasks count as dead.
func (r *fixture) death() {
	time.Sleep(Patience + 2*interval)
}

func (r *fixture) failures(l *batch.Ledger, name string, seqs ...int64) []*batch.Outcome {
	r.t.Helper()
	all, err := l.Failures(r.ctx, name, seqs)
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func TestATaskFailsAtItsThirdDeath(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		l := r.batch("b", "a", 1)
		r.watch(3, "a") // who all report each death
		for n := 1; n < batch.MaxCrashes; n++ {
			r.death()
			r.wantPending("a", "b:0")
			r.want(t, int64(n))
			if id := r.take("a"); id != "b:0" {
				t.Fatalf("took %q", id)
			}
		}
		if a, _, err := l.Begin(r.ctx, "b", 0); a != batch.RunAlone || err != nil {
			t.Fatalf("%v, %v", a, err)
		}
		r.death() // it waited
		r.wantPending("a", "b:0")
		r.take("a")
		if a, _, err := l.BeginAlone(r.ctx, "b", 0, 0); a != batch.Run || err != nil {
			t.Fatalf("%v, %v", a, err)
		}
		r.death()
		r.wantPending("a")
		failed := r.failures(l, "b", 0)
		if len(failed) != 1 || failed[0].Class != batch.Crashed || !strings.HasPrefix(failed[0].Error, "its worker died 3 times while it ran") ||
			string(failed[0].Payload) != `{"n":1}` || failed[0].Attempts != 1 || failed[0].Worker != "rescuer" {
			t.Errorf("it became %+v", failed)
		}
		r.wantFates(map[Fate]int{Back: batch.MaxCrashes, Crashed: 1}) // the last one waited
		if i, err := l.Info(r.ctx, "b"); err != nil || i.Phase != batch.Done || i.Failed != 1 || i.Retries != 0 {
			t.Errorf("%+v, %v", i, err)
		}
		if keys := r.c.Keys(r.ctx, "asynq:{a}*").Val(); len(keys) != 0 {
			t.Errorf("left are %v", keys)
		}
	})
}

// A reply that was lost on the way to a living worker costs time, and is no death.
func TestALostReplyIsNoDeath(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.batch("b", "a", 1)
		r.watch(2, "a")
		die := r.beating(7)
		for n := range 3 * batch.MaxCrashes {
			r.sign("a", 7, "b:0")
			r.death()
			r.wantPending("a", "b:0")
			r.want(t, int64(n+1))
			r.take("a")
		}
		if n := r.c.Exists(r.ctx, "weir:{b}:suspects").Val(); n != 0 {
			t.Error("it is a suspect")
		}
		r.sign("a", 7, "b:0")
		die()
		r.death()
		if n := r.c.Exists(r.ctx, "weir:{b}:suspects").Val(); n != 1 {
			t.Error("a death does not count")
		}
	})
}

func TestATaskWithItsOutcomeIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		l := r.batch("b", "a", 2)
		if _, err := l.Record(r.ctx, "b", &batch.Outcome{Seq: 1, State: batch.OK, Attempts: 1}, 0, nil); err != nil {
			t.Fatal(err)
		}
		// A stranger's task of the same ID, in another lane, is none of the batch's.
		r.active("z", "b:1")
		r.watch(2, "a", "z")
		r.death()
		r.wantPending("a", "b:0")
		r.wantPending("z", "b:1")
		if n := r.c.Exists(r.ctx, queue.TaskPrefix("a")+"b:1").Val(); n != 0 {
			t.Error("it is still there")
		}
	})
}

// While Redis is away no lease can be extended: nobody is blamed for that.
func TestOutagesOfRedisAreNoDeaths(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.batch("b", "a", 3)
		r.watch(2, "a")
		for range 5 {
			r.SetDown(true)
			time.Sleep(time.Minute)
			r.SetDown(false)
			for range 4 {
				time.Sleep(4 * time.Second)
				r.extend("a", "b:0", "b:1", "b:2")
			}
		}
		r.want(t, 0)
		if keys := r.c.Keys(r.ctx, "weir:*suspects").Val(); len(keys) != 0 {
			t.Errorf("suspects: %v", keys)
		}
	})
}

// None of these stops the good ones, and none stays.
func TestBadEntriesAreSetAsideAndStopNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		r.batch("b", "a", 3)
		r.active("a", "plain")
		key := func(id string) string { return queue.TaskPrefix("a") + id }
		foreign := r.c.HGet(r.ctx, key("b:2"), "msg").Val()
		r.c.HSet(r.ctx, key("0-garbage"), "msg", "\xff\xff\xff", "state", "active")
		r.c.HSet(r.ctx, key("0-other"), "msg", foreign, "state", "active")
		r.c.Set(r.ctx, key("0-string"), "not a hash", 0)
		r.c.HSet(r.ctx, key("0-ghost"), "state", "active")
		for _, id := range []string{"0-garbage", "0-other", "0-string", "0-ghost", "0-none"} {
			r.c.LPush(r.ctx, queue.Active("a"), id)
			r.extend("a", id)
		}
		r.c.ZAdd(r.ctx, queue.Lease("a"), redis.Z{Score: 1, Member: "0-leased"})
		r.c.LRem(r.ctx, queue.Active("a"), 0, "b:1") // a lease and a message, in no list
		r.c.Set(r.ctx, queue.Active("broken"), "a lane's key is no list", 0)
		r.watch(2, "broken", "a")
		r.death()
		r.wantPending("a", "b:0", "b:1", "b:2", "plain")
		r.want(t, 4)
		r.wantFates(map[Fate]int{Back: 4, Quarantine: 3, Ghost: 3})
		if kept := r.c.LRange(r.ctx, queue.Quarantine("a"), 0, -1).Val(); len(kept) != 3 {
			t.Errorf("kept are %v", kept)
		}
		if n := r.c.LLen(r.ctx, queue.Active("a")).Val() + r.c.ZCard(r.ctx, queue.Lease("a")).Val(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
		if keys := r.c.Keys(r.ctx, key("0-*")).Val(); len(keys) != 0 {
			t.Errorf("left are %v", keys)
		}
	})
}

// More than one round sees to are seen to by the next.
func TestAsManyAsARoundSeesTo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		n := most + 10
		pipe := r.c.Pipeline()
		for i := range n {
			pipe.LPush(r.ctx, queue.Active("a"), i) // ghosts
		}
		if _, err := pipe.Exec(r.ctx); err != nil {
			t.Fatal(err)
		}
		rescuer := r.rescuer(func() []string { return []string{"a"} })
		now := time.Now()
		for s := range int(Patience/time.Second) + 1 {
			if err := rescuer.round(r.ctx, now.Add(time.Duration(s)*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if left := r.c.LLen(r.ctx, queue.Active("a")).Val(); left != 10 {
			t.Errorf("%d are left after a round", left)
		}
		if err := rescuer.round(r.ctx, now.Add(Patience+time.Second)); err != nil {
			t.Fatal(err)
		}
		if left := r.c.LLen(r.ctx, queue.Active("a")).Val(); left != 0 {
			t.Errorf("%d are left after two", left)
		}
	})
}

// Only what carries the dead worker's mark is reclaimed, and that at once.
func TestReclaimTakesADeadWorkersTasksOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, r *fixture) {
		l := r.batch("b", "a", 3)
		r.active("z", "plain")
		const mine, other = queue.Mark(5), queue.Mark(6)
		for id, mark := range map[string]queue.Mark{"b:0": mine, "b:1": other, "b:2": mine} {
			r.c.Do(r.ctx, "ZADD", queue.Lease("a"), mark.Lease(2_000_000_000), id)
		}
		r.c.Do(r.ctx, "ZADD", queue.Lease("z"), mine.Lease(2_000_000_000), "plain")
		rescuer := r.rescuer(nil)
		if err := newPulse(r.c, mine, nil).once(r.ctx); err != nil { // just before it dies
			t.Fatal(err)
		}
		if err := rescuer.Reclaim(r.ctx, mine); err != nil {
			t.Fatal(err)
		}
		r.wantPending("a", "b:0", "b:2")
		r.wantPending("z", "plain")
		if n := r.c.HLen(r.ctx, "weir:{b}:suspects").Val(); n != 2 {
			t.Errorf("%d tasks have seen a death", n)
		}
		if n, err := l.CountCrash(r.ctx, "b", 0, mine.Lease(2_000_000_000)); n != 1 || err != nil {
			t.Errorf("the death counts as %d, %v", n, err)
		}
		if err := rescuer.Reclaim(r.ctx, 0); err != nil {
			t.Fatal(err)
		}
		r.wantPending("a", "b:0", "b:2")
	})
}
