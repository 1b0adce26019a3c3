// Package chaos defines the task type of the storm. Its handler keeps an execution
// log of its own, beside all that weir counts: a file per process, to which every
// execution appends two lines, each in one write:
//
//	start UNIX_NANO BATCH SEQ ATTEMPT PID
//	end UNIX_NANO BATCH SEQ ATTEMPT PID ok|permanent|error|timeout
//
// The end is written before the handler returns, so an outcome that is recorded has
// its line. STORM_LOG names the directory.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weir-tasks/weir/tasks"
)

// Work is the payload: how long a good execution takes.
type Work struct {
	N  int64 `json:"n"`
	MS int64 `json:"ms" validate:"min=0,max=60000"`
}

// Done is the result.
type Done struct {
	N int64 `json:"n"`
}

// Fate is what becomes of a task, by its number.
type Fate string

// The fates.
const (
	Good        Fate = "ok"
	Hopeless    Fate = "permanent" // fails for good at once
	Slow        Fate = "timeout"   // takes too long, each time
	Unlucky     Fate = "error"     // fails once, then succeeds
	perUnluck        = 23
	perHopeless      = 97
	perSlow          = 1999
)

// FateOf is the fate of task n.
func FateOf(n int64) Fate {
	switch {
	case n%perSlow == perSlow/2:
		return Slow
	case n%perHopeless == perHopeless/2:
		return Hopeless
	case n%perUnluck == perUnluck/2:
		return Unlucky
	}
	return Good
}

// Storm is the task type.
var Storm = tasks.Define("storm", tasks.Policy{Timeout: time.Second, Retries: 5, Backoff: 20 * time.Millisecond}, run)

func run(ctx context.Context, in Work) (Done, error) {
	info, _ := tasks.InfoFrom(ctx)
	if err := log(info, "start", ""); err != nil {
		return Done{}, err
	}
	result, err := work(ctx, in, info.Attempt)
	if logErr := log(info, "end", result); logErr != nil {
		return Done{}, logErr
	}
	return Done{in.N}, err
}

func work(ctx context.Context, in Work, attempt int) (result Fate, err error) {
	takes := time.Duration(in.MS) * time.Millisecond
	fate := FateOf(in.N)
	if fate == Slow {
		takes = time.Hour
	}
	end := time.NewTimer(takes)
	defer end.Stop()
	select {
	case <-end.C:
	case <-ctx.Done():
		select {
		case <-end.C: // both are over when a frozen process goes on
		default:
			return Slow, ctx.Err()
		}
	}
	switch {
	case fate == Hopeless:
		return Hopeless, tasks.Permanent(errors.New("hopeless"))
	case fate == Unlucky && attempt == 1:
		return Unlucky, errors.New("unlucky")
	}
	return Good, nil
}

var open = sync.OnceValues(func() (*os.File, error) {
	dir := os.Getenv("STORM_LOG")
	if dir == "" {
		return nil, errors.New("STORM_LOG, the directory of the execution logs, is not set")
	}
	name := fmt.Sprintf("%d-%d.log", os.Getpid(), time.Now().UnixNano())
	return os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
})

func log(info tasks.Info, event string, result Fate) error {
	file, err := open()
	if err != nil {
		return tasks.Permanent(err)
	}
	line := fmt.Sprintf("%s %d %s %d %d %d", event, time.Now().UnixNano(), info.Batch, info.Seq, info.Attempt, os.Getpid())
	if result != "" {
		line += " " + string(result)
	}
	_, err = file.WriteString(line + "\n")
	return err
}
