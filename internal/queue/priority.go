package queue

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/forward.lua
	forwardSrc string
	// ForwardScript is asynq's forwarding of due tasks for all lists of a lane; its
	// arguments are asynq's.
	ForwardScript = redis.NewScript(forwardSrc)
)

// Priority says in which of its lane's lists a task waits. Normal ones wait in asynq's
// own list, as those of any other asynq client do. The record of any other task names its
// priority, so that whatever puts it back into its lane finds its list.
type Priority int

// The priorities of a task.
const (
	Normal Priority = iota
	High
	Low
)

// Priorities are all of them.
var Priorities = [...]Priority{Normal, High, Low}

// kinds is what there is to know of each: its name, the key of its list, and
// which share of a lane it has while others have work too.
var kinds = [len(Priorities)]struct {
	name  string
	list  func(lane string) string
	share int64
}{
	Normal: {"normal", Pending, 3},
	High:   {"high", func(lane string) string { return "weir:{" + lane + "}:pending:high" }, 6},
	Low:    {"low", func(lane string) string { return "weir:{" + lane + "}:pending:low" }, 1},
}

// List is the list of IDs of this priority that wait to be run; the next one is at its tail.
func (p Priority) List(lane string) string { return kinds[p].list(lane) }

// Share is how many tasks of this priority a lane gives beside those of others.
func (p Priority) Share() int64 { return kinds[p].share }

// String is how people write it.
func (p Priority) String() string { return kinds[p].name }

// Lists are all lists of IDs that wait to be run, in the order of Priorities: so scripts
// get them, behind their other keys.
func Lists(lane string) []string {
	keys := make([]string, len(Priorities))
	for i, p := range Priorities {
		keys[i] = p.List(lane)
	}
	return keys
}

// ParsePriority reads what String writes.
func ParsePriority(s string) (Priority, error) {
	for _, p := range Priorities {
		if s == p.String() {
			return p, nil
		}
	}
	return Normal, fmt.Errorf("priority %q: must be high, normal or low", s)
}

// MarshalText is String.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePriority.
func (p *Priority) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePriority(string(text))
	return err
}

// notice is what is said on WakeChannel when queues got work of a priority, each on a line:
// of normal ones the queues' names alone.
func (p Priority) notice(queues ...string) string {
	text := strings.Join(queues, "\n")
	if p == Normal {
		return text
	}
	return text + ":" + p.String()
}

// ParseNotice reads what Wake and an enqueue have said.
func ParseNotice(text string) (queues []string, p Priority, err error) {
	queues = strings.Split(text, "\n")
	last := &queues[len(queues)-1]
	at := strings.LastIndexByte(*last, ':') // a shard's name has one, too, before its number
	if at < 0 || Lane(*last) != *last {
		return queues, Normal, nil
	}
	p, err = ParsePriority((*last)[at+1:])
	*last = (*last)[:at]
	return queues, p, err
}
