package story

import (
	"fmt"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/report"
)

// places are a task's places in words.
var places = map[Place]string{
	Unread: "not enqueued yet", Missing: "missing", Pending: "waits in its lane",
	Scheduled: "is for later", Retrying: "waits for its next attempt", Active: "is with a worker", Unreadable: "cannot be read",
}

func (s *Story) state() string {
	if s.Outcome != nil {
		return string(s.Outcome.State)
	}
	if words := places[s.Place]; words != "" {
		return words
	}
	return string(s.Place)
}

const (
	textMost    = 2000 // characters of an error or of words
	payloadMost = 500  // of a payload
)

// Lines are the story for people: what comes from tasks is on one line each, without what a
// terminal would obey.
func (s *Story) Lines() []string {
	all := []string{fmt.Sprintf("task %d of batch %s: %s", s.Seq, s.Batch, s.state())}
	line := func(what, format string, args ...any) {
		all = append(all, fmt.Sprintf("  %-9s %s", what, report.Clean(fmt.Sprintf(format, args...), textMost)))
	}
	line("why", "%s", s.Why)
	if s.Do != "" {
		line("do", "%s", s.Do)
	}
	if s.Lane != "" {
		line("lane", "%s", s.Lane)
	}
	if s.Enqueued > 0 {
		line("enqueued", "%s", at(s.Enqueued))
	}
	for _, t := range s.Attempts {
		class := " (" + string(t.Class) + ")"
		if t.Class == batch.Exhausted { // of a last one
			class = ""
		}
		line("attempt", "%d, %s on %s, failed after %.4g ms%s: %s", t.Attempt, at(t.At), t.Worker, t.MS, class, t.Error)
	}
	if o := s.Outcome; o != nil {
		when := ""
		if s.Recorded > 0 {
			when = at(s.Recorded) + ", "
		}
		line("outcome", "%s%s after %s, the last of %.4g ms, by %s", when, o.State, many(o.Attempts, "attempt"), o.MS, o.Worker)
		if o.Error != "" {
			line("error", "%s: %s", o.Class, o.Error)
		}
		if len(o.Result) > 0 {
			line("result", "%s", report.Clean(string(o.Result), payloadMost))
		}
	} else if s.Next > 0 && s.Place == Retrying {
		line("next", "%s", at(s.Next))
	}
	if len(s.Payload) > 0 {
		line("payload", "%s", report.Clean(string(s.Payload), payloadMost))
	}
	return all
}

// at is a time as people of this host read it.
func at(ms int64) string { return time.UnixMilli(ms).Format(time.DateTime) }
