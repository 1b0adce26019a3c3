package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/cli"
	"github.com/weir-tasks/weir/internal/source"
	"github.com/weir-tasks/weir/tasks"
)

// input is where a batch's records come from.
type input struct {
	source.Source
	typ *tasks.Type
	// what describes it, so that two inputs can be told apart.
	what string
	// again says that the same command reads the same input again.
	again bool
}

// open checks the flags, the type and the input before anything touches Redis.
func (f *inputFlags) open(b *batchFlags) (*input, error) {
	if err := errors.Join(f.validate(), b.validate()); err != nil {
		return nil, &cli.Status{Code: cli.Usage, Err: err}
	}
	typ, ok := tasks.Lookup(f.Type)
	if !ok {
		return nil, cli.UsageError("unknown task type %q; this program has %s", f.Type, strings.Join(typeNames(), ", "))
	}
	in := &input{typ: typ, again: true}
	var err error
	if f.Repeat > 0 || f.Payload != "" {
		n := max(f.Repeat, 1)
		in.what = fmt.Sprintf("%d generated%s", n, template(f.Payload))
		in.Source, err = source.Repeat(n, f.Payload, typ)
	} else {
		in.what, in.again = describe(f.Files)
		in.Source, err = source.Files(f.Files, os.Stdin, typ, source.Options{Format: source.Format(f.Format)})
	}
	if err != nil {
		return nil, &cli.Status{Code: cli.Usage, Err: err}
	}
	if f.Limit > 0 {
		in.Source = source.Limit(in.Source, f.Limit)
		in.what = fmt.Sprintf("first %d of %s", f.Limit, in.what)
	}
	return in, nil
}

// template describes what generated tasks are made from. Of a long payload, which
// would fill every message that names the input, and of one with secrets, it tells what
// may be shown, and a hash.
func template(payload string) string {
	const most = 80
	if payload == "" {
		return ""
	}
	shown := string(tasks.Redact([]byte(payload)))
	if len(shown) > most {
		shown = strings.ToValidUTF8(shown[:most], "") + "..."
	}
	if shown != payload {
		sum := sha256.Sum256([]byte(payload))
		shown += " (" + hex.EncodeToString(sum[:8]) + ")"
	}
	return " from " + shown
}

// describe names the files; again is false where stdin is among them.
func describe(files []string) (what string, again bool) {
	if len(files) == 0 {
		return "stdin", false
	}
	again = true
	names := make([]string, len(files))
	for i, name := range files {
		names[i] = "stdin"
		if name == "-" {
			again = false
			continue
		}
		abs, err := filepath.Abs(name)
		if err != nil {
			abs = name
		}
		names[i] = abs
	}
	return strings.Join(names, " "), again
}

// options are the batch's, as the flags and the input say.
func (f *batchFlags) options(in *input) weir.BatchOptions {
	o := weir.BatchOptions{
		Name: f.Batch, Lane: f.Lane, Timeout: f.Timeout, Backoff: f.Backoff, Window: f.Window, Deadline: f.Deadline,
		WithPayload: f.WithPayload, MaxFailures: f.MaxFailures, Keep: f.Keep,
		Input: in.what, Again: in.again,
	}
	o.Priority, _ = f.priority() // as validated
	if f.Retries != nil {
		o.Retries = *f.Retries
		if o.Retries == 0 {
			o.Retries = tasks.NoRetries
		}
	}
	priority := ""
	if o.Priority != weir.Normal {
		priority = o.Priority.String()
	}
	sum := sha256.Sum256(fmt.Append(nil, in.what, "\x00", o.Lane, o.Timeout, o.Retries, o.Backoff, o.Deadline, o.WithPayload, priority))
	o.Stem = in.typ.Name()
	if in.again {
		o.Stem += "-" + hex.EncodeToString(sum[:4])
	}
	return o
}

func typeNames() []string {
	var names []string
	for _, t := range tasks.All() {
		names = append(names, t.Name())
	}
	return names
}
