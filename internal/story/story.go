// Package story tells what is known of one task of a batch: where it is and why, its
// attempts, and what became of it.
//
// Redis keeps no more of a task than is needed to run it and to account for it: while it
// waits or runs, its message, with how often it was tried and the last error; once it has
// its outcome, that, as long as nobody has taken it from the batch's stream, and for good
// where it failed. What is not known any more is left out, never guessed.
package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/work"
	"github.com/weir-tasks/weir/tasks"
)

// Place is where a task is.
type Place string

// The places of a task. Asynq's states are those between.
const (
	Unread    Place = "unread"    // its record is not read yet, or waits in its producer for room in its lane
	Ended     Place = "ended"     // it has its outcome
	Missing   Place = "missing"   // it was enqueued, has no outcome, and is in none of its batch's lanes
	Pending   Place = "pending"   // it waits in its lane
	Scheduled Place = "scheduled" // it is for later: put off, or its batch is paused
	Retrying  Place = "retry"     // it waits for its next attempt
	Active    Place = "active"    // a worker has it
	// Unreadable is one in its lane whose message is larger than queue.MaxMessage. Nobody reads it.
	Unreadable Place = "unreadable"
)

// Story is one task's.
type Story struct {
	Batch string `json:"batch"`
	Seq   int64  `json:"seq"`
	Place Place  `json:"place"`
	// Why says in words why it is there, and Do what helps, where something does.
	Why  string `json:"why"`
	Do   string `json:"do,omitempty"`
	Lane string `json:"lane,omitempty"`
	// Enqueued, and when it comes next, where it waits for a time; Unix milliseconds.
	Enqueued int64 `json:"enqueued_ms,omitempty"`
	Next     int64 `json:"next_ms,omitempty"`
	// Tries are the attempts that ended without an outcome, with the last one's error.
	Tries    int    `json:"tries"`
	Error    string `json:"error,omitempty"`
	FailedAt int64  `json:"failed_ms,omitempty"`
	// Attempts are those that failed and were followed by another: the last few, as far
	// as they are remembered.
	Attempts []batch.Try `json:"attempts,omitempty"`
	// Most is how many attempts it may have, and TimeoutMS what each may take.
	Most      int   `json:"most_attempts"`
	TimeoutMS int64 `json:"timeout_ms"`
	// Deaths is how often a worker died while it had the task.
	Deaths int `json:"deaths,omitempty"`
	// Worker runs it, for so long, as of its last heartbeat.
	Worker  string  `json:"worker,omitempty"`
	Running float64 `json:"running_seconds,omitempty"`
	// Payload is redacted.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Outcome is nil where it has none, or where it was handed on and is gone from Redis.
	Outcome *batch.Outcome `json:"outcome,omitempty"`
	// Recorded is when it got that; Unix milliseconds, 0 where it is not known.
	Recorded int64 `json:"recorded_ms,omitempty"`
	// WaitMS is the time from enqueue to the first start; negative where it is not known.
	WaitMS float64 `json:"wait_ms"`
}

// ErrNoTask says that a batch has no task of that number.
var ErrNoTask = errors.New("no such task")

// Read tells what is known of a task. ErrNoTask or batch.ErrNotFound if there is none.
func Read(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string, seq int64) (*Story, error) {
	if seq < 0 || seq >= batch.MaxTasks {
		return nil, fmt.Errorf("task %d of batch %q: %w", seq, name, ErrNoTask)
	}
	info, have, err := ledger.Snapshot(ctx, name, []int64{seq})
	if err != nil {
		return nil, err
	}
	s := &Story{Batch: name, Seq: seq, WaitMS: -1, Most: info.Options.Retries + 1, TimeoutMS: info.Options.TimeoutMS}
	if info.N >= 0 && seq >= info.N {
		return nil, fmt.Errorf("task %d of batch %q, which has %d: %w", seq, name, info.N, ErrNoTask)
	}
	if s.Attempts, err = ledger.Tries(ctx, name, seq); err != nil {
		return nil, err
	}
	if s.Deaths, err = ledger.Deaths(ctx, name, seq); err != nil {
		return nil, err
	}
	if err := s.locate(ctx, rdb, ledger, info, have[0]); err != nil {
		return nil, err
	}
	f := facts{info: info}
	if err := f.read(ctx, rdb, ledger, s); err != nil {
		return nil, err
	}
	s.Why, s.Do = f.explain(s)
	return s, nil
}

// locate finds out where the task is; ended says that it has its outcome.
func (s *Story) locate(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, info *batch.Info, ended bool) error {
	if ended {
		s.Place = Ended
		return s.outcome(ctx, ledger)
	}
	found, err := s.find(ctx, rdb, ledger)
	switch {
	case err != nil || found:
	case s.Seq >= info.Next:
		s.Place = Unread
	default: // it may have got its outcome since
		var have []bool
		have, err = ledger.Have(ctx, s.Batch, s.Seq, 1)
		if err == nil && have[0] {
			s.Place = Ended
			return s.outcome(ctx, ledger)
		}
		s.Place = Missing
	}
	return err
}

const (
	// searchFirst and searchAtOnce are how many entries of the stream are read at once, at
	// first and at most, and searchBytes after how many bytes the search ends.
	searchFirst, searchAtOnce = 5, 500
	searchBytes               = 8 << 20
)

// outcome looks for the task's outcome: in the dead letters, then from the end of the
// stream.
func (s *Story) outcome(ctx context.Context, ledger *batch.Ledger) error {
	dead, err := ledger.Failures(ctx, s.Batch, []int64{s.Seq})
	if err != nil {
		return err
	}
	if len(dead) == 1 {
		s.tell(dead[0])
	}
	entries, err := ledger.Latest(ctx, s.Batch, batch.Start, searchFirst)
	for seen, size := 0, 0; err == nil && len(entries) > 0; {
		for _, e := range entries {
			seen, size = seen+1, size+len(e.Line)
			if o, err := batch.ParseOutcome(e.Line); err == nil && !e.End && o.Seq == s.Seq {
				s.recorded(e)
				if s.Outcome == nil {
					s.tell(o)
				}
				return nil
			}
		}
		if size >= searchBytes {
			return nil
		}
		next := min(searchAtOnce, max(1, (searchBytes-size)/(size/seen+1)))
		entries, err = ledger.Before(ctx, s.Batch, entries[len(entries)-1].ID, int64(next))
	}
	return err
}

// tell takes over an outcome, as it may be shown.
func (s *Story) tell(o *batch.Outcome) {
	s.Payload = tasks.Redact(o.Payload)
	o.Payload, o.Signature = nil, ""
	s.Outcome = o
}

// recorded takes over what the entry of the task's outcome tells beside it.
func (s *Story) recorded(e batch.Entry) {
	var ms int64
	_, _ = fmt.Sscanf(e.ID, "%d-", &ms)
	s.Recorded = ms
	if e.Wait >= 0 {
		s.WaitMS = float64(e.Wait.Microseconds()) / 1000
	}
}

// find looks for a task in the lanes of its batch.
func (s *Story) find(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger) (bool, error) {
	queues, err := ledger.Lanes(ctx, s.Batch)
	if err != nil {
		return false, err
	}
	id := batch.TaskID(s.Batch, s.Seq)
	of, message, err := queue.Find(ctx, rdb, queues, id)
	if errors.Is(err, queue.ErrTooLarge) {
		s.Lane, s.Place = queue.Lane(of), Unreadable
		return true, nil
	}
	if err != nil || message == nil {
		return false, err
	}
	s.Lane, s.Payload = queue.Lane(of), showable(message.Payload)
	if us, err := strconv.ParseInt(message.Headers[batch.Header], 10, 64); err == nil {
		s.Enqueued = us / 1000
	}
	info, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo(of, id)
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return false, nil // it has ended meanwhile
	}
	if err != nil {
		return false, fmt.Errorf("look at task %s: %w", id, err)
	}
	s.Place, s.Tries, s.Error = Place(info.State.String()), info.Retried, info.LastErr
	s.FailedAt = unixMilli(info.LastFailedAt)
	if s.Place == Scheduled || s.Place == Retrying {
		s.Next = unixMilli(info.NextProcessAt)
	}
	if s.Place == Active {
		return true, s.runner(ctx, rdb, id)
	}
	return true, nil
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() || t.Unix() == 0 {
		return 0
	}
	return t.UnixMilli()
}

// runner tells who runs it.
func (s *Story) runner(ctx context.Context, rdb redis.UniversalClient, id string) error {
	workers, err := work.Look(ctx, rdb)
	for _, w := range workers {
		for _, t := range w.Tasks {
			if t.ID == id {
				s.Worker, s.Running = w.Name(), t.For.Seconds()
			}
		}
	}
	return err
}

// showable is a payload from Redis as JSON, redacted: text that is no JSON is a string.
func showable(payload []byte) json.RawMessage {
	payload = tasks.Redact(payload)
	if json.Valid(payload) {
		return payload
	}
	text, _ := json.Marshal(string(payload))
	return text
}
