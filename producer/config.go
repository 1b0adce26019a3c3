package main

import (
	"context"
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
	Cancel   cancelCmd   `cmd:"" help:"Give a batch up: what has no outcome gets the outcome cancelled."`
	Pause    pauseCmd    `cmd:"" help:"Let no further attempt of a batch begin."`
	Resume   resumeCmd   `cmd:"" help:"Go on with a paused batch."`
	Failures failuresCmd `cmd:"" help:"The failed tasks of a batch, each with its payload, as NDJSON."`
	Retry    retryCmd    `cmd:"" help:"The failed tasks of a batch again, as a new batch."`
	Repair   repairCmd   `cmd:"" help:"Enqueue what a batch has lost: what has neither an outcome nor a place in Redis."`
	Lanes    lanesCmd    `cmd:"" help:"All lanes: how many tasks are in flight, how many may be, and why others wait."`
	Lane     laneCmd     `cmd:"" help:"Set what a lane may do, in all workers within a second; or show it."`
	Types    typesCmd    `cmd:"" help:"Task types, their payload and result, their policy."`
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
