package invariant

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Event is one line of the journal: what was done to the system, and what it looked
// like at some moments. Which fields count depends on Kind.
type Event struct {
	At   int64 `json:"at"` // Unix nanoseconds
	Kind Kind  `json:"kind"`

	// Process is a role: "worker-1", "producer-0", "follower-0", "redis".
	Process string `json:"process,omitempty"`
	PID     int    `json:"pid,omitempty"`

	Fault    string `json:"fault,omitempty"`    // Fault: "kill", "stop", "cut", ...
	Until    int64  `json:"until,omitempty"`    // Fault: when it was over
	InFlight int64  `json:"inflight,omitempty"` // Fault: tasks active at that moment that it may have hit

	Limit int `json:"limit,omitempty"` // Started, of a worker: handlers at once

	Code   int    `json:"code,omitempty"`   // Exited: its status; -1 by a signal
	Signal string `json:"signal,omitempty"` // Exited: the signal that ended it, by name
	Sent   bool   `json:"sent,omitempty"`   // Exited: the signal was ours
	Stderr string `json:"stderr,omitempty"` // Exited: the file with its stderr

	Batch   string `json:"batch,omitempty"`   // Sampled
	Created string `json:"created,omitempty"` // Sampled: the batch's generation
	Next    int64  `json:"next,omitempty"`    // Sampled: the checkpoint
	Ahead   int64  `json:"ahead,omitempty"`   // Sampled: seqs below it that are nowhere

	File string `json:"file,omitempty"` // Prefix: an outcome file
	Size int64  `json:"size,omitempty"` // Prefix: its whole lines at that moment, in bytes
	Hash string `json:"hash,omitempty"` // Prefix: their SHA-256

	Memory int64 `json:"memory,omitempty"` // Baseline: used_memory of the empty Redis
}

// Kind is what an Event tells.
type Kind string

// The kinds of events.
const (
	Started  Kind = "started"
	Exited   Kind = "exited"
	Fault    Kind = "fault"
	Answers  Kind = "answers" // Redis answers again
	Healed   Kind = "healed"  // no fault any more
	Sampled  Kind = "sampled"
	Prefix   Kind = "prefix"
	Baseline Kind = "baseline"
)

// Journal writes events to a file, one line each. It is safe for concurrent use.
type Journal struct {
	mu   sync.Mutex
	file *os.File
	err  error
}

// NewJournal makes the file.
func NewJournal(name string) (*Journal, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("make the journal: %w", err)
	}
	return &Journal{file: f}, nil
}

// Note writes an event; without a time it is now.
func (j *Journal) Note(e Event) {
	if e.At == 0 {
		e.At = time.Now().UnixNano()
	}
	line, err := json.Marshal(e)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if j.err == nil {
		j.err = err
	}
}

// Close returns the first error of any Note.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.file.Close(); j.err == nil {
		j.err = err
	}
	return j.err
}

func readJournal(name string) ([]Event, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	defer f.Close()
	var all []Event
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("read the journal: line %d: %w", len(all)+1, err)
		}
		all = append(all, e)
	}
	return all, lines.Err()
}
