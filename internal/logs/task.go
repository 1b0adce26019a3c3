package logs

import (
	"log/slog"
	"strconv"
	"strings"
)

// Keys of what a line is about.
const (
	Batch   = "batch"
	Seq     = "seq"
	Lane    = "lane"
	Attempt = "attempt"
	TraceID = "trace_id"
	Task    = "task"     // of a plain asynq task, in place of batch and seq
	Err     = "err"      // what went wrong
	Folded  = "repeated" // how many lines that say the same this one stands for, besides itself
)

// ID are the attributes that name a task by its asynq task ID: batch and seq, or, of what
// is no task of a batch, the ID. Its lane comes with it.
func ID(id, lane string) slog.Attr {
	batch, num, found := strings.Cut(id, ":")
	seq, err := strconv.ParseInt(num, 10, 64)
	if !found || err != nil {
		return group(slog.String(Task, id), slog.String(Lane, lane))
	}
	return group(slog.String(Batch, batch), slog.Int64(Seq, seq), slog.String(Lane, lane))
}

// group are several attributes as one argument of a logger: a group without a name is
// written as what is in it.
func group(attrs ...slog.Attr) slog.Attr { return slog.Attr{Value: slog.GroupValue(attrs...)} }

// Of are the attributes of one attempt; those that are zero are left out.
func Of(id, lane string, attempt int, trace string) slog.Attr {
	attrs := []slog.Attr{ID(id, lane)}
	if attempt > 0 {
		attrs = append(attrs, slog.Int(Attempt, attempt))
	}
	if trace != "" {
		attrs = append(attrs, slog.String(TraceID, trace))
	}
	return group(attrs...)
}
