package story

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/attempt"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
)

// facts are what a task's place is explained by.
type facts struct {
	info *batch.Info
	lane *lane.Overview // of a task that waits in its lane
	fed  bool           // a producer feeds the batch
	now  time.Time      // on Redis' clock
}

// read reads those that matter where the task is.
func (f *facts) read(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, s *Story) (err error) {
	if f.now, err = rdb.Time(ctx).Result(); err != nil {
		return fmt.Errorf("explain a task: %w", err)
	}
	switch s.Place {
	case Unread, Missing:
		left, err := ledger.LeaseLeft(ctx, s.Batch)
		f.fed = left > 0
		return err
	case Pending:
		f.lane, err = lane.Get(ctx, rdb, s.Lane)
		if errors.Is(err, lane.ErrUnknown) {
			err = nil
		}
	}
	return err
}

// explain says why the task is where it is, and what helps.
func (f *facts) explain(s *Story) (why, do string) {
	switch s.Place {
	case Ended:
		return ended(s)
	case Unread:
		return f.unread(s)
	case Missing:
		return f.missing(s)
	case Pending:
		why, do = f.pending(s)
	case Scheduled:
		why, do = f.scheduled(s)
	case Retrying:
		why = retrying(s, f.now)
	case Active:
		why, do = active(s)
	case Unreadable:
		why = fmt.Sprintf("In its lane %v: weir has made none such, and no worker reads it. The first that meets it sets it aside, in %s.", queue.ErrTooLarge, queue.Quarantine(s.Lane))
		do = f.repair(s) + " enqueues it again from the batch's input, once it was set aside."
	default:
		why = fmt.Sprintf("asynq has it as %s, where weir puts no task of a batch: somebody has moved it there.", s.Place)
		do = f.repair(s) + " enqueues it again from the batch's input."
	}
	if stops := f.stops(s); stops != "" {
		why += " " + stops
	}
	if s.Deaths > 0 {
		why += fmt.Sprintf(" Its worker has died %s while it had the task; from the second time on it runs alone, at the third it fails, class crashed.", times(s.Deaths))
	}
	return why, do
}

// stops says what keeps any attempt of the batch from beginning.
func (f *facts) stops(s *Story) string {
	switch {
	case f.info.Expired:
		return "The batch's deadline has passed: it gets its outcome, failed, when a worker meets it."
	case f.info.Phase == batch.GivenUp:
		return "The batch is cancelled: it gets its outcome, cancelled, when a worker meets it."
	case f.info.Stopped:
		return "The batch was stopped: the same command goes on with it."
	case f.info.Paused && s.Place != Scheduled:
		return "The batch is paused: no attempt begins until producer resume " + s.Batch + "."
	}
	return ""
}

// meanings are those of the classes.
var meanings = map[batch.Class]string{
	batch.Invalid:   "its payload does not fit its type",
	batch.Rejected:  "a rule of its worker's forbids it",
	batch.Permanent: "its handler said that another attempt cannot help",
	batch.Timeout:   "its last attempt took too long",
	batch.Panic:     "its last attempt panicked; the stack is in the worker's log",
	batch.Exhausted: "its last attempt failed, and there are no more",
	batch.Crashed:   "its worker died each time it ran",
	batch.Expired:   "the batch's deadline passed first",
}

func ended(s *Story) (why, do string) {
	o := s.Outcome
	switch {
	case o == nil:
		return "It has its outcome, which was handed on to whoever reads the batch: its line is not in Redis any more, or lies further back than is searched.", ""
	case o.State == batch.OK:
		return fmt.Sprintf("It ended ok, at its %s attempt.", nth(o.Attempts)), ""
	case o.State == batch.Cancelled:
		return "The batch was cancelled before it ended.", ""
	}
	why = fmt.Sprintf("It failed for good after %s: %s.", many(o.Attempts, "attempt"), meanings[o.Class])
	return why, "When the batch is over, producer retry " + s.Batch + " runs its failed tasks again, as a new batch."
}

func (f *facts) unread(s *Story) (why, do string) {
	at := fmt.Sprintf("It has not been enqueued yet: %s of its batch's tasks have.", number(f.info.Enqueued()))
	switch {
	case f.info.Paused:
		return at + " The batch is paused, and its producer waits.", "producer resume " + s.Batch
	case !f.fed:
		return at + " No producer feeds the batch now.", "Give the batch's command again: it goes on where it was."
	case s.Seq < f.info.Upto:
		return at + " Its producer has read its record, and holds it until its lane has room.", "producer lanes shows what the lanes wait for."
	}
	return at + " Its producer reads on as others get their outcome: no more than the window are in Redis at a time.", ""
}

func (f *facts) missing(s *Story) (why, do string) {
	why = "It was enqueued, has no outcome, and is in none of its batch's lanes: somebody deleted it by hand, or Redis has lost it."
	switch {
	case f.info.Stopped:
		return "Its producer was interrupted and took it out of Redis.", "Give the batch's command again: it enqueues the task again."
	case f.info.Phase == batch.GivenUp:
		return "The batch was given up, and its last outcomes are not recorded yet.", "producer cancel " + s.Batch + " records them."
	case f.fed:
		return why + " Its producer lives; if it is one that follows, it finds the gap at the end and fills it.", ""
	}
	return why, f.repair(s) + " enqueues it again from the batch's input; so does the batch's command."
}

// repair is the command that enqueues again what is lost.
func (f *facts) repair(s *Story) string {
	return "producer repair " + s.Batch + " " + f.info.Options.Type + " FILE"
}

func (f *facts) pending(s *Story) (why, do string) {
	why = "It waits in lane " + s.Lane + "."
	o := f.lane
	if o == nil {
		return why, ""
	}
	if o.Pending > 1 {
		why = fmt.Sprintf("It waits in lane %s, where %s do; the first has waited for %s.", s.Lane, many(int(o.Pending), "task"), short(o.Oldest))
	}
	if waits := o.Waits(); waits != "" {
		why += " What the lane waits for: " + waits + "."
	}
	switch o.Needs() {
	case lane.NeedResumption:
		do = "producer lane " + s.Lane + " --resume"
	case lane.NeedWorker:
		do = "Start a worker that serves this lane and knows the type " + f.info.Options.Type + "; producer doctor tells which there are."
	case lane.NeedSlot:
		do = "Start more workers, or give them a higher --concurrency."
	}
	return why, do
}

func (f *facts) scheduled(s *Story) (why, do string) {
	if f.info.Paused {
		return "The batch is paused: what waited was set aside.", "producer resume " + s.Batch
	}
	return "It was put off" + in(s.Next, f.now) + ".", ""
}

func retrying(s *Story, now time.Time) string {
	next := "It waits for its next attempt, due" + in(s.Next, now) + "."
	switch {
	case s.Tries == 0 && s.Error != "":
		return fmt.Sprintf("It was put off, at no cost of an attempt: %s. %s", s.Error, next)
	case s.Tries == 0:
		return "It was put off, at no cost of an attempt. " + next
	}
	return fmt.Sprintf("Of at most %s it has had %d; the last failed: %s. %s", many(s.Most, "attempt"), s.Tries, s.Error, next)
}

func active(s *Story) (why, do string) {
	limit := time.Duration(s.TimeoutMS) * time.Millisecond
	running := time.Duration(s.Running * float64(time.Second))
	switch {
	case s.Worker == "":
		return "A worker has taken it; none has told of it yet: they do every 5 s. If that worker has died, others give the task back within about 12 s.", ""
	case running > limit+attempt.GraceToReturn:
		return fmt.Sprintf("Worker %s has run it for %s, though an attempt may take %s: its handler ignores that its time is over, or waits for its outcome to be recorded.", s.Worker, short(running), short(limit)),
			"If it does not end, restart that worker: the task's attempt is then made again elsewhere. Its log says which handler is stuck."
	}
	return fmt.Sprintf("Worker %s has run it for %s, at its %s attempt of at most %d; an attempt may take %s.", s.Worker, short(running), nth(s.Tries+1), s.Most, short(limit)), ""
}

// in says when a time in Unix milliseconds is.
func in(ms int64, now time.Time) string {
	d := time.UnixMilli(ms).Sub(now)
	switch {
	case ms == 0:
		return ""
	case d < time.Second:
		return " now"
	}
	return " in " + short(d)
}

func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(time.Millisecond * 100).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(int64(n)) + " " + what + "s"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func nth(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprint(n) + suffix
}

func number(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
