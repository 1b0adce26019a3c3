package batch

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/together"
	"github.com/weir-tasks/weir/tasks"
)

// Admission is the ledger's answer to: may an attempt of this task run?
type Admission int

// The answers of Begin.
const (
	Run         Admission = iota // run it
	HasOutcome                   // it has its outcome: close it
	IsCancelled                  // the batch is cancelled: record that as its outcome
	Forget                       // the batch is stopped: drop the task, the producer enqueues it again
	NoBatch                      // there is no such batch
	HasExpired                   // the batch's deadline has passed: record that as its outcome
	IsPaused                     // the batch is paused: ask again later
	RunAlone                     // run it with no other task beside it: BeginAlone
)

// Terms are what an attempt is run under.
type Terms struct {
	*Options // not to be changed
	// Left is the time until the batch's deadline; negative if it has none.
	Left time.Duration
}

// Begin asks whether an attempt may run, and under which terms.
func (l *Ledger) Begin(ctx context.Context, name string, seq int64) (Admission, Terms, error) {
	r, err := l.begins.Do(ctx, asked{name, seq})
	if err != nil {
		return 0, Terms{}, fmt.Errorf("begin task %s: %w", TaskID(name, seq), err)
	}
	return r.Admission, r.Terms, nil
}

// BeginAlone is Begin for an attempt that has no other task beside it, in the worker of a
// mark. If that worker dies before the attempt's outcome or Rest, the task is to blame.
func (l *Ledger) BeginAlone(ctx context.Context, name string, seq int64, worker queue.Mark) (Admission, Terms, error) {
	c := beginCall(asked{name, seq}.segment(), worker.Fraction())
	r, err := l.admissions(beginScript.Run(ctx, l.rdb, c.Keys, append(c.Args, seq%segment)...), 1)
	if err != nil {
		return 0, Terms{}, fmt.Errorf("begin task %s: %w", TaskID(name, seq), err)
	}
	return r[0].Admission, r[0].Terms, nil
}

// asked is a task whose Begin is asked for, and admitted the answer.
type asked struct {
	name string
	seq  int64
}

type admitted struct {
	Admission
	Terms
}

func (a asked) segment() span { return span{a.name, a.seq / segment} }

// beginCall begins tasks of one segment.
func beginCall(of span, alone string) *together.Call {
	return &together.Call{Keys: []string{batchKey(of.name), of.bits(), suspectsKey(of.name)}, Args: []any{of.k, segment, alone, aloneFrom}}
}

// recordCall records outcomes of one segment.
func recordCall(of span) *together.Call {
	return &together.Call{Keys: []string{batchKey(of.name), of.bits(), outKey(of.name), deadKey(of.name), suspectsKey(of.name)}, Args: []any{of.k, segment}}
}

// admissions reads the answer of begin.lua, for n tasks.
func (l *Ledger) admissions(cmd *redis.Cmd, n int) ([]admitted, error) {
	r, err := cmd.Slice()
	if err != nil || len(r) != 2+n {
		return nil, orShape(err)
	}
	raw, _ := r[0].(string)
	left, _ := r[1].(int64)
	terms := Terms{Left: time.Duration(left) * time.Millisecond}
	if raw != "" {
		if terms.Options, err = l.options(raw); err != nil {
			return nil, fmt.Errorf("options of the batch: %w", err)
		}
	}
	all := make([]admitted, n)
	for i := range all {
		code, _ := r[2+i].(int64)
		all[i] = admitted{Admission(code), terms}
	}
	return all, nil
}

// maxParsed bounds the memory of options; a worker meets few batches at a time.
const maxParsed = 1000

// options parses a batch's options, remembering them: they come with every task.
func (l *Ledger) options(raw string) (*Options, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.parsed[raw]; o != nil {
		return o, nil
	}
	var o Options
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		return nil, err
	}
	if len(l.parsed) >= maxParsed {
		clear(l.parsed)
	}
	l.parsed[raw] = &o
	return &o, nil
}

// Record gives a task its outcome. first is false when it had one already: then
// nothing has changed. wait is the time from enqueue to the first start, negative
// if unknown. payload goes with a failed outcome into the dead letters.
// ErrNotFound if the batch is gone.
func (l *Ledger) Record(ctx context.Context, name string, o *Outcome, wait time.Duration, payload []byte) (first bool, err error) {
	n, err := l.records.Do(ctx, entry{name, o, wait, payload})
	if err == nil {
		first, err = l.recorded(ctx, name, n)
	}
	if err != nil {
		return false, fmt.Errorf("record task %s: %w", TaskID(name, o.Seq), err)
	}
	return first, nil
}

// recordAll is Record for many, in one round trip. It returns how many had no outcome
// before.
func (l *Ledger) recordAll(ctx context.Context, name string, outcomes []*Outcome) (firsts int64, err error) {
	entries := make([]entry, len(outcomes))
	for i, o := range outcomes {
		entries[i] = entry{name: name, o: o, wait: -time.Microsecond}
	}
	for i, a := range l.recordEntries(ctx, entries) {
		first := false
		if err = a.Err; err == nil {
			first, err = l.recorded(ctx, name, a.Value)
		}
		if err != nil {
			return firsts, fmt.Errorf("record task %s: %w", TaskID(name, outcomes[i].Seq), err)
		}
		if first {
			firsts++
		}
	}
	return firsts, nil
}

// entry is an outcome to record.
type entry struct {
	name    string
	o       *Outcome
	wait    time.Duration // from enqueue to the first start; negative: not known
	payload []byte        // for the dead letters
}

func (e entry) segment() span { return span{e.name, e.o.Seq / segment} }

// encode returns what record.lua wants of an entry, six arguments, and their size.
func (e entry) encode() (args []any, size int, err error) {
	out := *e.o
	out.Payload, out.Signature = asJSON(tasks.Redact(e.o.Payload)), ""
	line, err := json.Marshal(&out)
	if err != nil {
		return nil, 0, err
	}
	var dead []byte
	if e.o.State == Failed {
		out.Payload, out.Signature = asJSON(e.payload), e.o.Signature
		if dead, err = json.Marshal(&out); err != nil {
			return nil, 0, err
		}
	}
	return []any{e.o.Seq % segment, string(e.o.State), line, e.wait.Microseconds(), max(0, e.o.Attempts-1), dead}, len(line) + len(dead), nil
}

// recorded reads the answer of record.lua for one outcome.
func (l *Ledger) recorded(ctx context.Context, name string, n int64) (first bool, err error) {
	switch n {
	case -1:
		return false, ErrNotFound
	case 2:
		if i, err := l.Info(ctx, name); err == nil {
			_ = l.expire(ctx, i) // if this fails, List sees to it
		}
	}
	return n > 0, nil
}

// asJSON is a payload as outcomes carry it: JSON as it is, anything else as a JSON
// string. So no payload, whoever put it into Redis, keeps an outcome from being
// written.
func asJSON(p []byte) json.RawMessage {
	if len(p) == 0 {
		return nil
	}
	// In JSON, what is not UTF-8 is inside a string: U+FFFD there keeps it JSON.
	text := strings.ToValidUTF8(string(p), "\uFFFD")
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	s, _ := json.Marshal(text)
	return s
}
