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
	"github.com/weir-tasks/weir/internal/together"
)

// Placeholder is the queue that the asynq.Server is configured with. No task ever
// is in it: a lane's name cannot contain a colon, and after that of a shard is a number.
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
	// Ahead, if set, is told the IDs of tasks that have just been taken, before they reach
	// their handlers, and returns for each what its Permit has as Ahead.
	Ahead func(ids []string) []any
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
	dones *together.Asker[ending, int64]

	counts tally

	stop     chan struct{}
	stopOnce sync.Once
	workers  sync.WaitGroup // the gate's own goroutines
	woken    chan struct{}  // a queue got work
	looking  chan struct{}  // holds one while somebody looks at the kinds of lanes

	mu        sync.Mutex
	known     []string              // queues in use
	work      map[string]*work      // of lanes that have tasks, or had some
	order     order                 // those of them whose turn may come
	now       int64                 // where their order stands
	turned    int64                 // how often it has changed
	weights   map[string]int        // of lanes; 1 if none
	taken     []task                // taken from Redis, not yet handed to asynq
	strange   []task                // taken, of types unknown here; only during collectAll
	claims    map[taskKey][]*Permit // of deliveries that have not reached their handler
	held      map[taskKey]*holding  // tasks that asynq has
	beat      time.Time             // when this worker told Redis that it lives
	news      []string              // lanes found to be governed, which others do not know yet
	touched   map[string]bool       // queues of which a task was taken since the last look
	shared    map[string]bool       // queues in which others enqueue, as Redis knows
	strangers map[string]bool       // those that it does not know of yet
	forwarded map[string]time.Time  // when due tasks of a kind were looked for
	failing   int                   // dequeues failed in a row
	holds     int                   // callers of Hold for whom nothing is taken
}

// task is a message taken from a lane.
type task struct {
	queue, id, msg string
	list           queue.Priority // where it waited
	lease          string         // the end of its lease, as Redis has it
	ahead          any            // see Options
	took           time.Time
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
	g := &Gate{
		UniversalClient: fast,
		rdb:             rdb,
		lanes:           lanes,
		opts:            opts,
		stop:            make(chan struct{}),
		woken:           make(chan struct{}, 1),
		looking:         make(chan struct{}, 1),
		work:            make(map[string]*work),
		forwarded:       make(map[string]time.Time),
		claims:          make(map[taskKey][]*Permit),
		held:            make(map[taskKey]*holding),
		touched:         make(map[string]bool),
		shared:          make(map[string]bool),
		strangers:       make(map[string]bool),
		sign:            queue.NewMark(),
	}
	g.dones = together.NewAsker(g.doneAll)
	return g
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
		return g.dequeue(ctx)
	}
	if kind, ok := isForward(keys); ok {
		return g.forward(ctx, kind, args)
	}
	if cmd, ours := g.done(ctx, keys, args); ours {
		return cmd
	}
	keys = g.requeued(keys, args)
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
		return settled(ctx)
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
	if isDequeue(keys) {
		return g.dequeue(ctx)
	}
	if kind, ok := isForward(keys); ok {
		return g.forward(ctx, kind, args)
	}
	keys = g.requeued(keys, args)
	return g.ack(ctx, keys, args, func(ctx context.Context) *redis.Cmd {
		return g.UniversalClient.Eval(ctx, src, keys, args...)
	})
}

// alive returns ctx, or one that still lives a while where ctx was cancelled.
func alive(ctx context.Context) (context.Context, context.CancelFunc) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	}
	return ctx, func() {}
}

// settled is the answer to an ack of a task with which there is nothing more to do.
func settled(ctx context.Context) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetVal("OK")
	return cmd
}

func failed(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
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

// mark notes that queues have work of a priority.
func (g *Gate) mark(p queue.Priority, queues ...string) {
	g.mu.Lock()
	for _, name := range queues {
		if g.serves(name) {
			g.found(name, p)
		}
	}
	g.mu.Unlock()
	g.wake()
}

// serves says that a queue is of a lane of this gate's.
func (g *Gate) serves(name string) bool {
	return name != Placeholder && (len(g.opts.Only) == 0 || slices.Contains(g.opts.Only, queue.Lane(name)))
}

var _ redis.UniversalClient = (*Gate)(nil)
