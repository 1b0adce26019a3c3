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
	"github.com/weir-tasks/weir/internal/together"
)

// ErrNotFound says that Redis has no batch of that name.
var ErrNotFound = errors.New("no such batch")

// UnreadableError says why what Redis has of a batch cannot be used, and what helps.
type UnreadableError struct {
	Name   string
	Err    error
	Remedy string
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("batch %q cannot be read: %v; %s", e.Name, e.Err, e.Remedy)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// Unreadable is err as an *UnreadableError where a key of the batch, or of its lanes, is of
// another kind than it must be; any other error as it is.
func Unreadable(name string, err error) error {
	var known *UnreadableError
	if err == nil || errors.As(err, &known) || !strings.Contains(err.Error(), "WRONGTYPE") { // scripts tell of it in their own words
		return err
	}
	return &UnreadableError{name, err, "somebody else wrote to a key of it: redis-cli --scan --pattern '" + prefix(name) + "*' lists them; producer doctor looks at those of its lanes"}
}

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
	Mark
	// Hash is the running hash of the input read so far, Upto records.
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
	// Unreadable is the *UnreadableError of a batch of a list that cannot be read: then nothing
	// is known of it but its name, and N is -1. It is nil of any other.
	Unreadable error
}

// Due is when the tasks become due; before now, or zero, is at once.
func (i *Info) Due() time.Time {
	switch {
	case i.Options.AtMS > 0:
		return time.UnixMilli(i.Options.AtMS)
	case i.Options.InMS > 0:
		return i.Created.Add(time.Duration(i.Options.InMS) * time.Millisecond)
	}
	return time.Time{}
}

// Outcomes is how many seqs have an outcome.
func (i *Info) Outcomes() int64 { return i.OK + i.Failed + i.Cancelled }

// Complete says that every task there will be has its outcome.
func (i *Info) Complete() bool { return i.N >= 0 && i.Outcomes() == i.N }

// Ledger reads and writes the records of all batches in one Redis.
// It is safe for concurrent use.
type Ledger struct {
	rdb redis.UniversalClient
	// triesTasks is of how many tasks of a batch failed attempts are remembered.
	triesTasks int

	mu     sync.Mutex
	parsed map[string]*Options // by their JSON

	begins  *together.Asker[asked, admitted]
	records *together.Asker[entry, int64]
}

// NewLedger returns the ledger kept in rdb.
func NewLedger(rdb redis.UniversalClient) *Ledger {
	l := &Ledger{rdb: rdb, triesTasks: triesTasks, parsed: make(map[string]*Options)}
	l.begins = together.NewAsker(l.beginAll)
	l.records = together.NewAsker(l.recordEntries)
	return l
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
		return nil, Unreadable(name, fmt.Errorf("read batch %q: %w", name, err))
	}
	if Phase(h["state"]) == notCreated {
		return nil, fmt.Errorf("batch %q: %w", name, ErrNotFound)
	}
	return parseInfo(name, h)
}

// parseInfo reads a batch's record; its errors are *UnreadableErrors.
func parseInfo(name string, h map[string]string) (*Info, error) {
	broken := func(format string, args ...any) (*Info, error) {
		return nil, &UnreadableError{name, fmt.Errorf(format, args...), "look at its record: redis-cli HGETALL " + batchKey(name)}
	}
	num := func(field string) int64 {
		n, _ := strconv.ParseInt(h[field], 10, 64)
		return n
	}
	if f := num("format"); f > Format {
		return nil, &UnreadableError{name, fmt.Errorf("it was made by a newer weir (format %d, this one reads up to %d)", f, Format), "upgrade this program"}
	}
	i := &Info{
		Name: name, Phase: Phase(h["state"]), Created: time.UnixMilli(num("created")),
		Mark: At(num("next")), Hash: h["hash"], N: -1,
		OK: num("ok"), Failed: num("failed"), Cancelled: num("cancelled"),
		Retries: num("retries"), Given: num("given"), Stopped: h["stopped"] != "",
		Paused: h["paused"] != "", Expired: h["expired"] != "",
	}
	if beyond, ok := h["beyond"]; ok {
		if _, err := fmt.Sscan(beyond, &i.Ahead, &i.Upto); err != nil {
			return broken("what has overtaken its checkpoint: %q", beyond)
		}
	}
	if _, ok := h["n"]; ok {
		i.N = num("n")
	}
	if err := json.Unmarshal([]byte(h["opts"]), &i.Options); err != nil {
		return broken("its options: %w", err)
	}
	return i, nil
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
	for _, key := range []string{outKey(i.Name), deadKey(i.Name), lanesKey(i.Name), suspectsKey(i.Name), triesKey(i.Name), bitsKey(i.Name, i.N), batchKey(i.Name)} {
		pipe.PExpire(ctx, key, keep)
	}
	_, err := pipe.Exec(ctx)
	return err
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

// Discard removes the record of a batch that has not been fed.
func (l *Ledger) Discard(ctx context.Context, name string) error {
	pipe := l.rdb.Pipeline()
	pipe.Del(ctx, batchKey(name), lanesKey(name), suspectsKey(name), triesKey(name), expectKey(name))
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
