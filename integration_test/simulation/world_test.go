package simulation

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/simnet"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/tasks"
)

const (
	// mustBeDone is how long after the last fault all batches must be done.
	mustBeDone = 4 * time.Minute
	// mustBeEmpty is how long after that nothing may be left in asynq's queues.
	mustBeEmpty = 2 * time.Minute
)

// world is one seed's run. It lives in one bubble.
type world struct {
	t     *testing.T
	id    string
	seed  uint64
	o     *options
	redis *simnet.Redis
	admin *machine // sees no faults

	began   time.Time
	faulty  atomic.Bool
	ticks   atomic.Int64   // how many seconds of simulated time have passed
	timers  sync.WaitGroup // all that happens later
	late    atomic.Int64   // requests of the dead that have not arrived
	batches map[string]*simBatch

	mu       sync.Mutex
	workers  []*worker // the life of each place at present
	lives    []*worker // all there were
	machines []*machine
	names    map[string]int
	runs     []*run
	counts   map[string]int
	extra    int // how many executions more than needed the faults so far allow
	timeline []string
	violated []string
}

// simBatch is a batch, how its tasks behave, and what has been seen of it.
type simBatch struct {
	batchOptions
	number      int
	name        string
	typ         *tasks.Type
	plans       []plan
	interrupted atomic.Bool
	producer    *producer

	// Guarded by the world's mutex.
	refused map[int64]int       // runs refused so far, by seq
	seen    map[int64]string    // the first outcome of each seq in the stream
	entries map[string]bool     // those of the stream that have been looked at
	at      map[int64]time.Time // when the first outcome of each seq was recorded
	next    int64               // the checkpoint
}

func newWorld(seed uint64, o *options) *world {
	return &world{
		seed: seed, o: o, batches: make(map[string]*simBatch), names: make(map[string]int), counts: make(map[string]int),
		workers: make([]*worker, len(o.workers)),
	}
}

// simulate runs one seed. The calling test is in a bubble.
func (w *world) simulate(t *testing.T) {
	w.t, w.id, w.redis, w.began = t, t.Name(), simnet.New(t), time.Now()
	stopTicking := w.tick()
	defer stopTicking()
	worlds.Store(w.id, w)
	defer worlds.Delete(w.id)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.admin = w.machine("admin", 0)
	defer w.admin.rdb.Close()
	w.plan()
	w.spread(w.o.shards)
	stopExpiring := w.redis.Expire(250 * time.Millisecond)
	defer stopExpiring()
	w.redis.Server().SetPreHook(w.before)
	var watching, producing sync.WaitGroup
	w.extra = w.o.extra
	for _, b := range w.batches {
		watching.Go(func() { w.watchCheckpoint(ctx, b) })
	}
	w.faulty.Store(true)
	for place := range w.o.workers {
		w.startWorker(place)
	}
	for _, b := range w.batches {
		producing.Go(func() { b.producer.run(ctx) })
	}
	w.faultPhase()
	w.await(&producing)
	cancel()
	producing.Wait()
	w.timers.Wait()
	for _, wk := range w.lives {
		w.timers.Go(wk.end)
	}
	w.timers.Wait()
	watching.Wait()
	time.Sleep(2 * taskTimeout) // for handlers that do not heed their timeout
	w.check()
	for _, wk := range w.lives {
		wk.Kill()
		_ = wk.rdb.Close() // not before: asynq panics when it loses its subscription for good
		wk.disown()
	}
	time.Sleep(2 * time.Second) // go-redis goes on dialing for a second after its client was closed
}

func (w *world) plan() {
	r := rand.New(rand.NewPCG(w.seed, 2))
	kinds := 100
	if w.o.failing {
		kinds = 45
	}
	for i, bo := range w.o.batches {
		b := &simBatch{
			batchOptions: bo, number: i, name: fmt.Sprintf("b%d", i), typ: wide.Type(),
			refused: make(map[int64]int), seen: make(map[int64]string), entries: make(map[string]bool), at: make(map[int64]time.Time),
		}
		if bo.narrow {
			b.typ = narrow.Type()
		}
		for range b.n {
			b.plans = append(b.plans, drawPlan(r, kinds, w.o.slow))
		}
		b.producer = &producer{w: w, b: b, file: &file{}}
		w.batches[b.name] = b
	}
}

// faultPhase lets the drawn faults happen, and then heals all.
func (w *world) faultPhase() {
	for _, f := range w.o.faults {
		time.Sleep(time.Until(w.began.Add(f.at)))
		w.happen(f)
	}
	time.Sleep(time.Until(w.began.Add(w.o.faultyFor)))
	w.faulty.Store(false)
	w.mu.Lock()
	for _, m := range w.machines {
		m.dieAt(nil)
	}
	w.mu.Unlock()
	w.note("from here on there are no new faults")
}

// happen lets one fault happen.
func (w *world) happen(f fault) {
	var p *producer
	if strings.HasSuffix(f.kind, "producer") {
		p = w.batches[fmt.Sprintf("b%d", f.place)].producer
	}
	switch f.kind {
	case "kill worker":
		w.killWorker(f.place, &f.d, f.lasts/10)
	case "stop worker":
		w.timers.Go(func() { w.stopWorker(f.place) })
	case "hold worker":
		wk := w.worker(f.place)
		w.allow("worker cut off", wk)
		w.hold(wk.machine, f)
	case "cut":
		wk := w.worker(f.place)
		w.note("the connections of %s are cut", wk.name)
		w.allow("connections cut", wk)
		wk.Cut()
	case "kill producer":
		if life := p.now(); !life.gone() {
			p.arm(life, &f.d)
		}
	case "hold producer":
		w.count("producer cut off")
		w.hold(p.now().machine, f)
	case "interrupt producer":
		p.interrupt()
	case "spread lanes":
		w.count("lanes spread anew")
		w.spread(f.place)
	}
}

// spread spreads the batches' lanes over so many queues.
func (w *world) spread(shards int) {
	for _, b := range w.batches {
		for lane.SetShards(w.t.Context(), w.admin.rdb, b.typ.Name(), shards) != nil { // a dial may be refused
			time.Sleep(100 * time.Millisecond)
		}
	}
	w.note("lanes are spread over %d queues", shards)
}

// hold cuts a machine off for a while. With late nothing of what it sent is lost.
func (w *world) hold(m *machine, f fault) {
	if m.gone() {
		return
	}
	w.note("%s is cut off for %v, late %v", m.name, f.lasts, f.late)
	m.isLost()
	m.Hold()
	w.timers.Go(func() {
		time.Sleep(f.lasts)
		w.note("%s is back", m.name)
		m.isBack()
		m.Release(f.late)
	})
}

// await waits until the producers have come to their end and the queues are empty.
func (w *world) await(producing *sync.WaitGroup) {
	w.timers.Go(func() {}) // never reused at zero while others wait
	done := make(chan struct{})
	go func() { producing.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(mustBeDone + w.stillFaulty()):
		w.violate("liveness", "not done %v after the last fault: %s", mustBeDone, w.unfinished())
		return
	}
	w.note("all batches are done")
	for w.late.Load() > 0 { // an enqueue that comes now is still the workers' to close
		time.Sleep(time.Second)
	}
	for end := time.Now().Add(mustBeEmpty); ; time.Sleep(500 * time.Millisecond) {
		left := w.leftInQueues()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			w.violate("I8", "left in asynq's queues %v after the batches were done: %v", mustBeEmpty, left)
			return
		}
	}
}

// stillFaulty is how long faults that have begun still last.
func (w *world) stillFaulty() time.Duration {
	last := w.o.faultyFor
	for _, f := range w.o.faults {
		last = max(last, f.at+max(f.lasts, f.d.late))
	}
	return max(0, last-time.Since(w.began))
}

// name names the next life of a machine.
func (w *world) name(kind string, place int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	base := fmt.Sprintf("%s-%d", kind, place)
	w.names[base]++
	return fmt.Sprintf("%s.%d", base, w.names[base])
}

// rng is the random source of one machine: what one does not use up another's.
func (w *world) rng(name string) *rand.Rand {
	h := fnv.New64()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteLocked(format, args...)
}

func (w *world) noteLocked(format string, args ...any) {
	w.timeline = append(w.timeline, fmt.Sprintf("%10.3f ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) violate(invariant, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violateLocked(invariant, format, args...)
}

func (w *world) violateLocked(invariant, format string, args ...any) {
	text := invariant + ": " + fmt.Sprintf(format, args...)
	w.violated = append(w.violated, text)
	w.noteLocked("VIOLATED %s", text)
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

// allow notes that what a worker has in flight may be run once more.
func (w *world) allow(what string, wk *worker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
	w.extra += slots * wk.concurrency
}

// allowAck notes that an ack met a fault. It is sent again 5 s later, in time before the
// rescue, but for one that then finds no connection.
func (w *world) allowAck() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.o.refuse > 0 {
		w.extra++
	}
}

// allowAgain notes that a batch's unfinished tasks begin again with their first attempt:
// a producer that is interrupted takes them out of Redis.
func (w *world) allowAgain(what string, b *simBatch) {
	w.watchStream(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
	for _, r := range w.runs {
		if _, has := b.seen[r.seq]; !has && r.batch == b.name {
			w.extra++
		}
	}
}

// log keeps weir's own words for the timeline.
func (w *world) log(name string) *slog.Logger { return slog.New(&logHandler{w, name}) }

type logHandler struct {
	w    *world
	name string
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= logLevel }
func (h *logHandler) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h *logHandler) WithGroup(string) slog.Handler                { return h }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "a handler ") { // as the seed's plans will have it
		return nil
	}
	var s strings.Builder
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "stack" {
			fmt.Fprintf(&s, " %s=%.200q", a.Key, fmt.Sprint(a.Value))
		}
		return true
	})
	h.w.note("%s says: %s%s", h.name, r.Message, s.String())
	return nil
}
