package batch

import (
	"encoding/json"
	"fmt"
)

// State is what finally became of a task.
type State string

// The three outcomes. Exactly one of them is recorded per seq, ever.
const (
	OK        State = "ok"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Class says why a task failed.
type Class string

// Classes of failed outcomes. Timeout, Panic and Exhausted name the kind of the
// last failure of a task that has spent all its attempts.
const (
	Invalid   Class = "invalid"   // the payload does not fit the task type
	Permanent Class = "permanent" // the handler said that a retry cannot help
	Rejected  Class = "rejected"  // a rule of its worker's forbids it
	Timeout   Class = "timeout"
	Panic     Class = "panic"
	Exhausted Class = "exhausted" // any other error
	Crashed   Class = "crashed"   // its worker died each time it ran
	Expired   Class = "expired"   // the batch's deadline passed
)

// NotRun is the error of an expired task of which no attempt was under way.
const NotRun = "the batch's deadline passed before it ran"

// Outcome is one line of a batch's outcome stream, as users see it.
type Outcome struct {
	Seq      int64           `json:"seq"`
	State    State           `json:"state"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
	Class    Class           `json:"class,omitempty"`
	Attempts int             `json:"attempts"`
	// MS is how long the last attempt's handler ran, in milliseconds.
	MS     float64 `json:"ms"`
	Worker string  `json:"worker,omitempty"`
	// Payload is redacted, but for a dead letter's, which is to run again.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Signature is the task's, of a failed one. Only dead letters have it: whoever signs
	// their payloads again must know whose they are.
	Signature string `json:"signature,omitempty"`
}

// ParseOutcome reads a line of an outcome stream.
func ParseOutcome(line []byte) (*Outcome, error) {
	var o Outcome
	if err := json.Unmarshal(line, &o); err != nil {
		return nil, fmt.Errorf("read outcome: %w", err)
	}
	return &o, nil
}
