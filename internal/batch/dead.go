package batch

import (
	"context"
	"fmt"
	"slices"
	"strconv"
)

// DeadLetters is how many failed outcomes the batch keeps with their payload.
func (l *Ledger) DeadLetters(ctx context.Context, name string) (int64, error) {
	n, err := l.rdb.HLen(ctx, deadKey(name)).Result()
	if err != nil {
		return 0, fmt.Errorf("count dead letters of batch %q: %w", name, err)
	}
	return n, nil
}

// FailedSeqs are the seqs that have a dead letter, in order.
func (l *Ledger) FailedSeqs(ctx context.Context, name string) ([]int64, error) {
	fields, err := l.rdb.HKeys(ctx, deadKey(name)).Result()
	if err != nil {
		return nil, fmt.Errorf("list dead letters of batch %q: %w", name, err)
	}
	seqs := make([]int64, len(fields))
	for i, field := range fields {
		if seqs[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return nil, fmt.Errorf("list dead letters of batch %q: %q is no seq", name, field)
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// Failures reads the dead letters of seqs: their outcomes, each with its payload. One
// that has gone meanwhile is left out.
func (l *Ledger) Failures(ctx context.Context, name string, seqs []int64) ([]*Outcome, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	fields := make([]string, len(seqs))
	for i, seq := range seqs {
		fields[i] = strconv.FormatInt(seq, 10)
	}
	lines, err := l.rdb.HMGet(ctx, deadKey(name), fields...).Result()
	if err != nil {
		return nil, fmt.Errorf("read dead letters of batch %q: %w", name, err)
	}
	var all []*Outcome
	for i, line := range lines {
		text, ok := line.(string)
		if !ok {
			continue
		}
		o, err := ParseOutcome([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("dead letter %d of batch %q: %w", seqs[i], name, err)
		}
		all = append(all, o)
	}
	return all, nil
}
