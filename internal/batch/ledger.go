package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrNotFound says that Redis has no batch of that name.
var ErrNotFound = errors.New("no such batch")

// Phase is where a batch stands.
type Phase string

// The phases of a batch.
const (
	Open       Phase = "open"
	Sealed     Phase = "sealed"
	Done       Phase = "done"
	GivenUp    Phase = "cancelled"
	notCreated Phase = ""
)

// Info is a batch's record at one moment.
type Info struct {
	Name    string
	Options Options
	Phase   Phase
	Created time.Time
	// Next is the checkpoint: seqs below it have been enqueued or have an outcome.
	Next int64
	// Hash is the running hash of the input up to Next.
	Hash string
	// N is the number of tasks, or -1 while the batch is open.
	N                     int64
	OK, Failed, Cancelled int64
	Retries               int64
	// Given is how many outcomes were handed to the reader for good.
	Given int64
	// Stopped says that the producer was interrupted and withdrew its tasks.
	Stopped bool
	// Paused says that no attempt begins until it is resumed.
	Paused bool
	// Expired says that it was given up because its deadline passed.
	Expired bool
}

// Outcomes is how many seqs have an outcome.
func (i *Info) Outcomes() int64 { return i.OK + i.Failed + i.Cancelled }

// Complete says that every task there will be has its outcome.
func (i *Info) Complete() bool { return i.N >= 0 && i.Outcomes() == i.N }

// Ledger reads and writes the records of all batches in one Redis.
// It is safe for concurrent use.
type Ledger struct {
	rdb redis.UniversalClient

	mu     sync.Mutex
	parsed map[string]*Options // by their JSON
}

// NewLedger returns the ledger kept in rdb.
func NewLedger(rdb redis.UniversalClient) *Ledger {
	return &Ledger{rdb: rdb, parsed: make(map[string]*Options)}
}

// Create makes a batch; made is false when there is one of this name already.
// The caller then decides, by its Info, whether it is the same.
func (l *Ledger) Create(ctx context.Context, name string, o Options) (made bool, err error) {
	if err := ValidName(name); err != nil {
		return false, err
	}
	opts, err := json.Marshal(o)
	if err != nil {
		return false, fmt.Errorf("create batch %q: %w", name, err)
	}
	now := time.Now().UnixMilli()
	n, err := createScript.Run(ctx, l.rdb, []string{batchKey(name)}, Format, now, opts, o.DeadlineMS, o.FailuresOnly).Int()
	if err != nil {
		return false, fmt.Errorf("create batch %q: %w", name, err)
	}
	// Only now, or a List in between would take the name for that of a removed batch.
	if err := l.rdb.ZAddNX(ctx, indexKey, redis.Z{Score: float64(now), Member: name}).Err(); err != nil {
		return false, fmt.Errorf("create batch %q: %w", name, err)
	}
	return n == 1, nil
}

// Info reads a batch's record. ErrNotFound if there is none.
func (l *Ledger) Info(ctx context.Context, name string) (*Info, error) {
	h, err := l.rdb.HGetAll(ctx, batchKey(name)).Result()
	if err != nil {
		return nil, fmt.Errorf("read batch %q: %w", name, err)
	}
	if Phase(h["state"]) == notCreated {
		return nil, fmt.Errorf("batch %q: %w", name, ErrNotFound)
	}
	return parseInfo(name, h)
}

func parseInfo(name string, h map[string]string) (*Info, error) {
	num := func(field string) int64 {
		n, _ := strconv.ParseInt(h[field], 10, 64)
		return n
	}
	if f := num("format"); f > Format {
		return nil, fmt.Errorf("batch %q was made by a newer weir (format %d, this one reads up to %d): upgrade this program", name, f, Format)
	}
	i := &Info{
		Name: name, Phase: Phase(h["state"]), Created: time.UnixMilli(num("created")),
		Next: num("next"), Hash: h["hash"], N: -1,
		OK: num("ok"), Failed: num("failed"), Cancelled: num("cancelled"),
		Retries: num("retries"), Given: num("given"), Stopped: h["stopped"] != "",
		Paused: h["paused"] != "", Expired: h["expired"] != "",
	}
	if _, ok := h["n"]; ok {
		i.N = num("n")
	}
	if err := json.Unmarshal([]byte(h["opts"]), &i.Options); err != nil {
		return nil, fmt.Errorf("read batch %q: its options: %w", name, err)
	}
	return i, nil
}

// List reads all batches, the newest first. On the way, names whose batch has been
// removed are dropped from the index, and a complete batch whose last outcome was
// recorded by a worker that then died gets its expiry.
func (l *Ledger) List(ctx context.Context) ([]*Info, error) {
	names, err := l.rdb.ZRevRange(ctx, indexKey, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	var all []*Info
	for _, name := range names {
		i, err := l.Info(ctx, name)
		if errors.Is(err, ErrNotFound) {
			l.rdb.ZRem(ctx, indexKey, name)
			continue
		}
		if err != nil {
			return nil, err
		}
		if i.Complete() {
			_ = l.expire(ctx, i)
		}
		all = append(all, i)
	}
	return all, nil
}

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

// expire lets all keys of a complete batch go after its time, once: who cancels or
// lists it later does not make it stay.
func (l *Ledger) expire(ctx context.Context, i *Info) error {
	if left, err := l.rdb.PTTL(ctx, batchKey(i.Name)).Result(); err != nil || left != -1 {
		return err
	}
	keep := time.Duration(i.Options.KeepMS) * time.Millisecond
	pipe := l.rdb.Pipeline()
	// The batch's own key last: its expiry says that the others have theirs.
	for _, key := range []string{outKey(i.Name), deadKey(i.Name), lanesKey(i.Name), suspectsKey(i.Name), bitsKey(i.Name, i.N), batchKey(i.Name)} {
		pipe.PExpire(ctx, key, keep)
	}
	_, err := pipe.Exec(ctx)
	return err
}

// RewoundError says that the checkpoint is not where the producer left it: Redis
// lost writes, another producer was here, or the batch was cancelled.
type RewoundError struct {
	Name  string
	Next  int64 // where it stands; -1 when the batch is gone
	Phase Phase
}

func (e *RewoundError) Error() string {
	if e.Phase == notCreated {
		return fmt.Sprintf("batch %q is gone from Redis", e.Name)
	}
	return fmt.Sprintf("checkpoint of batch %q (%s) stands at %d, not where this producer left it", e.Name, e.Phase, e.Next)
}

// Checkpoint moves the checkpoint from one seq to another, by compare-and-set.
// A *RewoundError says where it stands instead.
func (l *Ledger) Checkpoint(ctx context.Context, name string, from, to int64, hash string) error {
	r, err := checkpointScript.Run(ctx, l.rdb, []string{batchKey(name)}, from, to, hash).Slice()
	if err != nil || len(r) != 3 {
		return fmt.Errorf("move checkpoint of batch %q: %w", name, orShape(err))
	}
	if moved, _ := r[0].(int64); moved == 1 {
		return nil
	}
	next, _ := r[1].(int64)
	phase, _ := r[2].(string)
	return &RewoundError{Name: name, Next: next, Phase: Phase(phase)}
}

// Seal says that the source has ended. It returns the phase the batch is in now.
func (l *Ledger) Seal(ctx context.Context, name string) (Phase, error) {
	return l.end(ctx, name, Sealed, false)
}

// GiveUp marks a batch cancelled: no attempt begins any more. Outcomes for what
// it leaves open are recorded by the workers that meet them, and by FillCancelled.
func (l *Ledger) GiveUp(ctx context.Context, name string) (Phase, error) {
	return l.end(ctx, name, GivenUp, false)
}

// Expire is GiveUp for a batch whose deadline has passed: what it leaves open fails.
func (l *Ledger) Expire(ctx context.Context, name string) (Phase, error) {
	return l.end(ctx, name, GivenUp, true)
}

func (l *Ledger) end(ctx context.Context, name string, want Phase, expired bool) (Phase, error) {
	s, err := sealScript.Run(ctx, l.rdb, []string{batchKey(name), outKey(name)}, string(want), expired).Text()
	if err != nil {
		return "", fmt.Errorf("end batch %q: %w", name, err)
	}
	phase := Phase(s)
	switch phase {
	case notCreated:
		return "", fmt.Errorf("end batch %q: %w", name, ErrNotFound)
	case Done, GivenUp:
		if i, err := l.Info(ctx, name); err == nil && i.Complete() {
			_ = l.expire(ctx, i)
		}
	}
	return phase, nil
}

// SetStopped marks a batch as interrupted: workers drop its tasks, which the
// resuming producer enqueues again, or takes the mark away.
func (l *Ledger) SetStopped(ctx context.Context, name string, stopped bool) error {
	if err := l.mark(ctx, name, "stopped", stopped); err != nil {
		return fmt.Errorf("stop batch %q: %w", name, err)
	}
	return nil
}

// SetPaused marks a batch as paused: no attempt begins; or takes the mark away.
func (l *Ledger) SetPaused(ctx context.Context, name string, paused bool) error {
	if err := l.mark(ctx, name, "paused", paused); err != nil {
		return fmt.Errorf("pause batch %q: %w", name, err)
	}
	return nil
}

func (l *Ledger) mark(ctx context.Context, name, field string, set bool) error {
	if set {
		return l.rdb.HSet(ctx, batchKey(name), field, 1).Err()
	}
	return l.rdb.HDel(ctx, batchKey(name), field).Err()
}

// Left is the time until a batch's deadline, on Redis' clock; ok is false if it has none.
func (l *Ledger) Left(ctx context.Context, name string) (left time.Duration, ok bool, err error) {
	pipe := l.rdb.Pipeline()
	deadline := pipe.HGet(ctx, batchKey(name), "deadline")
	now := pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return 0, false, fmt.Errorf("read deadline of batch %q: %w", name, err)
	}
	ms, err := deadline.Int64()
	if err != nil {
		return 0, false, nil
	}
	return time.UnixMilli(ms).Sub(now.Val()), true, nil
}

// AddLane notes that tasks of the batch go to a lane.
func (l *Ledger) AddLane(ctx context.Context, name, lane string) error {
	if err := l.rdb.SAdd(ctx, lanesKey(name), lane).Err(); err != nil {
		return fmt.Errorf("note lane of batch %q: %w", name, err)
	}
	return nil
}

// Lanes are the lanes that tasks of the batch went to.
func (l *Ledger) Lanes(ctx context.Context, name string) ([]string, error) {
	lanes, err := l.rdb.SMembers(ctx, lanesKey(name)).Result()
	if err != nil {
		return nil, fmt.Errorf("read lanes of batch %q: %w", name, err)
	}
	return lanes, nil
}

// Lease makes id the producer of a batch for a while, or returns who is. dead
// names a holder known to have died, which does not count.
func (l *Ledger) Lease(ctx context.Context, name, id, dead string, d time.Duration) (holder string, err error) {
	holder, err = leaseScript.Run(ctx, l.rdb, []string{producerKey(name)}, id, d.Milliseconds(), dead).Text()
	if err != nil {
		return "", fmt.Errorf("become producer of batch %q: %w", name, err)
	}
	return holder, nil
}

// LeaseLeft is how long the producer's lease still lasts; 0 if there is none.
func (l *Ledger) LeaseLeft(ctx context.Context, name string) (time.Duration, error) {
	left, err := l.rdb.PTTL(ctx, producerKey(name)).Result()
	if err != nil {
		return 0, fmt.Errorf("read lease of batch %q: %w", name, err)
	}
	return max(left, 0), nil
}

// Release gives the producer's lease back.
func (l *Ledger) Release(ctx context.Context, name, id string) error {
	if err := releaseScript.Run(ctx, l.rdb, []string{producerKey(name)}, id).Err(); err != nil {
		return fmt.Errorf("release batch %q: %w", name, err)
	}
	return nil
}

// Discard removes the record of a batch that has not been fed.
func (l *Ledger) Discard(ctx context.Context, name string) error {
	pipe := l.rdb.Pipeline()
	pipe.Del(ctx, batchKey(name), lanesKey(name), suspectsKey(name))
	pipe.ZRem(ctx, indexKey, name)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("discard batch %q: %w", name, err)
	}
	return nil
}

// orShape is err, or, where there is none, the complaint that the reply's shape was wrong.
func orShape(err error) error {
	if err != nil {
		return err
	}
	return errors.New("reply of unexpected shape")
}
