package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kong"
	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/tasks"
)

type grammar struct {
	cli.Common

	Run      runCmd      `cmd:"" help:"Enqueue, follow, and write the outcomes as NDJSON."`
	Enqueue  enqueueCmd  `cmd:"" help:"Enqueue and leave; prints the batch's name."`
	Follow   followCmd   `cmd:"" help:"Progress and outcomes of a batch started elsewhere."`
	Status   statusCmd   `cmd:"" help:"One batch, or all."`
	Doctor   doctorCmd   `cmd:"" help:"Look for what is wrong with Redis, workers, lanes and batches, and say what helps. Exits with 1 where something is."`
	Explain  explainCmd  `cmd:"" help:"Where a task is, why, and what helps: its attempts, and what became of it."`
	Cancel   cancelCmd   `cmd:"" help:"Give a batch up: what has no outcome gets the outcome cancelled."`
	Pause    pauseCmd    `cmd:"" help:"Let no further attempt of a batch begin."`
	Resume   resumeCmd   `cmd:"" help:"Go on with a paused batch."`
	Failures failuresCmd `cmd:"" help:"The failed tasks of a batch, each with its payload, as NDJSON."`
	Retry    retryCmd    `cmd:"" help:"The failed tasks of a batch again, as a new batch."`
	Repair   repairCmd   `cmd:"" help:"Enqueue what a batch has lost: what has neither an outcome nor a place in Redis."`
	Schedule scheduleCmd `cmd:"" help:"Batches at times that a cron expression names."`
	Lanes    lanesCmd    `cmd:"" help:"All lanes: how many tasks are in flight, how many may be, and why others wait."`
	Lane     laneCmd     `cmd:"" help:"Set what a lane may do, in all workers within a second; or show it."`
	Types    typesCmd    `cmd:"" help:"Task types, their payload and result, their policy."`
	Top      topCmd      `cmd:"" help:"Batches, lanes, workers and Redis in the terminal, live."`
	UI       uiCmd       `cmd:"" name:"ui" help:"Serve the web UI: batches, lanes, workers, Redis; and asynqmon."`
}

type config struct {
	grammar
	command *kong.Context
}

func parseConfig(args []string) (*config, error) {
	c := &config{}
	parsed, err := cli.Parse(&c.grammar, "producer", "Stream tasks through Redis and account for every one.", args)
	if err != nil {
		return nil, err
	}
	c.command = parsed
	return c, nil
}

func (c *config) run(ctx context.Context) error {
	c.command.BindTo(ctx, (*context.Context)(nil))
	c.command.Bind(&c.Common)
	return c.command.Run()
}

// inputFlags say where a batch's tasks come from.
type inputFlags struct {
	Type  string   `arg:"" help:"Task type; see producer types."`
	Files []string `arg:"" optional:"" name:"file" help:"Input files, in turn; - or none is stdin. What is gzip or zstd is unpacked."`

	Repeat  int64  `help:"N generated tasks instead of input; {n} in the payload is the number." placeholder:"N"`
	Payload string `help:"Payload of generated tasks; without --repeat, one task." placeholder:"JSON"`
	Format  string `help:"Form of the input: auto (by the file's name), lines, ndjson or csv." default:"auto" enum:"auto,lines,ndjson,csv"`
	Limit   int64  `help:"Stop reading after N records." placeholder:"N"`
}

// The defaults of flags, where there is no flag.
const (
	maxFailures = 100_000
	keep        = 7 * 24 * time.Hour
)

// batchFlags say how a batch is run.
type batchFlags struct {
	Batch       string        `help:"The batch's name. Default: derived from type, input and options, so that the same command goes on with an unfinished batch." placeholder:"NAME"`
	Lane        string        `help:"Lane of all tasks. Default: the type's; of http tasks each URL's host and port." placeholder:"NAME"`
	Priority    string        `help:"Which tasks of a lane go first: high, normal or low; while there are of all, 6 : 3 : 1. Default: normal." placeholder:"P"`
	Timeout     time.Duration `help:"Time one attempt may take. Default: the type's." placeholder:"D"`
	Retries     *int          `help:"Attempts after the first. Default: the type's." placeholder:"N"`
	Backoff     time.Duration `help:"Base of the exponential backoff between attempts. Default: the type's." placeholder:"D"`
	Deadline    time.Duration `help:"Time the batch may take; then what has no outcome fails, class expired." placeholder:"D"`
	Window      int64         `help:"Most tasks in Redis without an outcome. Default: a few times what the live workers run at once." placeholder:"N"`
	WithPayload bool          `help:"Add the payload to each outcome."`
	MaxFailures int64         `help:"Failed tasks a batch may keep before it pauses." default:"100000"`
	Keep        time.Duration `help:"How long a done batch's record stays." default:"168h"`
	Quiet       bool          `help:"No progress and no summary." short:"q"`
}

// dueFlags say when a batch's tasks are run.
type dueFlags struct {
	At string        `help:"When the tasks become due: 2026-11-22T03:00:00Z, or \"2026-11-22 03:00\", which is here." placeholder:"TIME" env:"-"`
	In time.Duration `help:"How long after the batch's begin the tasks become due." placeholder:"D" env:"-"`
}

// options puts them into a batch's options, whose other flags are there.
func (f *dueFlags) options(o *weir.BatchOptions, now time.Time) error {
	at, err := parseAt(f.At, now)
	due := f.In
	switch {
	case err != nil:
		return cli.UsageError("--at: %w", err)
	case f.At != "" && f.In != 0:
		return cli.UsageError("--at and --in are two ways to say the same: give one")
	case f.In < 0 || f.In > 10*365*24*time.Hour || !at.IsZero() && at.Sub(now) > 10*365*24*time.Hour:
		return cli.UsageError("--at and --in: must be no more than 10 years ahead")
	case f.At != "":
		due = at.Sub(now)
	}
	if o.Deadline > 0 && o.Deadline <= due {
		return cli.UsageError("--deadline %v: would be over before the tasks are due, in %v", o.Deadline, due.Round(time.Second))
	}
	o.At, o.In = at, f.In
	if o.Again && (f.At != "" || f.In != 0) { // the same command at another time is another batch
		sum := sha256.Sum256(fmt.Append(nil, o.Stem, "\x00", f.At, f.In))
		o.Stem += "-" + hex.EncodeToString(sum[:2])
	}
	return nil
}

func parseAt(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, form := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if at, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return at, nil
		}
	}
	// No time without a day: the same command would mean another one after it, and is what
	// goes on with a batch.
	return time.Time{}, fmt.Errorf("%q: must be as 2026-11-22T03:00:00Z or \"2026-11-22 03:00\"", text)
}

// signFlags say how tasks are signed.
type signFlags struct {
	SignKey string        `help:"Sign the tasks with the first key of this file; workers with --require-signature run no others. One key a line: NAME BASE64." placeholder:"FILE"`
	SignFor time.Duration `help:"How long signatures are good." default:"168h"`
}

// read reads the keys; nil without the flag.
func (f *signFlags) read() (*weir.Keys, error) {
	if f.SignFor < time.Second {
		return nil, cli.UsageError("--sign-for %v: must be at least 1s", f.SignFor)
	}
	if f.SignKey == "" {
		return nil, nil
	}
	keys, err := weir.ReadKeys(f.SignKey)
	if err != nil {
		return nil, cli.UsageError("--sign-key: %w", err)
	}
	return keys, nil
}

// validate reports all that is wrong at once.
func (f *inputFlags) validate() error {
	var errs []error
	errs = append(errs, inRange("--repeat", f.Repeat), inRange("--limit", f.Limit))
	if (f.Repeat > 0 || f.Payload != "") && len(f.Files) > 0 {
		errs = append(errs, errors.New("--repeat and --payload generate the tasks: give no FILE beside them"))
	}
	return errors.Join(errs...)
}

func inRange(flag string, n int64) error {
	if n < 0 || n > batch.MaxTasks {
		return fmt.Errorf("%s %d: must be from 1 to %d", flag, n, int64(batch.MaxTasks))
	}
	return nil
}

func (f *batchFlags) priority() (weir.Priority, error) {
	if f.Priority == "" {
		return weir.Normal, nil
	}
	return queue.ParsePriority(f.Priority)
}

// validate reports all that is wrong at once.
func (f *batchFlags) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.Batch != "" {
		if err := batch.ValidName(f.Batch); err != nil {
			bad("--batch: %w", err)
		}
	}
	if f.Lane != "" {
		if err := tasks.ValidLane(f.Lane); err != nil {
			bad("--lane: %w", err)
		}
	}
	if _, err := f.priority(); err != nil {
		bad("--%w", err)
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"--timeout", f.Timeout}, {"--backoff", f.Backoff}, {"--keep", f.Keep}, {"--deadline", f.Deadline}} {
		if d.d < 0 {
			bad("%s %v: must not be negative", d.name, d.d)
		}
		if d.d > 10*365*24*time.Hour {
			bad("%s %v: must be at most 10 years", d.name, d.d)
		}
	}
	if f.Timeout > 0 && f.Timeout < time.Millisecond {
		bad("--timeout %v: must be at least 1ms", f.Timeout)
	}
	if f.Deadline > 0 && f.Deadline < time.Millisecond {
		bad("--deadline %v: must be at least 1ms", f.Deadline)
	}
	if f.Retries != nil && (*f.Retries < 0 || *f.Retries > 100_000) {
		bad("--retries %d: must be from 0 to 100000", *f.Retries)
	}
	errs = append(errs, inRange("--window", f.Window), inRange("--max-failures", f.MaxFailures))
	return errors.Join(errs...)
}
