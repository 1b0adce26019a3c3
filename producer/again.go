package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/status"
	"github.com/weir-tasks/weir/internal/ui"
	"github.com/weir-tasks/weir/tasks"
)

// failedFlags pick failed tasks of a batch.
type failedFlags struct {
	Of    string      `arg:"" name:"batch" help:"The batch's name."`
	Class batch.Class `help:"Only those of this class: invalid, permanent, timeout, panic, exhausted ..." placeholder:"CLASS"`
	Match string      `help:"Only those with this text in their error." placeholder:"TEXT"`
}

func (f *failedFlags) match(o *batch.Outcome) bool {
	return (f.Class == "" || o.Class == f.Class) && strings.Contains(o.Error, f.Match)
}

// what describes them.
func (f *failedFlags) what() string {
	what := "failures of " + f.Of
	if f.Class != "" {
		what += " of class " + string(f.Class)
	}
	if f.Match != "" {
		what += fmt.Sprintf(" with %q", f.Match)
	}
	return what
}

type failuresCmd struct{ failedFlags }

func (c *failuresCmd) Run(ctx context.Context, common *cli.Common) error {
	client, _, err := theBatch(ctx, common, newScreen(common, true), "failures", c.Of, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for o, err := range client.Failures(ctx, c.Of) {
		if err != nil {
			return err
		}
		if !c.match(o) {
			continue
		}
		o.Signature, o.Payload = "", tasks.Redact(o.Payload)
		if err := out.Encode(o); err != nil {
			return err
		}
	}
	return nil
}

type retryCmd struct {
	failedFlags
	batchFlags
	outFlags
	signFlags
}

// Run is the main job on the failed tasks of another batch.
func (r *retryCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := r.validate(); err != nil {
		return &cli.Status{Code: cli.Usage, Err: err}
	}
	s := newScreen(common, r.Quiet)
	client, st, err := theBatch(ctx, common, s, "retry", r.Of, &r.signFlags)
	if err != nil {
		return err
	}
	defer client.Close()
	typ, known := tasks.Lookup(st.Options.Type)
	switch {
	case !known:
		return cli.UsageError("batch %q is of type %q, which this program does not have", r.Of, st.Options.Type)
	case !st.Complete():
		return cli.UsageError("batch %q still runs; wait for its end (producer follow %s), or cancel it", r.Of, r.Of)
	case st.Failed == 0:
		s.report.Note("batch %s: nothing failed, there is nothing to retry", r.Of)
		return nil
	}
	in, o := r.again(ctx, client, typ, st)
	defer in.Close()
	return r.produce(ctx, s, client, in, o)
}

// again is the input and what the new batch is run with.
func (r *retryCmd) again(ctx context.Context, client *weir.Client, typ *tasks.Type, of *status.Status) (*input, weir.BatchOptions) {
	in := &input{Source: client.Failed(ctx, r.Of, typ, r.match), typ: typ, what: r.what(), again: true}
	r.like(&of.Options)
	o := r.options(in)
	o.Stem = r.Of + "-retry"
	return in, o
}

// retrying is the command for the web UI: the new batch is enqueued, and left.
func retrying(client *weir.Client) ui.RetryFunc {
	return func(ctx context.Context, of string, class batch.Class, match string) (string, func(context.Context) error, error) {
		st, err := client.Status(ctx, of)
		if err != nil {
			return "", nil, err
		}
		typ, known := tasks.Lookup(st.Options.Type)
		if !known {
			return "", nil, fmt.Errorf("batch %q is of type %q, which this program does not have", of, st.Options.Type)
		}
		r := retryCmd{failedFlags: failedFlags{Of: of, Class: class, Match: match},
			batchFlags: batchFlags{MaxFailures: maxFailures, Keep: keep}}
		in, o := r.again(ctx, client, typ, st)
		b, err := client.Begin(ctx, typ, o)
		if err != nil {
			return "", nil, errors.Join(err, in.Close())
		}
		return b.Name(), func(ctx context.Context) error {
			defer b.End()
			return errors.Join(b.Feed(ctx, in.Source), in.Close())
		}, nil
	}
}

// like fills in what was not given with what another batch was run with.
func (f *batchFlags) like(o *batch.Options) {
	if f.Lane == "" {
		f.Lane = o.Lane
	}
	if f.Priority == "" {
		f.Priority = o.Priority.String()
	}
	if f.Timeout == 0 {
		f.Timeout = o.Timeout()
	}
	if f.Retries == nil {
		f.Retries = &o.Retries
	}
	if f.Backoff == 0 {
		f.Backoff = o.Backoff()
	}
}

type repairCmd struct {
	Of string `arg:"" name:"batch" help:"The batch's name."`
	inputFlags
	signFlags
	Quiet bool `help:"No summary." short:"q"`
}

func (r *repairCmd) Run(ctx context.Context, common *cli.Common) error {
	in, err := r.open(&batchFlags{})
	if err != nil {
		return err
	}
	defer in.Close()
	s := newScreen(common, r.Quiet)
	client, before, err := theBatch(ctx, common, s, "repair", r.Of, &r.signFlags)
	if err != nil {
		return err
	}
	defer client.Close()
	switch {
	case before.Options.Type != in.typ.Name():
		return cli.UsageError("batch %q is of type %s, not %s", r.Of, before.Options.Type, in.typ.Name())
	case before.Phase == batch.GivenUp:
		return cli.UsageError("batch %q was cancelled; there is nothing to repair", r.Of)
	case before.Complete():
		s.report.Note("batch %s: every task has its outcome, there is nothing to repair", r.Of)
		return nil
	}
	err = client.Repair(ctx, r.Of, in.Source)
	var other *feed.InputError
	switch {
	case errors.As(err, &other):
		return &cli.Status{Code: cli.Usage, Err: err}
	case err != nil:
		return beginError(ctx, err)
	}
	after, err := client.Status(ctx, r.Of)
	if err != nil {
		return err
	}
	s.report.Note("batch %s: %d tasks were missing, %d are; producer follow %s shows what becomes of it",
		r.Of, before.Missing(), after.Missing(), r.Of)
	return nil
}

// theBatch connects for a command about one batch, and reads how it stands. sign may be nil.
func theBatch(ctx context.Context, common *cli.Common, s *screen, command, name string, sign *signFlags) (*weir.Client, *status.Status, error) {
	if err := needRedis(common, command); err != nil {
		return nil, nil, err
	}
	client, err := s.connectSigning(ctx, sign)
	if err != nil {
		return nil, nil, err
	}
	st, err := client.Status(ctx, name)
	if err != nil {
		return nil, nil, errors.Join(notFound(err), client.Close())
	}
	return client, st, nil
}
