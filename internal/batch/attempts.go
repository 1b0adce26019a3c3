package batch

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
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
	return l.begin(ctx, name, seq, "")
}

// BeginAlone is Begin for an attempt that has no other task beside it. If its worker
// dies before its outcome or Rest, the task is to blame.
func (l *Ledger) BeginAlone(ctx context.Context, name string, seq int64) (Admission, Terms, error) {
	return l.begin(ctx, name, seq, "1")
}

func (l *Ledger) begin(ctx context.Context, name string, seq int64, alone string) (Admission, Terms, error) {
	r, err := beginScript.Run(ctx, l.rdb, []string{batchKey(name), bitsKey(name, seq), suspectsKey(name)},
		seq, seq%segment, seq/segment, alone, aloneFrom).Slice()
	if err != nil || len(r) != 3 {
		return 0, Terms{}, fmt.Errorf("begin task %s: %w", TaskID(name, seq), orShape(err))
	}
	code, _ := r[0].(int64)
	raw, _ := r[1].(string)
	left, _ := r[2].(int64)
	terms := Terms{Left: time.Duration(left) * time.Millisecond}
	if raw == "" {
		return Admission(code), terms, nil
	}
	if terms.Options, err = l.options(raw); err != nil {
		return 0, Terms{}, fmt.Errorf("begin task %s: options of the batch: %w", TaskID(name, seq), err)
	}
	return Admission(code), terms, nil
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
	keys, args, err := recordArgs(name, o, wait, payload)
	if err != nil {
		return false, fmt.Errorf("record task %s: %w", TaskID(name, o.Seq), err)
	}
	return l.recorded(ctx, name, o.Seq, recordScript.Run(ctx, l.rdb, keys, args...))
}

// recordAll is Record for many, in one round trip. It returns how many had no outcome
// before.
func (l *Ledger) recordAll(ctx context.Context, name string, outcomes []*Outcome) (firsts int64, err error) {
	if err := recordScript.Load(ctx, l.rdb).Err(); err != nil {
		return 0, fmt.Errorf("record tasks of batch %q: %w", name, err)
	}
	pipe := l.rdb.Pipeline()
	calls := make([]*redis.Cmd, len(outcomes))
	for i, o := range outcomes {
		keys, args, err := recordArgs(name, o, -time.Microsecond, nil)
		if err != nil {
			return 0, fmt.Errorf("record task %s: %w", TaskID(name, o.Seq), err)
		}
		calls[i] = recordScript.EvalSha(ctx, pipe, keys, args...)
	}
	_, _ = pipe.Exec(ctx) // each call has its own error
	for i, o := range outcomes {
		first, err := l.recorded(ctx, name, o.Seq, calls[i])
		if err != nil {
			return firsts, err
		}
		if first {
			firsts++
		}
	}
	return firsts, nil
}

// recordArgs are the keys and arguments of record.lua.
func recordArgs(name string, o *Outcome, wait time.Duration, payload []byte) (keys []string, args []any, err error) {
	out := *o
	out.Payload = asJSON(o.Payload)
	line, err := json.Marshal(&out)
	if err != nil {
		return nil, nil, err
	}
	var dead []byte
	if o.State == Failed {
		out.Payload = asJSON(payload)
		if dead, err = json.Marshal(&out); err != nil {
			return nil, nil, err
		}
	}
	keys = []string{batchKey(name), bitsKey(name, o.Seq), outKey(name), deadKey(name), suspectsKey(name)}
	return keys, []any{o.Seq, o.Seq % segment, o.Seq / segment, segment,
		string(o.State), line, wait.Microseconds(), max(0, o.Attempts-1), dead}, nil
}

// recorded reads the answer of record.lua.
func (l *Ledger) recorded(ctx context.Context, name string, seq int64, call *redis.Cmd) (first bool, err error) {
	n, err := call.Int()
	if err != nil {
		return false, fmt.Errorf("record task %s: %w", TaskID(name, seq), err)
	}
	switch n {
	case -1:
		return false, fmt.Errorf("record task %s: %w", TaskID(name, seq), ErrNotFound)
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
