package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
)

// Placeholder is the queue that the asynq.Server is configured with. No task ever
// is in it: a lane's name cannot contain a colon.
const Placeholder = "weir:gate"

const (
	// patience is the longest that one dequeue waits. asynq starts the lease, 30 s,
	// before it asks, so an answer must not come much later.
	patience = 5 * time.Second

	// look is how often the gate looks for work that nobody announced: tasks of
	// foreign clients, and wake-ups lost with a connection.
	look = time.Second

	// unclaimedAfter is when a permit whose task never reached the handler goes back.
	unclaimedAfter = 10 * time.Second

	// pipelined is the most tasks taken in one pipeline.
	pipelined = 64

	// unknownDelay is how long a task of a type that is unknown here is put off.
	unknownDelay = 5 * time.Second

	// lateGiveBack bounds the giving back of what a dequeue took during Stop.
	lateGiveBack = 5 * time.Second
)

// Options configure a Gate.
type Options struct {
	// Only restricts the gate to these lanes; empty means every lane.
	Only []string
	// Knows, if set, says whether this worker has a task type. Tasks of others stay in
	// their lane: they are put off by unknownDelay, which costs nothing of their retry
	// budget, and Unknown is told. A worker that has the type may take them then.
	Knows   func(taskType string) bool
	Unknown func(taskType, lane string)
	// Governed, if set, says whether the lanes of a task type are governed.
	Governed func(taskType string) bool
	// Foreign, if set, says whether a task was enqueued by another asynq client than weir.
	Foreign func(*queue.Message) bool
	// Trouble, if set, hears when Redis does not answer, or refuses, and of the wait;
	// and, with a nil error, when it answers again.
	Trouble func(err error, next time.Duration)
	Log     *slog.Logger
}

// Gate is a redis.UniversalClient; see the package comment.
type Gate struct {
	redis.UniversalClient // sends what is neither a dequeue nor a forward

	rdb   redis.UniversalClient // for pipelines of our own
	lanes *lane.Set
	opts  Options
	sign  queue.Mark // this worker's, in the leases of its tasks

	stop     chan struct{}
	stopOnce sync.Once
	workers  sync.WaitGroup // the gate's own goroutines
	woken    chan struct{}  // a lane got work
	looking  sync.Mutex     // at the kinds of lanes

	mu        sync.Mutex
	known     []string             // lanes in use
	work      map[string]bool      // lanes that may have work
	ring      []string             // those of them that may have permits, in the order of turns
	shut      map[string]bool      // those of them that have none
	taken     []task               // taken from Redis, not yet handed to asynq
	strange   []task               // taken, of types unknown here; only during collectAll
	claims    map[string][]*Permit // of deliveries that have not reached their handler
	held      map[string]*holding  // tasks that asynq has
	beat      time.Time            // when this worker told Redis that it lives
	news      []string             // lanes found to be governed, which others do not know yet
	touched   map[string]bool      // lanes of which a task was taken since the last look
	shared    map[string]bool      // lanes in which others enqueue, as Redis knows
	strangers []string             // those that it does not know of yet
	forwarded map[string]time.Time // when due tasks of a kind were looked for
	failing   int                  // dequeues failed in a row
	holds     int                  // callers of Hold for whom nothing is taken
}

// task is a message taken from a lane.
type task struct {
	lane, id, msg string
	lease         string // the end of its lease, as Redis has it
	took          time.Time
}

// New returns a gate on rdb. fast sends single commands: rdb itself, or something
// that pipelines them. lanes gives the permits.
func New(rdb, fast redis.UniversalClient, lanes *lane.Set, opts Options) *Gate {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Trouble == nil {
		opts.Trouble = func(error, time.Duration) {}
	}
	return &Gate{
		UniversalClient: fast,
		rdb:             rdb,
		lanes:           lanes,
		opts:            opts,
		stop:            make(chan struct{}),
		woken:           make(chan struct{}, 1),
		work:            make(map[string]bool),
		shut:            make(map[string]bool),
		forwarded:       make(map[string]time.Time),
		claims:          make(map[string][]*Permit),
		held:            make(map[string]*holding),
		touched:         make(map[string]bool),
		shared:          make(map[string]bool),
		sign:            queue.NewMark(),
	}
}

// Mark is this worker's in the leases of its tasks.
func (g *Gate) Mark() queue.Mark { return g.sign }

// Start makes the gate listen for work. It returns at once.
func (g *Gate) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	g.workers.Go(func() { <-g.stop; cancel() })
	g.workers.Go(func() { g.listen(ctx) })
	g.workers.Go(func() { g.lookAround(ctx) })
}

// Stop makes the gate take nothing new and gives back what asynq has not got yet.
// It may be called more than once. Where Redis does not answer it returns when ctx
// ends, with an error; rescue then gives those tasks back.
func (g *Gate) Stop(ctx context.Context) error {
	g.stopOnce.Do(func() { close(g.stop) })
	err := g.giveBack(ctx)
	gone := make(chan struct{})
	go func() { g.workers.Wait(); close(gone) }()
	select {
	case <-gone:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("stop looking for work: %w", context.Cause(ctx)))
	}
}

func (g *Gate) stopped() bool {
	select {
	case <-g.stop:
		return true
	default:
		return false
	}
}

// EvalSha runs a script by hash: asynq's way to do nearly everything.
func (g *Gate) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if isDequeue(keys) {
		return g.dequeue(ctx, sha, args)
	}
	if kind, ok := isForward(keys); ok {
		return g.forward(ctx, sha, kind, args)
	}
	return g.ack(ctx, keys, args, func(ctx context.Context) *redis.Cmd {
		return g.UniversalClient.EvalSha(ctx, sha, keys, args...)
	})
}

// ack sends one of asynq's scripts, with a live context, unless it is the ack of a task
// that others have. That a task is not active any more is as good as an ack: the first
// try has come through and its reply was lost, or the task was given back. asynq would
// send it again 5 s later, when the task's ID may be another delivery's.
func (g *Gate) ack(ctx context.Context, keys []string, args []any, send func(context.Context) *redis.Cmd) *redis.Cmd {
	again := errors.Is(ctx.Err(), context.Canceled) // as asynq's syncer has it
	ctx, cancel := alive(ctx)
	defer cancel()
	fenced, sent := g.fenced(ctx, keys, args, again)
	if fenced {
		cmd := redis.NewCmd(ctx)
		cmd.SetVal("OK")
		return cmd
	}
	cmd := send(ctx)
	if redis.HasErrorPrefix(cmd.Err(), "NOT FOUND") {
		cmd.SetErr(nil)
		cmd.SetVal("OK")
	}
	sent(cmd.Err())
	return cmd
}

// Eval runs a script by its text: asynq's way when Redis did not know the hash.
func (g *Gate) Eval(ctx context.Context, src string, keys []string, args ...any) *redis.Cmd {
	_, isForward := isForward(keys)
	if !isDequeue(keys) && !isForward {
		return g.ack(ctx, keys, args, func(ctx context.Context) *redis.Cmd {
			return g.UniversalClient.Eval(ctx, src, keys, args...)
		})
	}
	sha, err := g.rdb.ScriptLoad(ctx, src).Result()
	if err != nil {
		if !isForward {
			g.backOff(err) // asynq asks again at once
		}
		return failed(ctx, fmt.Errorf("load asynq's script: %w", err))
	}
	return g.EvalSha(ctx, sha, keys, args...)
}

// alive returns ctx, or one that still lives a while where ctx was cancelled.
func alive(ctx context.Context) (context.Context, context.CancelFunc) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	}
	return ctx, func() {}
}

func failed(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

// dequeue answers asynq's request for a task: with one, with redis.Nil when the
// gate stops or patience ends, or with an error, after a wait.
func (g *Gate) dequeue(ctx context.Context, sha string, args []any) *redis.Cmd {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if g.stopped() {
			// What this call took while the gate was stopping.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateGiveBack)
			defer cancel()
			if err := g.giveBack(ctx); err != nil {
				g.opts.Log.Warn("stopping", "err", err)
			}
			return failed(ctx, redis.Nil)
		}
		if msg, ok := g.hand(); ok {
			cmd := redis.NewCmd(ctx)
			cmd.SetVal(msg)
			return cmd
		}
		took, err := g.take(ctx, sha, args)
		if err != nil {
			if !noScript(err) {
				g.backOff(err)
			}
			return failed(ctx, err)
		}
		if took {
			continue
		}
		select {
		case <-g.woken:
		case <-g.lanes.Freed():
		case <-timer.C:
			return failed(ctx, redis.Nil)
		case <-g.stop:
		}
	}
}

// hand gives out a task taken earlier, and leaves its permit to be claimed.
func (g *Gate) hand() (msg string, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped() || len(g.taken) == 0 { // what is left after a stop, giveBack has or gets
		return "", false
	}
	t := g.taken[0]
	g.taken = g.taken[1:]
	key := claimKey(t.lane, t.id)
	g.claims[key] = append(g.claims[key], &Permit{lanes: g.lanes, lane: t.lane})
	g.hold(t)
	return t.msg, true
}

// turnOf is what take asks of one lane.
type turnOf struct {
	lane    string
	permits int
	cmds    []*redis.Cmd
}

// take fetches tasks of lanes that have work and permits, in one pipeline.
func (g *Gate) take(ctx context.Context, sha string, args []any) (took bool, err error) {
	turns := g.turns()
	if len(turns) == 0 {
		return false, nil
	}
	now := time.Now()
	lease := g.sign.Lease(now.Add(30 * time.Second).Unix())
	pipe := g.rdb.Pipeline()
	for i := range turns {
		t := &turns[i]
		keys := []string{queue.Pending(t.lane), queue.Paused(t.lane), queue.Active(t.lane), queue.Lease(t.lane)}
		for range t.permits {
			t.cmds = append(t.cmds, pipe.EvalSha(ctx, sha, keys, lease, queue.TaskPrefix(t.lane)))
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	took, strange, err := g.collectAll(turns, lease, now)
	g.noteShared(ctx) // before such a task can end, and leave nothing to tell of it
	g.postpone(ctx, strange)
	return took, err
}

// collectAll keeps the tasks that came; strange are those of types unknown here.
func (g *Gate) collectAll(turns []turnOf, lease string, now time.Time) (took bool, strange []task, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { strange, g.strange = g.strange, nil }()
	answered := false
	for _, t := range turns {
		got, laneErr := g.collect(t, lease, now)
		took = took || got > 0
		answered = answered || laneErr == nil || got > 0
		err = worse(err, laneErr)
		if got == t.permits {
			g.addWork(t.lane)
		} else if laneErr == nil {
			g.lanes.Backlog(t.lane, 0)
		}
	}
	// A lane that failed is asked again after the next look that finds work in it: one
	// that is broken must not hold up the others.
	if noScript(err) {
		for _, t := range turns {
			g.addWork(t.lane) // asynq calls again at once, with the script
		}
	} else if answered {
		g.failing = 0
		return took, nil, nil
	}
	return false, nil, fmt.Errorf("take tasks: %w", err)
}

func noScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }

// worse is the error to report of two: with NOSCRIPT asynq sends the script, so
// that the next call heals.
func worse(a, b error) error {
	if a == nil || noScript(b) {
		return b
	}
	return a
}

// turns decides how many tasks to ask of which lane, and takes the permits. Lanes
// take turns; each gets its share of what is free. The lanes asked lose their
// mark: whoever adds work after this sets it again.
func (g *Gate) turns() []turnOf {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped() || g.holds > 0 || g.silent() {
		return nil
	}
	for _, name := range g.lanes.Loose() {
		if g.shut[name] {
			delete(g.shut, name)
			g.ring = append(g.ring, name)
		}
	}
	var turns []turnOf
	left := pipelined
	for n := len(g.ring); n > 0; n-- {
		free := min(left, g.lanes.Room())
		if free <= 0 {
			break
		}
		name := g.ring[0]
		g.ring = g.ring[1:]
		got := g.lanes.Take(name, max(1, free/n))
		if got == 0 {
			g.shut[name] = true
			continue
		}
		delete(g.work, name)
		turns = append(turns, turnOf{lane: name, permits: got})
		left -= got
	}
	return turns
}

// addWork notes that a lane may have work. The caller has g.mu.
func (g *Gate) addWork(name string) {
	if g.work[name] {
		return
	}
	g.work[name] = true
	g.ring = append(g.ring, name)
}

// collect keeps the tasks that came for one lane and returns the other permits.
func (g *Gate) collect(t turnOf, lease string, now time.Time) (got int, err error) {
	for _, cmd := range t.cmds {
		msg, cmdErr := cmd.Text()
		switch {
		case errors.Is(cmdErr, redis.Nil): // the lane is empty or paused
		case cmdErr != nil:
			err = cmdErr
		default:
			got++
			m, err := queue.Decode(msg)
			if err != nil {
				// asynq would refuse it likewise. Its ID is not known here: rescue, which
				// sees that it stays active, sets it aside.
				g.opts.Log.Error("a task of this lane cannot be decoded; it will be set aside", "lane", t.lane)
				g.lanes.Return(t.lane, 1)
				continue
			}
			g.noteTask(t.lane, m)
			g.learn(t.lane, g.opts.Governed != nil && g.opts.Governed(m.Type))
			taken := task{lane: t.lane, id: m.ID, msg: msg, lease: lease, took: now}
			if g.opts.Knows != nil && !g.opts.Knows(m.Type) {
				g.opts.Unknown(m.Type, t.lane)
				g.strange = append(g.strange, taken)
				g.lanes.Return(t.lane, 1)
				continue
			}
			g.taken = append(g.taken, taken)
		}
	}
	g.lanes.Return(t.lane, t.permits-got)
	return got, err
}

// backOff waits the longer, the more dequeues have failed in a row.
func (g *Gate) backOff(err error) {
	g.mu.Lock()
	g.failing = min(g.failing+1, 6)
	wait := 50 * time.Millisecond << g.failing // 100 ms .. 3.2 s
	g.mu.Unlock()
	g.opts.Trouble(err, wait)
	select {
	case <-time.After(wait):
	case <-g.stop:
	}
}

// learn notes whether a lane is governed, and tells the other workers. The caller has
// g.mu.
func (g *Gate) learn(lane string, governed bool) {
	before, known := g.lanes.Knows(lane)
	if known && (before || !governed) {
		return
	}
	g.lanes.Learn(lane, governed)
	if governed {
		g.news = append(g.news, lane)
	}
}

// mark notes that lanes may have work.
func (g *Gate) mark(names ...string) {
	g.mu.Lock()
	for _, name := range names {
		if g.serves(name) {
			g.addWork(name)
		}
	}
	g.mu.Unlock()
	g.wake()
}

// serves says that a lane is one of this gate's.
func (g *Gate) serves(name string) bool {
	return name != Placeholder && (len(g.opts.Only) == 0 || slices.Contains(g.opts.Only, name))
}

var _ redis.UniversalClient = (*Gate)(nil)
