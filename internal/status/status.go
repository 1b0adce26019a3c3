// Package status counts a batch's tasks exactly, while it runs: each task is in
// one place, and the places add up to what was read.
//
//	read = ok + failed + cancelled + pending + scheduled + retry + active + missing
//
// Missing is 0 unless somebody took a task out of Redis by hand, or the producer
// withdrew it when it was interrupted.
package status

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// Status is a batch at one moment.
type Status struct {
	*batch.Info
	queue.Tally
	// SetAside is how many entries are in the quarantines of the batch's lanes, of
	// whatever batch they were: those of this one are missing.
	SetAside int64

	read int64
}

// Read is how many tasks have been enqueued, or have an outcome.
func (s *Status) Read() int64 { return s.read }

// Missing is how many tasks have neither an outcome nor a place in Redis.
func (s *Status) Missing() int64 { return s.read - s.Outcomes() - s.Sum() }

// Read reads how a batch stands. batch.ErrNotFound if there is none; a
// *batch.UnreadableError where a key of it, or of one of its lanes, is broken.
func Read(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) (*Status, error) {
	s, err := read(ctx, rdb, ledger, name)
	return s, batch.Unreadable(name, err)
}

// Ledger and lanes lie in different hash slots, so no one read sees both. In this
// order nothing is counted twice or left out: the checkpoint; then each lane, at
// one moment; then the checkpoint, counts and bits of the ledger, at one moment. A task
// that the first checkpoint counts and that has no outcome at the end was in its lane in
// between. One that only the last counts was enqueued meanwhile: if it was in no lane
// yet, it is pending. One that has its outcome and that not even the last checkpoint
// counts has been read too.
func read(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) (*Status, error) {
	before, err := ledger.Info(ctx, name)
	if err != nil {
		return nil, err
	}
	lanes, err := ledger.Lanes(ctx, name)
	if err != nil {
		return nil, err
	}
	aside, err := queue.CountSetAside(ctx, rdb, lanes)
	if err != nil {
		return nil, err
	}
	in, err := queue.Places(ctx, rdb, lanes, name)
	if err != nil {
		return nil, err
	}
	seqs := slices.Collect(maps.Keys(in))
	info, have, err := ledger.Snapshot(ctx, name, seqs)
	if err != nil {
		return nil, fmt.Errorf("status of batch %q: %w", name, err)
	}
	s := &Status{Info: info, SetAside: aside, read: info.Enqueued()}
	for i, seq := range seqs {
		if !have[i] && seq < info.Upto {
			s.Add(in[seq])
		}
	}
	late := min(s.Missing(), info.Enqueued()-before.Enqueued())
	s.Pending += max(late, 0)
	s.read = max(s.read, s.Outcomes()+s.Sum())
	return s, nil
}
