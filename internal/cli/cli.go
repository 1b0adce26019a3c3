// Package cli is what the two commands have in common: flags, logging, signals
// and exit statuses.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/logs"
	"github.com/weir-tasks/weir/internal/tracing"
	"golang.org/x/term"
)

// Exit statuses.
const (
	OK          = 0   // all tasks ended ok
	SomeFailed  = 1   // some tasks failed; they are in the output
	Usage       = 2   // wrong usage or input
	System      = 3   // Redis or the system failed; the same command resumes
	Interrupted = 130 // likewise
)

// Status is an error that sets the exit status. Err may be nil: then all has been
// said already.
type Status struct {
	Code int
	Err  error
}

func (s *Status) Error() string {
	if s.Err == nil {
		return fmt.Sprintf("exit status %d", s.Code)
	}
	return s.Err.Error()
}

func (s *Status) Unwrap() error { return s.Err }

// UsageError is a Status for wrong usage or input.
func UsageError(format string, args ...any) error {
	return &Status{Usage, fmt.Errorf(format, args...)}
}

// Common are the flags of both commands.
type Common struct {
	Redis     string           `help:"Redis, as redis://, rediss://, unix://, redis-sentinel:// or redis-cluster://; also REDIS_URL." placeholder:"URL" env:"WEIR_REDIS,REDIS_URL"`
	Insecure  bool             `help:"Use a Redis beyond this host although it has neither password nor TLS: whoever else reaches it can make workers run what they like."`
	LogLevel  string           `help:"Least level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"WEIR_LOG_LEVEL"`
	LogFormat string           `help:"Form of the log: text, json, or auto, which is text on a terminal and json elsewhere." enum:"auto,text,json" default:"auto" env:"WEIR_LOG_FORMAT"`
	Version   kong.VersionFlag `help:"Print the version and leave." env:"-"`
}

// Validate is called by kong. A wrong URL is told before anything else is tried.
func (c *Common) Validate() error {
	if c.Redis == "" {
		return nil
	}
	client, err := conn.Open(c.Redis) // which does not connect
	if err != nil {
		return fmt.Errorf("--redis: %w", err)
	}
	if conn.Exposed(c.Redis) && !c.Insecure {
		has, instead := "neither password nor TLS", "rediss://"
		if conn.Unchecked(c.Redis) {
			has, instead = "no password, and with insecure_skip_verify no TLS that counts", "leave insecure_skip_verify out"
		}
		return errors.Join(client.Close(), fmt.Errorf("--redis: %s is beyond this host and has %s, so that whoever else reaches it can make workers run what they like: "+
			"write redis://:PASSWORD@HOST (or ?password_file=PATH behind the host) or %s, or say --insecure", conn.Redact(c.Redis), has, instead))
	}
	return client.Close()
}

// Logger logs to w, which is stderr or leads there, as the flags say, and go-redis'
// messages with it.
func (c *Common) Logger(w io.Writer) *slog.Logger {
	l := c.logger(w)
	conn.LogTo(l)
	return l
}

func (c *Common) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // the flag's enum allows only valid ones
	json := c.LogFormat == "json" || c.LogFormat != "text" && !term.IsTerminal(int(os.Stderr.Fd()))
	l, flush := logs.New(w, logs.Options{Level: level, JSON: json})
	AtEnd(func(context.Context) { flush() })
	return l
}

// Trace makes traces, until the process' end, if the OTEL_ variables ask for them.
func Trace(ctx context.Context, service string, log *slog.Logger) {
	AtEnd(tracing.Setup(ctx, service, os.Getenv, log))
}

// Parse reads args into a kong grammar; every flag is also an environment variable
// WEIR_NAME, an empty one being no more than none: compose files have such. A wrong
// command line is a Status Usage.
func Parse(grammar any, name, description string, args []string, options ...kong.Option) (*kong.Context, error) {
	options = append([]kong.Option{
		kong.Name(name), kong.Description(description), kong.DefaultEnvars("WEIR"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"version": Version()},
	}, options...)
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); value == "" && (strings.HasPrefix(name, "WEIR_") || name == "REDIS_URL") {
			_ = os.Unsetenv(name)
		}
	}
	parser, err := kong.New(grammar, options...)
	if err != nil {
		return nil, err
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return nil, &Status{Usage, fmt.Errorf("%w (see %s --help)", err, name)}
	}
	if err := zeroes(ctx); err != nil {
		return nil, &Status{Usage, err}
	}
	return ctx, nil
}

// zeroes complains of flags that are given as nothing, as by "$UNSET", or as 0: the
// program would take them for not given. Where 0 has a meaning the flag's type is a
// pointer, or it is tagged zero:"ok".
func zeroes(ctx *kong.Context) error {
	var errs []error
	for _, p := range ctx.Path {
		f := p.Flag
		if f == nil || f.IsBool() || f.Tag.Has("zero") || !f.Target.IsZero() {
			continue
		}
		must := "be more than 0, or left out"
		if f.Target.Kind() == reflect.String {
			must = "not be empty"
		}
		errs = append(errs, fmt.Errorf("--%s must %s", f.Name, must))
	}
	return errors.Join(errs...)
}

// sameSignal is how soon a second signal is taken for the first one, told twice.
const sameSignal = 200 * time.Millisecond

// leaveWithin is how long after the first signal the process may go on; see
// LeaveWithin.
var leaveWithin atomic.Int64

// LeaveWithin sets how long after the first signal the process may go on; by default
// 9 s. No call to a Redis that has frozen can hold it longer.
func LeaveWithin(d time.Duration) { leaveWithin.Store(int64(d)) }

// Main runs a command and leaves with its exit status. The context it gets ends at
// the first SIGINT or SIGTERM; the second, or LeaveWithin's end, leaves at once, and
// what was begun comes back by itself: through the ledger and the leases.
func Main(name string, run func(ctx context.Context) error) {
	// One thread more than cores: tasks that compute on all of them leave a thread to
	// those that wait, and the system shares the cores out more finely than Go does.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	// A closed stdout is an error to handle, not the process' end.
	signal.Ignore(syscall.SIGPIPE)
	leaveWithin.CompareAndSwap(0, int64(9*time.Second))
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		cancel(&Status{Code: Interrupted, Err: fmt.Errorf("stopped by %v", <-signals)})
		time.AfterFunc(time.Duration(leaveWithin.Load()), func() {
			fmt.Fprintf(os.Stderr, "%s: not stopped in order in time, Redis does not answer or a task does not end; leaving, other workers and the same command see to the rest\n", name)
			os.Exit(Interrupted)
		})
		for first := time.Now(); ; {
			// Wrappers such as timeout pass on a signal that the process group had already.
			if <-signals; time.Since(first) > sameSignal {
				break
			}
		}
		fmt.Fprintf(os.Stderr, "%s: second signal, leaving at once\n", name)
		os.Exit(Interrupted)
	}()
	err := run(ctx)
	runAtEnd()
	var status *Status
	if err != nil && ctx.Err() != nil && !errors.As(err, &status) {
		err = context.Cause(ctx) // whatever the signal has broken
	}
	os.Exit(exitCode(name, os.Stderr, err))
}

// atEnd is what is done last.
var atEnd struct {
	sync.Mutex
	do []func(context.Context)
}

// graceAtEnd is how long all that may take.
const graceAtEnd = time.Second

// AtEnd has something done when the command has run, before the process leaves: the last
// one first. It has a second for that.
func AtEnd(do func(context.Context)) {
	atEnd.Lock()
	defer atEnd.Unlock()
	atEnd.do = append(atEnd.do, do)
}

func runAtEnd() {
	ctx, cancel := context.WithTimeout(context.Background(), graceAtEnd)
	defer cancel()
	atEnd.Lock()
	defer atEnd.Unlock()
	for _, do := range slices.Backward(atEnd.do) {
		do(ctx)
	}
}

func exitCode(name string, stderr io.Writer, err error) int {
	if err == nil || readerGone(err) {
		return OK
	}
	var status *Status
	if !errors.As(err, &status) {
		status = &Status{System, err}
	}
	if status.Err != nil {
		fmt.Fprintf(stderr, "%s: %s\n", name, oneLine(err))
	}
	return status.Code
}

// readerGone says that nobody reads what a command prints, as in `producer types |
// head -n 1`: whoever wrote that has all they want.
func readerGone(err error) bool {
	var write *fs.PathError
	return errors.As(err, &write) && write.Path == os.Stdout.Name() && write.Err == syscall.EPIPE
}

// oneLine is a joined error as one line. What several of its parts say, a full disk
// for one, is said once.
func oneLine(err error) string {
	var parts []string
	for part := range strings.SplitSeq(err.Error(), "\n") {
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}
