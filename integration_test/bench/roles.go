package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/source"
	"github.com/weir-tasks/weir/tasks"
	"golang.org/x/sync/errgroup"
)

// roleArg makes this program play one of the roles below.
const roleArg = "role"

// work is a task's payload: how long it takes, and when it was enqueued, if that matters.
type work struct {
	N     int64  `json:"n"`
	MS    int64  `json:"ms,omitempty"`
	At    int64  `json:"at,omitempty"` // ns since 1970
	Lanes int64  `json:"lanes,omitempty"`
	Pad   string `json:"pad,omitempty"`
}

// scattered is work in one of its Lanes.
type scattered work

func (s scattered) Lane() (string, error) { return fmt.Sprintf("lane-%d", s.N%s.Lanes), nil }

// noop is the task of most measurements; governed is the same in a lane with a governor,
// spread in many lanes.
var (
	spread   = tasks.Define("spread", tasks.Policy{Timeout: time.Minute}, func(ctx context.Context, in scattered) (struct{}, error) { return run(ctx, work(in)) })
	noop     = tasks.Define("noop", tasks.Policy{Timeout: time.Minute}, run)
	governed = tasks.Define("governed", tasks.Policy{Timeout: time.Minute, Governed: true}, run)
)

func run(ctx context.Context, in work) (struct{}, error) { return struct{}{}, in.do(ctx) }

// do says on stdout how long the task waited for its start, and takes its time.
func (w work) do(ctx context.Context) error {
	if w.At != 0 {
		fmt.Println(time.Now().UnixNano() - w.At)
	}
	if w.MS == 0 {
		return nil
	}
	timer := time.NewTimer(time.Duration(w.MS) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// play runs a role until SIGTERM, or until it is done. The arguments are the URL of Redis
// and what the role needs.
func play(role string, args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if path := os.Getenv("BENCH_PROFILE"); path != "" {
		defer profile(path + "." + role)()
	}
	var err error
	addr := strings.TrimPrefix(args[0], "redis://")
	switch url := args[0]; role {
	case "weir-worker":
		err = weirWorker(ctx, url, number(args[1]))
	case "weir-enqueue":
		err = weirEnqueue(ctx, url, args[1])
	case "weir-drip":
		err = weirDrip(ctx, url, dripOf(args[1:]))
	case "asynq-worker":
		err = asynqWorker(ctx, addr, number(args[1]))
	case "asynq-enqueue":
		err = asynqEnqueue(addr, number(args[1]), number(args[2]), number(args[3]))
	case "asynq-drip":
		err = asynqDrip(addr, dripOf(args[1:]))
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		log.Fatalf("%s: %v", role, err)
	}
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return n
}

func profile(path string) (stop func()) {
	file, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		log.Fatal(err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
		if allocs, err := os.Create(path + ".allocs"); err == nil {
			_ = pprof.Lookup("allocs").WriteTo(allocs, 0)
			_ = allocs.Close()
		}
	}
}

func open(ctx context.Context, url string) (*weir.Client, error) {
	return weir.Open(ctx, weir.Options{URL: url})
}

// weirWorker is what the command worker is.
func weirWorker(ctx context.Context, url string, concurrency int64) error {
	cli.RelaxGC()
	c, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.RunWorker(ctx, weir.WorkerOptions{Concurrency: int(concurrency), ShutdownTimeout: time.Second})
}

// weirEnqueue enqueues a batch that nobody follows.
func weirEnqueue(ctx context.Context, url, text string) error {
	var l load
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return err
	}
	c, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	t := map[string]*tasks.Type{"noop": noop.Type(), "governed": governed.Type(), "spread": spread.Type()}[l.Type]
	b, err := c.Begin(ctx, t, weir.BatchOptions{Name: batchName, Window: cmp.Or(l.Window, l.N)})
	if err != nil {
		return err
	}
	defer b.End()
	payload := fmt.Sprintf(`{"n":{n},"ms":%d,"lanes":%d,"pad":"%s"}`, l.MS, max(l.Lanes, 1), strings.Repeat("x", int(l.Pad)))
	src, err := source.Repeat(l.N, payload, t)
	if err != nil {
		return err
	}
	defer src.Close()
	return b.Feed(ctx, src)
}

// drip is the time between the tasks of a worker that is idle.
const drip = 50 * time.Millisecond

// drips are n tasks, some together every so often.
type drips struct {
	n, together int64
	every       time.Duration
}

func dripOf(args []string) drips {
	return drips{number(args[0]), number(args[2]), time.Duration(number(args[1])) * time.Microsecond}
}

// each calls f for each task when its time has come.
func (d drips) each(f func(i int64) bool) {
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for i := range d.n {
		if i%d.together == 0 {
			<-tick.C
		}
		if !f(i) {
			return
		}
	}
}

// weirDrip runs a batch that gets tasks now and then.
func weirDrip(ctx context.Context, url string, d drips) error {
	c, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	payloads := func(yield func(work) bool) {
		d.each(func(i int64) bool { return yield(work{N: i, At: time.Now().UnixNano()}) })
	}
	for _, err := range weir.Run(ctx, c, noop, payloads, weir.BatchOptions{}) {
		if err != nil {
			return err
		}
	}
	return nil
}

// asynqWorker is asynq as its documentation has it.
func asynqWorker(ctx context.Context, addr string, concurrency int64) error {
	s := asynq.NewServer(asynq.RedisClientOpt{Addr: addr}, asynq.Config{
		Concurrency: int(concurrency), LogLevel: asynq.ErrorLevel, ShutdownTimeout: time.Second,
	})
	err := s.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		var w work
		if err := json.Unmarshal(t.Payload(), &w); err != nil {
			return err
		}
		return w.do(ctx)
	}))
	if err != nil {
		return err
	}
	<-ctx.Done()
	s.Shutdown()
	return nil
}

// asynqEnqueue enqueues n tasks, of ms each, by so many goroutines.
func asynqEnqueue(addr string, n, ms, goroutines int64) error {
	c := asynq.NewClient(asynq.RedisClientOpt{Addr: addr})
	defer c.Close()
	var all sync.WaitGroup
	failed := make(chan error, goroutines)
	for g := range goroutines {
		all.Go(func() {
			for i := g; i < n; i += goroutines {
				if _, err := c.Enqueue(asynq.NewTask("noop", fmt.Appendf(nil, `{"n":%d,"ms":%d}`, i, ms))); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}

// asynqDrip enqueues by as many goroutines as tasks come together.
func asynqDrip(addr string, d drips) (err error) {
	c := asynq.NewClient(asynq.RedisClientOpt{Addr: addr})
	defer c.Close()
	var all errgroup.Group
	all.SetLimit(int(d.together))
	d.each(func(i int64) bool {
		payload := fmt.Appendf(nil, `{"n":%d,"at":%d}`, i, time.Now().UnixNano())
		all.Go(func() error {
			_, err := c.Enqueue(asynq.NewTask("noop", payload))
			return err
		})
		return true
	})
	return all.Wait()
}
