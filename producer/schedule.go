package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	_ "time/tzdata" // images have none

	"github.com/alecthomas/kong"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/feed"
	"github.com/weir-tasks/weir/internal/follow"
	"github.com/weir-tasks/weir/internal/produce"
	"github.com/weir-tasks/weir/internal/report"
	"github.com/weir-tasks/weir/internal/schedule"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

type scheduleCmd struct {
	Add    scheduleAddCmd    `cmd:"" help:"Add a schedule: producer schedule add NAME --cron '*/5 * * * *' -- run TYPE ..."`
	List   scheduleListCmd   `cmd:"" help:"All schedules: when they are due, and how they went."`
	Pause  schedulePauseCmd  `cmd:"" help:"Let no run of a schedule begin."`
	Resume scheduleResumeCmd `cmd:"" help:"Go on with a paused schedule, from its next time on."`
	Remove scheduleRemoveCmd `cmd:"" help:"Remove a schedule; its batches stay."`
	Run    scheduleRunCmd    `cmd:"" help:"Begin what is due, until told to stop. Any number may run; one of them does the work."`
}

type scheduleAddCmd struct {
	Name    string   `arg:"" help:"The schedule's name; its batches are named after it and the time they were due."`
	Cron    string   `required:"" env:"-" help:"When: minute hour day month weekday, with seconds before them if need be; @hourly, @daily, @every 90s." placeholder:"EXPR"`
	TZ      string   `name:"tz" env:"-" help:"Time zone of that, such as Europe/Berlin." default:"UTC"`
	Missed  string   `env:"-" help:"What becomes of runs that no daemon began within a minute, or that were due while one before went on: skip them, run the last one, or all." enum:"skip,once,all" default:"once"`
	Most    int      `env:"-" help:"With --missed all: how many, the last ones." default:"100"`
	Overlap bool     `env:"-" help:"Begin a run also while one before goes on."`
	Command []string `arg:"" passthrough:"partial" help:"What to do: run or enqueue, with their arguments, after --."`
}

// Run adds a schedule whose command would work now.
func (c *scheduleAddCmd) Run(ctx context.Context, common *cli.Common) error {
	args := slices.Clone(c.Command)
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	scheduled, err := parseScheduled(args)
	if err != nil {
		return err
	}
	if args, err = scheduled.absolute(args); err != nil {
		return err
	}
	in, err := scheduled.input.open(scheduled.batch)
	if err != nil {
		return err
	}
	defer in.Close()
	client, err := connected(ctx, common, "schedule add")
	if err != nil {
		return err
	}
	defer client.Close()
	store := schedule.Store{RDB: client.Redis()}
	sch := &schedule.Schedule{Name: c.Name, Cron: c.Cron, Zone: c.TZ, Args: args, Missed: schedule.Missed(c.Missed), Most: c.Most, Overlap: c.Overlap}
	if err := store.Add(ctx, sch); err != nil {
		if client.Redis().Ping(ctx).Err() != nil {
			return err
		}
		return cli.UsageError("%w", err)
	}
	fmt.Fprintf(os.Stderr, "schedule %s: due next at %s; a daemon (producer schedule run) begins it\n", c.Name, sch.Next.Format(time.RFC3339))
	return nil
}

// scheduled is the command of a schedule.
type scheduled struct {
	Run     runCmd     `cmd:""`
	Enqueue enqueueCmd `cmd:""`

	input *inputFlags
	batch *batchFlags
	due   *dueFlags
	out   *outFlags // nil of enqueue
}

// ofTheProcess are flags that say nothing of a batch.
var ofTheProcess = []string{"http", "ui", "sign-key", "sign-for", "concurrency", "egress", "allow-net", "deny-net", "allow-port", "max-redirects", "allow-env", "allow-file", "allow-exec"}

// parseScheduled reads a command without the environment, which may be another where it is
// run.
func parseScheduled(args []string) (*scheduled, error) {
	if len(args) == 0 || args[0] != "run" && args[0] != "enqueue" {
		return nil, cli.UsageError("a schedule's command must be run or enqueue, with their arguments: producer schedule add NAME --cron EXPR -- run TYPE ...")
	}
	s := new(scheduled)
	parser, err := kong.New(s, kong.Name("producer"), kong.Exit(func(int) {}), kong.NoDefaultHelp())
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return nil, cli.UsageError("the schedule's command: %w", err)
	}
	for _, p := range parsed.Path {
		if p.Flag != nil && slices.Contains(ofTheProcess, p.Flag.Name) {
			return nil, cli.UsageError("a schedule's command cannot have --%s: the daemon and the workers have their own", p.Flag.Name)
		}
	}
	s.input, s.batch, s.due, s.out = &s.Run.inputFlags, &s.Run.batchFlags, &s.Run.dueFlags, &s.Run.outFlags
	if args[0] == "enqueue" {
		s.input, s.batch, s.due, s.out = &s.Enqueue.inputFlags, &s.Enqueue.batchFlags, &s.Enqueue.dueFlags, nil
	}
	for flag, given := range map[string]bool{
		"--batch (each run has a batch of its own)":              s.batch.Batch != "",
		"--at (the schedule says when)":                          s.due.At != "",
		"stdin (give a file, or --repeat, or --payload)":         len(s.input.Files) == 0 && s.input.Repeat == 0 && s.input.Payload == "" || slices.Contains(s.input.Files, "-"),
		"--out without {run} (which stands for the run's batch)": s.out != nil && s.out.Out != "" && !strings.Contains(s.out.Out, "{run}"),
	} {
		if given {
			return nil, cli.UsageError("a schedule's command cannot have %s", flag)
		}
	}
	return s, nil
}

// absolute are the arguments with the whole paths of files: a daemon runs elsewhere.
func (s *scheduled) absolute(args []string) ([]string, error) {
	args = slices.Clone(args)
	rest := args // from the end, since a file may have the name of its type
	for _, file := range slices.Backward(s.input.Files) {
		abs, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		for i, arg := range slices.Backward(rest) {
			if arg == file {
				args[i], rest = abs, rest[:i]
				break
			}
		}
	}
	if s.out != nil && s.out.Out != "" {
		abs, err := filepath.Abs(s.out.Out)
		if err != nil {
			return nil, err
		}
		args = append(args, "--out", abs)
		for i, arg := range args[:len(args)-2] { // the one that was given
			if arg == "--out" {
				return append(slices.Delete(slices.Clone(args[:len(args)-2]), i, i+2), "--out="+abs), nil
			}
			if strings.HasPrefix(arg, "--out=") {
				args[i] = "--out=" + abs
				return args[:len(args)-2], nil
			}
		}
	}
	return args, nil
}

type scheduleRunCmd struct {
	signFlags
}

func (c *scheduleRunCmd) Run(ctx context.Context, common *cli.Common) error {
	if err := needRedis(common, "schedule run"); err != nil {
		return err
	}
	s := newScreen(common, true)
	client, err := s.connectSigning(ctx, &c.signFlags)
	if err != nil {
		return err
	}
	defer client.Close()
	d := &schedule.Daemon{Store: &schedule.Store{RDB: client.Redis()}, Runner: &scheduleRunner{client}, ID: produce.ID(work.Name()), Log: s.log,
		Trouble: conn.NewTrouble(s.log, common.Redis).Tell}
	s.log.Info("watching the schedules", "daemon", d.ID)
	d.Run(ctx)
	var signalled *cli.Status
	if errors.As(context.Cause(ctx), &signalled) {
		return nil // told to stop and stopped
	}
	return context.Cause(ctx)
}

// scheduleRunner runs commands of schedules in this process.
type scheduleRunner struct{ client *weir.Client }

// Going is schedule.Runner's.
func (r *scheduleRunner) Going(ctx context.Context, name string) (bool, error) {
	st, err := batch.NewLedger(r.client.Redis()).Info(ctx, name)
	if errors.Is(err, batch.ErrNotFound) {
		return false, nil // its time is over, or it has never been
	}
	return err == nil && !st.Complete() && st.Phase != batch.GivenUp, err
}

// Run is schedule.Runner's: it enqueues the batch; of a run with --out it writes the
// outcomes, too.
func (r *scheduleRunner) Run(ctx context.Context, name string, args []string) error {
	s, err := parseScheduled(args)
	if err != nil {
		return &schedule.LastError{Err: err}
	}
	s.batch.Batch = name
	in, err := s.input.open(s.batch)
	if err != nil {
		return &schedule.LastError{Err: err}
	}
	defer in.Close()
	o := s.batch.options(in)
	if err := s.due.options(&o, time.Now()); err != nil {
		return &schedule.LastError{Err: err}
	}
	following := s.out != nil && s.out.Out != ""
	if s.out == nil {
		o.FailuresOnly, o.MaxUnread = s.Enqueue.Outcomes == "failed", s.Enqueue.MaxUnread
	} else {
		o.Ordered, o.FailFast = s.out.Ordered, s.out.FailFast
		o.Out = strings.ReplaceAll(s.out.Out, "{run}", name)
	}
	b, err := r.client.Begin(ctx, in.typ, o)
	if err != nil {
		return lastOf(err)
	}
	defer b.End()
	if found := b.Resumed(); found != nil && (found.Phase == batch.GivenUp || found.Complete() && !following) {
		return nil
	}
	if !following {
		return lastOf(b.Feed(ctx, in.Source))
	}
	file, err := follow.OpenFile(o.Out, b.Resumed() != nil)
	if err != nil && b.Resumed() == nil {
		err = errors.Join(err, b.Discard(ctx))
	}
	if errors.Is(err, follow.ErrLocked) {
		return err // by the daemon that had the lock before, for a moment
	}
	if err != nil {
		return &schedule.LastError{Err: err}
	}
	defer file.Close()
	return lastOf(b.Run(ctx, in.Source, produce.Outcomes{Sink: file, Given: max(file.Lines, 0)}))
}

// lastOf marks errors that do not go away by themselves.
func lastOf(err error) error {
	var inUse *produce.InUseError
	var input *feed.InputError
	var lost *produce.LostOutcomesError
	if errors.As(err, &inUse) && !inUse.Fed || errors.As(err, &input) || errors.As(err, &lost) ||
		errors.Is(err, feed.ErrInput) || errors.Is(err, feed.ErrTooManyFailures) || errors.Is(err, feed.ErrCancelled) {
		return &schedule.LastError{Err: err}
	}
	return err
}

type scheduleListCmd struct {
	JSON bool `name:"json" help:"One JSON object a schedule."`
}

func (c *scheduleListCmd) Run(ctx context.Context, common *cli.Common) error {
	client, err := connected(ctx, common, "schedule list")
	if err != nil {
		return err
	}
	defer client.Close()
	store := schedule.Store{RDB: client.Redis()}
	all, broken, err := store.List(ctx)
	if err != nil {
		return err
	}
	if err := printSchedules(all, c.JSON); err != nil {
		return err
	}
	return errors.Join(broken...)
}

func printSchedules(all []*schedule.Schedule, asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(os.Stdout)
		for _, s := range all {
			s.Args = shownArgs(s.Args)
			if err := out.Encode(struct {
				Name string `json:"name"`
				*schedule.Schedule
			}{s.Name, s}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		fmt.Fprintln(os.Stderr, "no schedules")
		return nil
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tCRON\tTZ\tNEXT\tRUNNING\tLAST\tCOMMAND")
	for _, s := range all {
		next, last := s.Next.Format(time.RFC3339), "-"
		if s.Paused {
			next = "paused"
		}
		if !s.Last.IsZero() {
			last = s.BatchOf(s.Last)
		}
		if s.Failed != "" {
			last += " failed: " + s.Failed
		}
		command := strings.Join(shownArgs(s.Args), " ")
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", shown(s.Name), shown(s.Cron), shown(s.Zone), next, len(s.Runs), shown(last), shown(command))
	}
	return t.Flush()
}

// shown is a text from Redis without what a terminal would obey.
func shown(text string) string { return report.Clean(text, 500) }

// shownArgs are a command's without secrets in its payload.
func shownArgs(args []string) []string {
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = string(tasks.Redact([]byte(arg)))
	}
	return shown
}

type scheduleNameCmd struct {
	Name string `arg:"" help:"The schedule's name."`
}

type schedulePauseCmd struct{ scheduleNameCmd }
type scheduleResumeCmd struct{ scheduleNameCmd }
type scheduleRemoveCmd struct{ scheduleNameCmd }

func (c *schedulePauseCmd) Run(ctx context.Context, common *cli.Common) error {
	return c.change(ctx, common, "schedule pause", (*schedule.Store).Pause)
}

func (c *scheduleResumeCmd) Run(ctx context.Context, common *cli.Common) error {
	return c.change(ctx, common, "schedule resume", (*schedule.Store).Resume)
}

func (c *scheduleRemoveCmd) Run(ctx context.Context, common *cli.Common) error {
	return c.change(ctx, common, "schedule remove", (*schedule.Store).Remove)
}

func (c *scheduleNameCmd) change(ctx context.Context, common *cli.Common, command string, do func(*schedule.Store, context.Context, string) error) error {
	client, err := connected(ctx, common, command)
	if err != nil {
		return err
	}
	defer client.Close()
	err = do(&schedule.Store{RDB: client.Redis()}, ctx, c.Name)
	if errors.Is(err, schedule.ErrUnknown) {
		return cli.UsageError("%w in this Redis; producer schedule list lists all", err)
	}
	return err
}
