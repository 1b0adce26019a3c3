package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/follow"
	"github.com/weir-tasks/weir/internal/produce"
	"github.com/weir-tasks/weir/internal/work"
)

// outFlags say what is done with a batch's outcomes.
type outFlags struct {
	Out      string `help:"Write the outcomes to this file, synced and complete; a restart goes on with it." placeholder:"FILE"`
	Ordered  bool   `help:"Outcomes in the order of input."`
	FailFast bool   `help:"Cancel the batch at the first failure."`
}

type runCmd struct {
	inputFlags
	batchFlags
	dueFlags
	outFlags
	signFlags
	httpFlags
	UI          string `name:"ui" help:"Serve the web UI at this address of loopback while the batch runs." placeholder:"ADDR"`
	Concurrency int    `help:"Without --redis: tasks run at once in this process." default:"50" short:"c"`
	Egress      string `help:"Without --redis: what http and ping tasks may connect to: any; public, which is the internet and no network beside it; or none, which is what --allow-net has alone." enum:"public,any,none" default:"any"`
	cli.Networks
	cli.Secrets
	cli.Results
	cli.Commands
}

// Run is the main job:
//
//	input -> feed -> Redis -> workers (here, without --redis) -> outcomes -> follow -> sink
func (r *runCmd) Run(ctx context.Context, common *cli.Common) error {
	in, err := r.open(&r.batchFlags)
	if err != nil {
		return err
	}
	defer in.Close()
	o := r.batchFlags.options(in)
	if err := r.dueFlags.options(&o, time.Now()); err != nil {
		return err
	}
	s := newScreen(common, r.Quiet)
	client, err := s.connectSigning(ctx, &r.signFlags)
	if err != nil {
		return err
	}
	defer client.Close()
	stop, err := r.serveMetrics(s, client)
	if err != nil {
		return err
	}
	defer stop()
	if client.Embedded() {
		worker, err := r.startWorker(s, client)
		if err != nil {
			return err
		}
		defer worker.Stop()
	}
	if r.UI != "" {
		stop, err := serveBeside(ctx, s, client, r.UI)
		if err != nil {
			return err
		}
		defer stop()
	}
	return r.produce(ctx, s, client, in, o)
}

// produce runs a batch to its end.
func (f *outFlags) produce(ctx context.Context, s *screen, client *weir.Client, in *input, o weir.BatchOptions) (err error) {
	o.Ordered, o.FailFast = f.Ordered, f.FailFast
	if f.Out != "" {
		if o.Out, err = filepath.Abs(f.Out); err != nil {
			return cli.UsageError("--out %s: %w", f.Out, err)
		}
	}
	b, err := client.Begin(ctx, in.typ, o)
	if err != nil {
		return beginError(ctx, err)
	}
	defer b.End()
	sink, given, err := f.openSink(ctx, b, s)
	if err != nil {
		return err
	}
	defer sink.Close()

	s.begin(b, client.Embedded())
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	s.watch(watching, client, b.Name(), in.Source)
	err = b.Run(ctx, in.Source, produce.Outcomes{Sink: sink, Given: given, Seen: s.seen})
	stopWatching()
	return s.conclude(ctx, client, b.Name(), err)
}

func (r *runCmd) startWorker(s *screen, client *weir.Client) (interface{ Stop() error }, error) {
	if r.Concurrency < 1 || r.Concurrency > 100_000 {
		return nil, cli.UsageError("--concurrency %d: must be from 1 to 100000", r.Concurrency)
	}
	if err := r.Allow(); err != nil {
		return nil, err
	}
	// Nothing outlives the process, so nothing is worth waiting for when it ends.
	options := weir.WorkerOptions{Concurrency: r.Concurrency, ShutdownTimeout: time.Millisecond}
	if err := errors.Join(r.Restrict(&options, r.Egress), r.Reveal(&options)); err != nil {
		return nil, &cli.Status{Code: cli.Usage, Err: err}
	}
	r.Bound(&options)
	watch := func(func() work.Stat) {}
	if s.metrics != nil {
		m := s.metrics.Worker()
		options.Observe, options.Started, options.Rescued, options.Watch = m.Observe, m.Started, m.Rescued, m
		watch = m.Watch
	}
	w, err := client.NewWorker(options)
	if err != nil {
		return nil, err
	}
	watch(w.Stat)
	return w, w.Start()
}

// closingSink is a sink with an end.
type closingSink interface {
	follow.Sink
	Close() error
}

// openSink opens where outcomes go, and tells how many went there before.
func (f *outFlags) openSink(ctx context.Context, b *weir.Batch, s *screen) (sink closingSink, given int64, err error) {
	resumed := b.Resumed()
	if resumed != nil {
		given = resumed.Given
	}
	if f.Out == "" {
		return stdout{follow.NewStream(s.report.Beside(os.Stdout))}, given, nil
	}
	file, err := follow.OpenFile(f.Out, resumed != nil)
	if err != nil {
		if resumed == nil {
			err = errors.Join(err, b.Discard(ctx))
		}
		return nil, 0, &cli.Status{Code: cli.Usage, Err: err}
	}
	if file.Lines >= 0 { // a regular file knows best what it holds
		given = file.Lines
	}
	return file, given, nil
}

// stdout is the sink that a pipe's reader may close.
type stdout struct{ *follow.Stream }

func (s stdout) Put(line []byte) error { return readerGone(s.Stream.Put(line)) }
func (s stdout) Flush() error          { return readerGone(s.Stream.Flush()) }
func (s stdout) Commit() error         { return readerGone(s.Stream.Commit()) }
func (s stdout) Close() error          { return nil }

func readerGone(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return produce.ErrReaderGone
	}
	if err != nil {
		return fmt.Errorf("write outcomes to stdout: %w", err)
	}
	return nil
}

// beginError gives the error of a batch that could not be begun its exit status.
func beginError(ctx context.Context, err error) error {
	var inUse *produce.InUseError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &inUse):
		return &cli.Status{Code: cli.Usage, Err: err}
	}
	return err
}

// statusOf gives the error a batch ended with its exit status, and the words for
// the summary. Failed tasks are no error; info is how the batch stands.
func statusOf(err error, info *batch.Info) (verdict string, status error) {
	var input *feed.InputError
	var lost *produce.LostOutcomesError
	var read *batch.ReadError
	var code *cli.Status
	switch {
	case errors.Is(err, produce.ErrReaderGone):
		return "cancelled, its reader has gone", failures(info.Failed)
	case errors.As(err, &code):
		return "interrupted", &cli.Status{Code: code.Code, Err: err}
	case errors.As(err, &input), errors.As(err, &lost), errors.As(err, &read):
		return "refused", &cli.Status{Code: cli.Usage, Err: err}
	case errors.Is(err, feed.ErrTooManyFailures):
		return "paused", &cli.Status{Code: cli.System, Err: fmt.Errorf("%w; mend the cause and run the same command with a higher --max-failures to go on", err)}
	case errors.Is(err, feed.ErrInput):
		return "stopped", &cli.Status{Code: cli.Usage, Err: err}
	case err != nil:
		return "stopped", &cli.Status{Code: cli.System, Err: err}
	case info.Expired:
		return "ended by its deadline", failures(info.Failed + info.Cancelled)
	case info.Phase == batch.GivenUp:
		return "cancelled", failures(info.Failed + info.Cancelled)
	}
	return "done", failures(info.Failed)
}

func failures(n int64) error {
	if n == 0 {
		return nil
	}
	return &cli.Status{Code: cli.SomeFailed}
}
