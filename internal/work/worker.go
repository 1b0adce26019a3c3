// Package work is a worker: asynq.Server behind the gate, the runner as its
// handler, and the rescuer beside it.
package work

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/attempt"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/egress"
	"github.com/weir-tasks/weir/internal/gate"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/rescue"
	"github.com/weir-tasks/weir/internal/secret"
	"github.com/weir-tasks/weir/internal/sign"
	"github.com/weir-tasks/weir/tasks"
)

// overlap is how many slots asynq has for each of the worker's own, which the gate's
// permits keep: while one task's outcome is recorded the next one runs already.
const overlap = 2

// graceToStop is how much longer than ShutdownTimeout Stop may take.
const graceToStop = 8 * time.Second

// Options configure a Worker.
type Options struct {
	// Name is the worker's in outcomes, leases and logs; one that is started again under
	// it gives back at once what it had when it died. Empty: host and process.
	Name string
	// Concurrency is how many tasks run at once. Required.
	Concurrency int
	// Lanes restricts the worker to these; empty means all.
	Lanes []string
	// ShutdownTimeout is how long Stop lets running tasks go on.
	ShutdownTimeout time.Duration
	// Egress is what http and ping tasks may connect to: "public", "any" or "none". Empty is
	// public.
	Egress egress.Mode
	// AllowNet may be connected to as well, DenyNet in no case.
	AllowNet, DenyNet []netip.Prefix
	// AllowPorts are those that http tasks may use besides 80 and 443, where Egress is
	// public. What AllowNet has may be reached at any.
	AllowPorts []uint16
	// MaxRedirects is how many of them one http request follows; 0 is 3.
	MaxRedirects int
	// AllowEnv and AllowFiles are the variables of this process' environment and the
	// files, or patterns of them, that payloads may refer to.
	AllowEnv, AllowFiles []string
	// MaxResult caps results of all types, in bytes; 0 leaves each its Policy.MaxResult.
	MaxResult int
	// VerifyKeys, if set, are those whose signatures count: a task with any other is not
	// run, and with RequireSignature none without one.
	VerifyKeys       *sign.Keys
	RequireSignature bool
	// Observe, if set, is told of every attempt's end.
	Observe func(attempt.Attempt)
	// Started, if set, is told of each task's first attempt: its type, and how long it waited.
	Started func(taskType string, wait time.Duration)
	// Rescued, if set, hears of the tasks of dead workers that this one has seen to.
	Rescued func(fate rescue.Fate, n int)
	// Watch, if set, hears what happens in the lanes.
	Watch lane.Watcher
	// Trouble, if set, hears when Redis does not answer, and, with a nil error, when
	// it answers again.
	Trouble func(err error, next time.Duration)
	Log     *slog.Logger
	// Now, if set, is this host's clock when it is compared with Redis'; for tests.
	Now func() time.Time
}

// Worker runs tasks between Start and Stop.
//
//	Redis <- gate <- asynq.Server -> runner -> handler
//	  ^       |  permits from lanes     |
//	  |       +-------------------------+ released when the handler has returned
//	  +--- ledger: outcome, before asynq's ack
//	  +--- rescuer: leases nobody extends
//	  +--- clock: this host's beside Redis'; the gate takes nothing while they differ
type Worker struct {
	opts   Options
	id     string // unique per start
	fast   redis.UniversalClient
	lanes  *lane.Set
	gate   *gate.Gate
	runner *attempt.Runner
	server *asynq.Server
	known  *known // what server has for Redis

	rescuer *rescue.Rescuer
	clock   *clock
	named   *named // nil without a name of its own
	cancel  context.CancelFunc
	others  sync.WaitGroup
	stop    sync.Once
	phase   atomic.Int32
	gone    chan struct{} // closed when all has stopped
}

// New returns a worker. fast sends single commands: rdb itself, or something that
// pipelines them.
func New(rdb, fast redis.UniversalClient, ledger *batch.Ledger, o Options) (*Worker, error) {
	if o.Concurrency < 1 {
		return nil, fmt.Errorf("a worker's concurrency must be at least 1, not %d", o.Concurrency)
	}
	if o.MaxResult < 0 {
		return nil, fmt.Errorf("a worker's cap of results must not be %d", o.MaxResult)
	}
	if o.MaxRedirects < 0 {
		return nil, fmt.Errorf("a worker's cap of redirects must not be %d", o.MaxRedirects)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Egress == "" {
		o.Egress = egress.Public
	}
	secrets, err := secret.New(o.AllowEnv, o.AllowFiles)
	if err != nil {
		return nil, err
	}
	if o.RequireSignature && o.VerifyKeys == nil {
		return nil, errors.New("a worker that requires signatures needs keys to verify them with")
	}
	guard, err := egress.New(egress.Options{Mode: o.Egress, Allow: o.AllowNet, Deny: o.DenyNet, Ports: o.AllowPorts})
	if err != nil {
		return nil, err
	}
	w := &Worker{opts: o, id: fmt.Sprintf("%s %s", Name(), rand.Text()), fast: fast, gone: make(chan struct{})}
	w.lanes = lane.NewSet(w.id, o.Concurrency)
	if o.Watch != nil {
		w.lanes.Watch(o.Watch)
	}
	for _, t := range tasks.All() {
		if p := t.Policy(); p.Concurrency > 0 {
			w.lanes.Limit(p.Lane, p.Concurrency)
		}
	}
	w.gate = gate.New(rdb, fast, w.lanes, gate.Options{
		Trouble: o.Trouble,
		Only:    o.Lanes, Log: o.Log,
		Knows: func(taskType string) bool { _, ok := tasks.Lookup(taskType); return ok },
		Governed: func(taskType string) bool {
			t, ok := tasks.Lookup(taskType)
			return ok && t.Policy().Governed
		},
		Foreign: func(m *queue.Message) bool { _, ours := m.Headers[batch.Header]; return !ours },
		Unknown: func(taskType, lane string) { w.runner.WarnUnknown(taskType, lane) },
		Ahead:   func(ids []string) []any { return w.runner.Ahead(ids) },
	})
	w.runner = attempt.New(attempt.Options{
		Worker: w.Name(), Ledger: ledger, Gate: w.gate, Log: o.Log, Observe: o.Observe, Started: o.Started, Trouble: o.Trouble,
		Egress: guard, Verify: verifier(o), Secrets: secrets, MaxResult: o.MaxResult, MaxRedirects: o.MaxRedirects,
	})
	w.rescuer = rescue.New(rdb, rescue.Options{
		Name: w.Name(), Ledger: ledger, Mark: w.gate.Mark(), Beat: w.gate.Alive, Lanes: w.gate.Queues, Rescued: o.Rescued, Log: o.Log,
	})
	if o.Name != "" {
		w.named = newNamed(rdb, o.Name, w.gate.Mark(), o.Log)
	}
	w.clock = &clock{rdb: rdb, now: o.Now, hold: w.gate.Hold, log: o.Log}
	w.known = &known{Gate: w.gate, met: make(chan struct{})}
	w.server = asynq.NewServerFromRedisClient(w.known, asynq.Config{
		Concurrency:     overlap * o.Concurrency,
		Queues:          map[string]int{gate.Placeholder: 1},
		RetryDelayFunc:  w.runner.RetryDelay,
		IsFailure:       w.runner.IsFailure,
		ShutdownTimeout: max(o.ShutdownTimeout, time.Millisecond), // 0 would be asynq's default
		ErrorHandler:    asynq.ErrorHandlerFunc(w.notRun),
		// The gate waits, asynq need not.
		TaskCheckInterval:        2 * time.Millisecond,
		DelayedTaskCheckInterval: 500 * time.Millisecond,
		Logger:                   asynqLog{o.Log},
		LogLevel:                 asynq.InfoLevel,
	})
	return w, nil
}

// verifier is what a worker checks signatures with; nil for not at all.
func verifier(o Options) func(sign.Task, string) error {
	if o.VerifyKeys == nil {
		return nil
	}
	return func(t sign.Task, signature string) error {
		if signature == "" && !o.RequireSignature {
			return nil
		}
		return o.VerifyKeys.Verify(t, signature, time.Now())
	}
}

// Name is how the worker calls itself in outcomes, leases and logs.
func (w *Worker) Name() string {
	if w.opts.Name != "" {
		return w.opts.Name
	}
	return Name()
}

// takeName takes the worker's name, and what the last worker of that name left. Where
// Redis does not answer, rescue sees to that.
func (w *Worker) takeName(ctx context.Context) error {
	if w.named == nil {
		return nil
	}
	before, err := w.named.take(ctx)
	var taken *NameTakenError
	if errors.As(err, &taken) {
		return err
	}
	if err == nil && before != 0 {
		err = w.rescuer.Reclaim(ctx, before)
	}
	if err != nil {
		w.opts.Log.Warn("cannot look for tasks that this worker's predecessor had; they are given back later", "name", w.opts.Name, "err", err)
	}
	return nil
}

// notRun frees the permit of a task that asynq did not hand to its handler, since
// its client's deadline for it had passed. The handler of any other has claimed it.
func (w *Worker) notRun(ctx context.Context, _ *asynq.Task, _ error) {
	id, _ := asynq.GetTaskID(ctx)
	name, _ := asynq.GetQueueName(ctx)
	w.gate.Claim(name, id).Release()
}

// Start makes the worker take tasks; it returns once it does. A worker starts once. A
// *NameTakenError if another has its name.
func (w *Worker) Start() error {
	if w.cancel != nil {
		return errors.New("this worker has been started before")
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	if err := w.takeName(ctx); err != nil {
		cancel()
		return err
	}
	if w.named != nil {
		w.others.Go(func() { w.named.run(ctx) })
	}
	w.others.Go(func() { w.runner.Listen(ctx) })
	w.others.Go(func() { w.rescuer.Run(ctx) })
	w.others.Go(func() { w.lanes.Govern(ctx, w.fast, w.opts.Log) })
	w.others.Go(func() { lane.Sweep(ctx, w.fast, w.id, w.opts.Log) })
	w.clock.look(ctx)
	w.others.Go(func() { w.clock.run(ctx) })
	w.others.Go(func() { w.tell(ctx, w.known) })
	w.gate.Start()
	if err := w.server.Start(w.runner); err != nil {
		return errors.Join(fmt.Errorf("start asynq: %w", err), w.Stop())
	}
	w.phase.CompareAndSwap(starting, running)
	return nil
}

// Stop takes nothing new, lets running tasks finish within ShutdownTimeout, gives
// the rest back, and returns when all is done. Where Redis does not answer it
// returns graceToStop later at the latest, with an error; called again, it waits once
// more for what had not ended. It may be called before Start.
func (w *Worker) Stop() error {
	if w.cancel == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(w.opts.ShutdownTimeout, 0)+graceToStop)
	defer cancel()
	var err error
	w.stop.Do(func() { err = w.halt(ctx) })
	select {
	case <-w.gone:
		return err
	case <-ctx.Done():
		return errors.Join(err, errors.New("asynq has not stopped in time, since Redis does not answer; other workers run its tasks again"))
	}
}

// halt begins to stop. The order: first the gate, so that no task is taken and then
// given back; then asynq, whose running tasks still need the ledger; then attempts
// that asynq has given up; last what only watches.
func (w *Worker) halt(ctx context.Context) error {
	gateCtx, cancel := context.WithTimeout(ctx, graceToStop/2)
	defer cancel()
	w.phase.Store(stopping)
	err := w.gate.Stop(gateCtx)
	go func() {
		defer close(w.gone)
		w.server.Shutdown()
		w.runner.Stop(ctx)
		w.stopOthers()
	}()
	return err
}

func (w *Worker) stopOthers() {
	w.cancel()
	w.others.Wait()
}

// Stat is a worker at one moment.
type Stat struct {
	InFlight int // handlers that run, stuck ones too
	Stuck    int
	Slots    int // how many may run
	Lanes    []lane.Stat
	Gate     gate.Stat
	// Clock is by how much this host's clock is ahead of Redis', as last compared.
	Clock time.Duration
}

// Stat tells how the worker stands.
func (w *Worker) Stat() Stat {
	return Stat{
		InFlight: w.lanes.InFlight(), Stuck: w.runner.Stuck(), Slots: w.opts.Concurrency, Lanes: w.lanes.Stats(),
		Gate: w.gate.Stat(), Clock: time.Duration(w.clock.offset.Load()),
	}
}

// Took is how long tasks of a lane take in this worker, of late, or 0 if that is not known.
func (w *Worker) Took(name string) time.Duration { return w.lanes.Took(name) }

// Cluster is the workers that live, as Look sees them.
func Cluster(ctx context.Context, rdb redis.UniversalClient) (lane.Cluster, error) {
	all, err := Living(ctx, rdb)
	return Sum(all), err
}
