package produce

import (
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// The window follows what live workers can run at once, whoever started them.
// A worker has twice its slots at asynq, another server what it says.
func TestTheAutomaticWindowIsAFewTimesTheWorkersSlots(t *testing.T) {
	p := mini(t)
	p.work(300)
	server := asynq.NewServerFromRedisClient(p.rdb, asynq.Config{Concurrency: 200, Queues: map[string]int{"x": 1}, LogLevel: asynq.FatalLevel})
	if err := server.Start(asynq.NewServeMux()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	p.await("both are counted", func() bool { return newWindow(p.rdb).get(t.Context()) == perSlot*(2*300+200) })
}

func TestTheAutomaticWindowHasBounds(t *testing.T) {
	p := mini(t)
	if got := newWindow(p.rdb).get(t.Context()); got != minWindow {
		t.Errorf("without workers it is %d", got)
	}
	p.work(1)
	if got := newWindow(p.rdb).get(t.Context()); got != minWindow {
		t.Errorf("with one slot it is %d", got)
	}
	p.work(50_000)
	p.await("it is at its most", func() bool { return newWindow(p.rdb).get(t.Context()) == maxWindow })
}

// It is a hint: while Redis is away it stays as it was.
func TestTheAutomaticWindowOutlivesRedis(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	p := newPlace(t, server.Client())
	w := newWindow(p.rdb)
	w.size = 4321
	server.Kill()
	if got := w.get(t.Context()); got != 4321 {
		t.Errorf("it became %d", got)
	}
}

// Feeder and follower both ask.
func TestTheAutomaticWindowIsAskedForNowAndThen(t *testing.T) {
	p := mini(t)
	w := newWindow(p.rdb)
	w.get(t.Context())
	w.size = 4321
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if got := w.get(t.Context()); got != 4321 {
				t.Errorf("it was asked for again: %d", got)
			}
		})
	}
	all.Wait()
}

// A Redis that is nearly full gets no more tasks, until it has room.
func TestNothingIsEnqueuedIntoAFullRedis(t *testing.T) {
	p := real(t)
	o := p.named()
	p.rdb.Set(t.Context(), "ballast", make([]byte, 80<<20), 0)
	p.rdb.ConfigSet(t.Context(), "maxmemory", "100mb")
	p.work(2)
	s := &sink{}
	run := p.start(p.begin(o), upTo(50), s)
	time.Sleep(700 * time.Millisecond) // as long as a look is good for, and more
	if i := p.info(o.Name); i.Next != 0 {
		t.Errorf("%d tasks were enqueued", i.Next)
	}
	p.rdb.Del(t.Context(), "ballast")
	if err := run.wait(); err != nil {
		t.Fatal(err)
	}
	wantEach(t, 50, s)
}
