package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/report"
	"github.com/weir-tasks/weir/internal/retry"
	"github.com/weir-tasks/weir/internal/source"
	"github.com/weir-tasks/weir/internal/status"
	"github.com/weir-tasks/weir/internal/telemetry"
	"golang.org/x/term"
)

// screen is what people see of a batch, on stderr.
type screen struct {
	common *cli.Common
	quiet  bool
	log    *slog.Logger
	report *report.Report

	metrics *telemetry.Producer // nil without --http
}

func newScreen(common *cli.Common, quiet bool) *screen {
	return &screen{common: common, quiet: quiet, log: common.Logger(os.Stderr)}
}

// patience is how long a command waits for Redis before it begins. Once a batch is
// running it waits as long as that takes.
const patience = 5 * time.Second

// connect opens Redis, or embeds one.
func (s *screen) connect(ctx context.Context) (*weir.Client, error) {
	return s.connectSigning(ctx, nil)
}

// connectSigning is connect for what enqueues tasks; sign may be nil.
func (s *screen) connectSigning(ctx context.Context, sign *signFlags) (*weir.Client, error) {
	o := weir.Options{URL: s.common.Redis, Log: s.log}
	if sign != nil {
		keys, err := sign.read()
		if err != nil {
			return nil, err
		}
		o.SignKeys, o.SignFor = keys, sign.SignFor
	}
	s.open("")
	cli.Trace(ctx, "weir-producer", s.log)
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := weir.Open(waiting, o)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return client, err
}

// open begins the report of a batch, beside which logs are written from now on.
func (s *screen) open(name string) {
	s.report = report.New(report.Options{
		Out: os.Stderr, Terminal: term.IsTerminal(int(os.Stderr.Fd())), Quiet: s.quiet, Batch: name,
	})
	*s.log = *s.common.Logger(s.report.Beside(os.Stderr))
}

func (s *screen) begin(b *weir.Batch, embedded bool) {
	s.open(b.Name())
	s.metrics.Watch(b.Progress)
	if embedded {
		s.report.Note("embedded Redis: nothing survives this process (give --redis for that)")
	}
	if r := b.Resumed(); r != nil {
		s.report.Note("batch %s: going on with it, %d of %d read have an outcome", b.Name(), r.Outcomes(), r.Enqueued())
	} else if !embedded {
		s.report.Note("batch %s: begun", b.Name())
	}
}

func (s *screen) seen(o *batch.Outcome, wait time.Duration) {
	s.report.Outcome(o, wait)
	s.metrics.Outcome(o, wait)
}

// watch shows the batch's progress until ctx ends. in, if there is one, tells about
// how many tasks there will be.
func (s *screen) watch(ctx context.Context, client *weir.Client, name string, in source.Source) {
	if s.quiet {
		return
	}
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if st, err := client.Status(ctx, name); err == nil {
				s.report.Update(counts(st, source.Estimate(in)))
			}
		}
	}()
}

func counts(st *status.Status, total int64) report.Counts {
	if st.N >= 0 {
		total = st.N
	}
	return report.Counts{
		Read: st.Read(), OK: st.OK, Failed: st.Failed, Cancelled: st.Cancelled, Retries: st.Retries, Total: total,
		Pending: st.Pending, Scheduled: st.Scheduled, Retry: st.Retry, Active: st.Active,
	}
}

// conclude prints the summary and gives the run its exit status. It waits for Redis, but not
// after an error, or once ctx has ended.
func (s *screen) conclude(ctx context.Context, client *weir.Client, name string, err error) error {
	ask := s.insist
	if err != nil || ctx.Err() != nil {
		soon, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		ctx, ask = soon, (*weir.Client).Status
	}
	st, statusErr := ask(client, ctx, name)
	if statusErr != nil {
		if err != nil {
			statusErr = err
		}
		_, status := statusOf(errors.Join(statusErr), &batch.Info{})
		return status
	}
	verdict, status := statusOf(err, st.Info)
	c := counts(st, -1)
	if missing := st.Missing(); missing > 0 && verdict != "done" {
		c.Pending += missing // withdrawn: the same command enqueues them again
	}
	s.report.Summary(c, verdict)
	return status
}

// insist asks how a batch stands until Redis answers, or ctx ends.
func (s *screen) insist(client *weir.Client, ctx context.Context, name string) (st *status.Status, err error) {
	err = retry.Until(ctx, func() (err error) {
		var broken *batch.ReadError
		if st, err = client.Status(ctx, name); errors.Is(err, batch.ErrNotFound) || errors.As(err, &broken) {
			return retry.Permanent(err)
		}
		return err
	}, conn.NewTrouble(s.log, s.common.Redis).Tell)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return st, err
}
