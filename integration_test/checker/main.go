// Command checker says whether weir kept its promises in a run with faults, one line
// for each invariant; see package invariant.
//
//	go run ./integration_test/checker --redis redis://localhost \
//		--batch first --out first.ndjson --batch second --out second.ndjson \
//		--log executions/ --journal storm.ndjson
//
// It ends with 0 when all invariants hold, 1 when one does not, 2 when it could not
// look.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/integration_test/checker/invariant"
)

func main() {
	ok, err := run(os.Args[1:])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "checker:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

func run(args []string) (ok bool, err error) {
	in := invariant.Input{Limits: invariant.DefaultLimits}
	flags := flag.NewFlagSet("checker", flag.ContinueOnError)
	url := flags.String("redis", "redis://localhost:6379", "where Redis is")
	flags.StringVar(&in.Journal, "journal", "", "what was done to the system")
	flags.DurationVar(&in.Limits.RecoveryP50, "recovery-p50", in.Limits.RecoveryP50, "half of a killed worker's tasks run again within this")
	flags.DurationVar(&in.Limits.RecoveryP99, "recovery-p99", in.Limits.RecoveryP99, "99 of 100 do within this")
	flags.DurationVar(&in.Limits.Flow, "flow", in.Limits.Flow, "work flows this soon after Redis answers")
	flags.Func("batch", "name of a batch; may be repeated", func(name string) error {
		in.Batches = append(in.Batches, invariant.Batch{Name: name})
		return nil
	})
	last := func(set func(b *invariant.Batch, file string)) func(string) error {
		return func(file string) error {
			if len(in.Batches) == 0 {
				return errors.New("give --batch NAME before it")
			}
			set(&in.Batches[len(in.Batches)-1], file)
			return nil
		}
	}
	flags.Func("out", "outcome file of the batch named before", last(func(b *invariant.Batch, file string) { b.Out = file }))
	flags.Func("seen", "file of outcomes that somebody saw meanwhile; may be repeated", last(func(b *invariant.Batch, file string) { b.Seen = append(b.Seen, file) }))
	flags.Func("log", "execution log, or a directory of them; may be repeated", func(name string) error {
		in.Logs = append(in.Logs, logs(name)...)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if len(in.Batches) == 0 || len(in.Logs) == 0 {
		return false, errors.New("--batch and --log are needed")
	}
	opts, err := redis.ParseURL(*url)
	if err != nil {
		return false, err
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	in.Redis = rdb
	report, err := invariant.Check(context.Background(), in)
	if err != nil {
		return false, err
	}
	report.Print(os.Stdout)
	return report.OK(), nil
}

// logs are the files of a directory, or the one file.
func logs(name string) []string {
	if files, _ := filepath.Glob(filepath.Join(name, "*.log")); len(files) > 0 {
		return files
	}
	return []string{name}
}
