package batch

import (
	"context"
	"fmt"
)

const (
	// MaxCrashes is how many deaths of its worker a task may see, without an attempt alone
	// in between that its worker outlives: at this one it has failed.
	MaxCrashes = 3

	// aloneFrom is from which death on a task runs alone. Not the first: whoever kills a
	// worker from outside kills all that ran in it, once, and these are to run again at
	// once and side by side. So none fails but for a death of its worker while it ran
	// alone, whatever the first two were.
	aloneFrom = MaxCrashes - 1
)

// CountCrash notes that a task was active when its worker died, and tells how often
// that has been; 0 for a task that has its outcome. lease is the end of the task's lease
// as Redis has it: a death that several report counts once. ErrNotFound if there is no
// such batch.
//
// A task that was to run alone, and had not begun, is not blamed again.
func (l *Ledger) CountCrash(ctx context.Context, name string, seq int64, lease string) (int, error) {
	n, err := crashScript.Run(ctx, l.rdb, []string{batchKey(name), bitsKey(name, seq), suspectsKey(name)},
		seq, seq%segment, seq/segment, lease, aloneFrom).Int()
	if err != nil {
		return 0, fmt.Errorf("count a crash of task %s: %w", TaskID(name, seq), err)
	}
	if n < 0 {
		return 0, fmt.Errorf("count a crash of task %s: %w", TaskID(name, seq), ErrNotFound)
	}
	return n, nil
}

// Rest says that an attempt which ran alone has ended without an outcome, and that its
// worker lives: the task is no suspect any more.
func (l *Ledger) Rest(ctx context.Context, name string, seq int64) error {
	if err := restScript.Run(ctx, l.rdb, []string{suspectsKey(name)}, seq).Err(); err != nil {
		return fmt.Errorf("end an attempt of task %s: %w", TaskID(name, seq), err)
	}
	return nil
}
