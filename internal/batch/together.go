package batch

import (
	"context"

	"github.com/weir-tasks/weir/internal/together"
)

// span is a segment of a batch.
type span struct {
	name string
	k    int64
}

func (s span) bits() string { return bitsKey(s.name, s.k*segment) }

// beginAll is begin.lua for tasks of any batches.
func (l *Ledger) beginAll(ctx context.Context, tasks []asked) []together.Answer[admitted] {
	calls := together.NewCalls(func(of span) *together.Call { return beginCall(of, "") })
	for i, t := range tasks {
		calls.Add(t.segment(), i, 0, t.seq%segment)
	}
	answers := make([]together.Answer[admitted], len(tasks))
	for _, c := range calls.Run(ctx, l.rdb, beginScript) {
		all, err := l.admissions(c.Cmd, len(c.Places))
		for k, place := range c.Places {
			if answers[place].Err = err; err == nil {
				answers[place].Value = all[k]
			}
		}
	}
	return answers
}

// recordEntries is record.lua for outcomes of any batches.
func (l *Ledger) recordEntries(ctx context.Context, entries []entry) []together.Answer[int64] {
	calls := together.NewCalls(recordCall)
	answers := make([]together.Answer[int64], len(entries))
	for i, e := range entries {
		args, size, err := e.encode()
		if err != nil {
			answers[i].Err = err
			continue
		}
		calls.Add(e.segment(), i, size, args...)
	}
	for _, c := range calls.Run(ctx, l.rdb, recordScript) {
		c.Numbers(answers)
	}
	return answers
}
