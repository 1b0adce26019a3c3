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
}

// Missing is how many tasks have neither an outcome nor a place in Redis.
func (s *Status) Missing() int64 { return s.Next - s.Outcomes() - s.Sum() }

// Read reads how a batch stands. batch.ErrNotFound if there is none.
//
// Ledger and lanes lie in different hash slots, so no one read sees both. In this
// order nothing is counted twice or left out: the checkpoint; then each lane, at
// one moment; then counts and bits of the ledger, at one moment. A task below the
// first checkpoint that has no outcome at the end was in its lane in between. One
// between the first checkpoint and the last was enqueued meanwhile: it is pending,
// or has its outcome.
func Read(ctx context.Context, rdb redis.UniversalClient, ledger *batch.Ledger, name string) (*Status, error) {
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
	var seqs []int64
	for seq := range in {
		if seq < before.Next {
			seqs = append(seqs, seq)
		}
	}
	for seq := before.Next; seq < before.Next+newest; seq++ {
		seqs = append(seqs, seq)
	}
	info, have, err := ledger.Snapshot(ctx, name, seqs)
	if err != nil {
		return nil, fmt.Errorf("status of batch %q: %w", name, err)
	}
	s := &Status{Info: info, SetAside: aside}
	for i, seq := range seqs {
		switch {
		case have[i] || seq >= info.Next:
		case seq >= before.Next:
			s.Pending++
		default:
			s.Add(in[seq])
		}
	}
	if more := info.Next - before.Next - newest; more > 0 {
		s.Pending += more // a fast producer and a slow Redis; some of these may have outcomes
	}
	return s, nil
}

// newest is how many seqs past the first checkpoint are looked at: more than a
// producer enqueues during a Read.
const newest = 4096
