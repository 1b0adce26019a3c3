package batch

import (
	"fmt"
	"time"

	"github.com/weir-tasks/weir/internal/queue"
)

// Options are what a batch was made with. They never change; every worker reads
// them with each task.
type Options struct {
	Type string `json:"type"`
	// Lane is where the tasks go; empty means where each payload says.
	Lane string `json:"lane,omitempty"`
	// Priority says before which others of its lane a task is run.
	Priority queue.Priority `json:"priority,omitempty"`
	// Timeout is one attempt's, in milliseconds.
	TimeoutMS int64 `json:"timeout_ms"`
	// Retries is how many attempts may follow the first.
	Retries int `json:"retries"`
	// BackoffMS is the base of the exponential backoff, MaxBackoffMS its cap.
	BackoffMS    int64 `json:"backoff_ms"`
	MaxBackoffMS int64 `json:"max_backoff_ms"`
	// Ordered hands outcomes on in the order of input. A reader that goes on must do as
	// the one before, or it could not tell what that one has handed on.
	Ordered bool `json:"ordered,omitempty"`
	// WithPayload adds the payload to every outcome, not only to failed ones.
	WithPayload bool `json:"with_payload,omitempty"`
	// FailuresOnly keeps only the outcomes of tasks that were not ok for whoever follows;
	// all are counted.
	FailuresOnly bool `json:"failures_only,omitempty"`
	// MaxUnread is how many outcomes may wait to be read; then the producer waits. They
	// have one reader, see Take, and leave Redis when it has them. 0 is no limit, and any
	// number of readers.
	MaxUnread int64 `json:"max_unread,omitempty"`
	// Input describes the source, for people and for telling two inputs apart.
	Input string `json:"input,omitempty"`
	// Out is the file the outcomes go to, if any.
	Out string `json:"out,omitempty"`
	// DeadlineMS is how long after its creation a task without an outcome fails, in
	// milliseconds; 0 is never.
	DeadlineMS int64 `json:"deadline_ms,omitempty"`
	// AtMS is when the tasks become due, in milliseconds since 1970, or InMS how long after
	// the batch's creation; 0 is at once.
	AtMS int64 `json:"at_ms,omitempty"`
	InMS int64 `json:"in_ms,omitempty"`
	// Keep is how long the batch stays after it is done, in milliseconds.
	KeepMS int64 `json:"keep_ms"`
}

// Timeout is the time one attempt may take.
func (o *Options) Timeout() time.Duration { return time.Duration(o.TimeoutMS) * time.Millisecond }

// Backoff is the base of the exponential backoff.
func (o *Options) Backoff() time.Duration { return time.Duration(o.BackoffMS) * time.Millisecond }

// Deadline is how long after the batch's creation a task without an outcome fails.
func (o *Options) Deadline() time.Duration { return time.Duration(o.DeadlineMS) * time.Millisecond }

// at is AtMS for people.
func (o *Options) at() string {
	if o.AtMS == 0 {
		return ""
	}
	return time.UnixMilli(o.AtMS).UTC().Format(time.RFC3339)
}

func (o *Options) outcomes() string {
	if o.FailuresOnly {
		return "failed"
	}
	return "all"
}

// Differs names the first option in which o and p differ, or "".
func (o *Options) Differs(p *Options) string {
	for _, f := range []struct {
		name string
		a, b any
	}{
		{"task type", o.Type, p.Type},
		{"--lane", o.Lane, p.Lane},
		{"--priority", o.Priority, p.Priority},
		{"--timeout", o.Timeout(), p.Timeout()},
		{"--retries", o.Retries, p.Retries},
		{"--backoff", o.BackoffMS, p.BackoffMS},
		{"--deadline", o.Deadline(), p.Deadline()},
		{"--at", o.at(), p.at()},
		{"--in", time.Duration(o.InMS) * time.Millisecond, time.Duration(p.InMS) * time.Millisecond},
		{"--ordered", o.Ordered, p.Ordered},
		{"--with-payload", o.WithPayload, p.WithPayload},
		{"--outcomes", o.outcomes(), p.outcomes()},
		{"--max-unread", o.MaxUnread, p.MaxUnread},
		{"input", o.Input, p.Input},
		{"--out", o.Out, p.Out},
	} {
		if f.a != f.b {
			return fmt.Sprintf("%s was %q and is now %q", f.name, fmt.Sprint(f.a), fmt.Sprint(f.b))
		}
	}
	return ""
}
