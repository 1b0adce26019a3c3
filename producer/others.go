package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/follow"
	"github.com/weir-tasks/weir/internal/produce"
	"github.com/weir-tasks/weir/internal/status"
	"github.com/weir-tasks/weir/tasks"
)

// needRedis refuses commands that make no sense on an embedded Redis.
func needRedis(common *cli.Common, command string) error {
	if common.Redis == "" {
		return cli.UsageError("%s needs --redis URL (or WEIR_REDIS): an embedded Redis would be empty", command)
	}
	return nil
}

// connected is a client of the Redis that a command is about.
func connected(ctx context.Context, common *cli.Common, command string) (*weir.Client, error) {
	if err := needRedis(common, command); err != nil {
		return nil, err
	}
	return newScreen(common, false).connect(ctx)
}

type enqueueCmd struct {
	inputFlags
	batchFlags
	dueFlags
	signFlags
	httpFlags
	Outcomes  string `help:"Which outcomes are kept for whoever follows: all, or failed, which is all but those of tasks that are ok." default:"all" enum:"all,failed"`
	MaxUnread int64  `help:"Most outcomes that may wait to be read; then the producer waits until producer follow --out has read some, which leave Redis. Default: as many as there is memory for." placeholder:"N"`
}

func (e *enqueueCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := needRedis(common, "enqueue"); err != nil {
		return err
	}
	if e.MaxUnread < 0 {
		return cli.UsageError("--max-unread %d: must be 1 or more, or 0 for no limit", e.MaxUnread)
	}
	in, err := e.open(&e.batchFlags)
	if err != nil {
		return err
	}
	defer in.Close()
	o := e.batchFlags.options(in)
	if err := e.dueFlags.options(&o, time.Now()); err != nil {
		return err
	}
	s := newScreen(common, e.Quiet)
	client, err := s.connectSigning(ctx, &e.signFlags)
	if err != nil {
		return err
	}
	defer client.Close()
	stop, err := e.serveMetrics(s, client)
	if err != nil {
		return err
	}
	defer stop()
	o.FailuresOnly, o.MaxUnread = e.Outcomes == "failed", e.MaxUnread
	b, err := client.Begin(ctx, in.typ, o)
	if err != nil {
		return beginError(ctx, err)
	}
	defer b.End()
	fmt.Println(b.Name())
	s.begin(b, false)
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	s.watch(watching, client, b.Name(), in.Source)
	err = b.Feed(ctx, in.Source)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_, status := statusOf(err, &batch.Info{})
		return status
	}
	s.report.Note("batch %s: enqueued whole; producer follow %s shows what becomes of it", b.Name(), b.Name())
	return nil
}

type followCmd struct {
	Batch   string `arg:"" help:"The batch's name."`
	Out     string `help:"Write the outcomes to this file, synced and complete; the same command goes on with it." placeholder:"FILE"`
	Ordered bool   `help:"Outcomes in the order of input."`
	Quiet   bool   `help:"No progress and no summary." short:"q"`
}

func (f *followCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := needRedis(common, "follow"); err != nil {
		return err
	}
	s := newScreen(common, f.Quiet)
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	st, err := client.Status(ctx, f.Batch)
	if err != nil {
		return notFound(err)
	}
	if f.Ordered && st.Options.FailuresOnly {
		return cli.UsageError("batch %q keeps its failures only: there is no --ordered", f.Batch)
	}
	if f.Out == "" && st.Options.MaxUnread > 0 {
		return cli.UsageError("the outcomes of batch %q leave Redis as they are read (--max-unread): give a file to keep them, --out FILE", f.Batch)
	}
	s.open(f.Batch)
	out := produce.Outcomes{Sink: stdout{follow.NewStream(s.report.Beside(os.Stdout))}, Seen: s.seen}
	if f.Out != "" {
		file, err := follow.OpenFile(f.Out, true)
		if err != nil {
			return &cli.Status{Code: cli.Usage, Err: err}
		}
		defer file.Close()
		out.Sink, out.Given, out.Reader = file, file.Lines, readerOf(f.Out)
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	s.watch(watching, client, f.Batch, nil)
	err = client.Follow(ctx, f.Batch, f.Ordered, out)
	stopWatching()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, produce.ErrReaderGone) {
		return nil // whoever follows may stop; the batch goes on
	}
	return s.conclude(ctx, client, f.Batch, err)
}

// readerOf names a file as the reader of a batch.
func readerOf(file string) string {
	host, _ := os.Hostname() // without it the path must do
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	return host + ":" + file
}

func notFound(err error) error {
	if errors.Is(err, batch.ErrNotFound) {
		return cli.UsageError("%w in this Redis; producer status lists all", err)
	}
	return err
}

type cancelCmd struct {
	Batch string `arg:"" help:"The batch's name."`
}

func (c *cancelCmd) Run(ctx context.Context, common *cli.Common) error {
	client, err := connected(ctx, common, "cancel")
	if err != nil {
		return err
	}
	defer client.Close()
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = client.Cancel(wait, c.Batch)
	if errors.Is(err, batch.ErrNotFound) {
		return notFound(err)
	}
	st, statusErr := client.Status(ctx, c.Batch)
	if statusErr != nil {
		return errors.Join(err, statusErr)
	}
	_ = printStatus(os.Stderr, st) // if that fails there is nobody to tell
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("batch %q is cancelled, but %d of its tasks are still being run by handlers that do not heed it", c.Batch, st.Active)
	}
	return err
}

type pauseCmd struct {
	Batch string `arg:"" help:"The batch's name."`
}

func (c *pauseCmd) Run(ctx context.Context, common *cli.Common) error {
	return changeBatch(ctx, common, "pause", c.Batch, (*weir.Client).Pause)
}

type resumeCmd struct {
	Batch string `arg:"" help:"The batch's name."`
}

func (c *resumeCmd) Run(ctx context.Context, common *cli.Common) error {
	return changeBatch(ctx, common, "resume", c.Batch, (*weir.Client).Resume)
}

// changeBatch does something to a batch and shows how it stands then.
func changeBatch(ctx context.Context, common *cli.Common, command, name string, change func(*weir.Client, context.Context, string) error) error {
	client, st, err := theBatch(ctx, common, newScreen(common, false), command, name, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	if st.Complete() || st.Phase == batch.GivenUp {
		return cli.UsageError("batch %q is over; there is nothing to %s", name, command)
	}
	if err := change(client, ctx, name); err != nil {
		return err
	}
	if st, err = client.Status(ctx, name); err != nil {
		return err
	}
	return printStatus(os.Stderr, st)
}

type statusCmd struct {
	Batch string `arg:"" optional:"" help:"The batch's name; all batches without."`
	JSON  bool   `name:"json" help:"As JSON, one object a batch."`
}

func (c *statusCmd) Run(ctx context.Context, common *cli.Common) error {
	client, err := connected(ctx, common, "status")
	if err != nil {
		return err
	}
	defer client.Close()
	if c.Batch != "" {
		st, err := client.Status(ctx, c.Batch)
		if err != nil {
			return notFound(err)
		}
		return c.print(st)
	}
	all, err := client.Batches(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 && !c.JSON {
		fmt.Fprintln(os.Stderr, "no batches")
	}
	var unreadable []error
	shown := 0
	for _, info := range all {
		st, err := client.Status(ctx, info.Name)
		var u *batch.UnreadableError
		switch {
		case errors.Is(err, batch.ErrNotFound):
			continue // removed since it was listed
		case errors.As(err, &u):
			unreadable = append(unreadable, u)
			continue
		case err != nil:
			return err
		}
		if shown++; shown > 1 && !c.JSON {
			fmt.Println()
		}
		if err := c.print(st); err != nil {
			return err
		}
	}
	return errors.Join(unreadable...)
}

func (c *statusCmd) print(st *status.Status) error {
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(st.Line())
	}
	return printStatus(os.Stdout, st)
}

func printStatus(w io.Writer, st *status.Status) error {
	n := "not known yet"
	if st.N >= 0 {
		n = fmt.Sprint(st.N)
	}
	state := string(st.Phase)
	if st.Expired {
		state += ", its deadline passed"
	}
	if st.Paused {
		state += ", paused: producer resume " + st.Name + " goes on with it"
	}
	if st.Stopped {
		state += ", stopped: the same command goes on with it"
	}
	missing := ""
	if n := st.Missing(); n != 0 {
		missing = fmt.Sprintf(" + missing %d", n)
	}
	lane := cmp.Or(st.Options.Lane, eachItsOwn)
	if p := st.Options.Priority; p != weir.Normal {
		lane += ", priority " + p.String()
	}
	aside := ""
	if st.SetAside > 0 {
		aside = fmt.Sprintf("  set aside, since nobody could read them: %d entries in the quarantines of its lanes; producer doctor names these\n", st.SetAside)
	}
	_, err := fmt.Fprintf(w, "batch %s: %s, %s\n"+
		"  tasks %s, created %s, lane %s, input %s\n"+
		"  read %d = ok %d + failed %d + cancelled %d + pending %d + scheduled %d + retry %d + active %d%s\n%s",
		st.Name, st.Options.Type, state,
		n, st.Created.Format(time.DateTime), lane, st.Options.Input,
		st.Read(), st.OK, st.Failed, st.Cancelled, st.Pending, st.Scheduled, st.Tally.Retry, st.Active, missing, aside)
	return err
}

// eachItsOwn stands for the lane where each payload names one.
const eachItsOwn = "(each task's own)"

func laneOfType(t *tasks.Type) string {
	if t.DerivesLane() {
		return eachItsOwn
	}
	return t.Policy().Lane
}

type typesCmd struct {
	Type string `arg:"" optional:"" help:"Show one type in full."`
	JSON bool   `name:"json" help:"As JSON, one object a type."`
}

func (c *typesCmd) Run() error {
	shown := tasks.All()
	if c.Type != "" {
		t, ok := tasks.Lookup(c.Type)
		if !ok {
			return cli.UsageError("unknown task type %q; producer types lists all", c.Type)
		}
		shown = []*tasks.Type{t}
	}
	if c.JSON || c.Type != "" {
		e := json.NewEncoder(os.Stdout)
		if !c.JSON {
			e.SetIndent("", "  ")
		}
		for _, t := range shown {
			if err := e.Encode(jsonType(t)); err != nil {
				return err
			}
		}
		return nil
	}
	tab := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "TYPE\tLANE\tTIMEOUT\tRETRIES\tBACKOFF\tMAX PAYLOAD")
	for _, t := range shown {
		p := t.Policy()
		fmt.Fprintf(tab, "%s\t%s\t%v\t%d\t%v\t%d\n", t.Name(), laneOfType(t), p.Timeout, p.Retries, p.Backoff, p.MaxPayload)
	}
	return tab.Flush()
}

func jsonType(t *tasks.Type) any {
	p := t.Policy()
	lane := p.Lane
	if t.DerivesLane() {
		lane = ""
	}
	return struct {
		Type       string          `json:"type"`
		Lane       string          `json:"lane,omitempty"` // none: each task has its own
		Timeout    string          `json:"timeout"`
		Retries    int             `json:"retries"`
		Backoff    string          `json:"backoff"`
		MaxBackoff string          `json:"max_backoff"`
		MaxPayload int             `json:"max_payload"`
		MaxResult  int             `json:"max_result"`
		Payload    json.RawMessage `json:"payload"`
		Result     json.RawMessage `json:"result"`
	}{t.Name(), lane, p.Timeout.String(), p.Retries, p.Backoff.String(), p.MaxBackoff.String(),
		p.MaxPayload, p.MaxResult, t.PayloadSchema(), t.ResultSchema()}
}
