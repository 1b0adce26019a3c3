package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Have tells for seqs from, from+1, ... from+n-1 whether they have an outcome.
func (l *Ledger) Have(ctx context.Context, name string, from int64, n int) ([]bool, error) {
	have := make([]bool, 0, n)
	for len(have) < n {
		seq := from + int64(len(have))
		count := min(int64(n-len(have)), segment-seq%segment)
		bits, err := l.haveInSegment(ctx, name, seq, count)
		if err != nil {
			return nil, fmt.Errorf("read outcomes of batch %q from %d: %w", name, seq, err)
		}
		have = append(have, bits...)
	}
	return have, nil
}

func (l *Ledger) haveInSegment(ctx context.Context, name string, seq, n int64) ([]bool, error) {
	first, last := seq%segment, seq%segment+n-1
	pipe := l.rdb.Pipeline()
	// In this order: a segment that becomes full in between shows as full.
	raw := pipe.GetRange(ctx, bitsKey(name, seq), first/8, last/8)
	full := pipe.HExists(ctx, batchKey(name), "full:"+strconv.FormatInt(seq/segment, 10))
	if _, err := pipe.Exec(ctx); err != nil && err != redis.Nil {
		return nil, err
	}
	have := make([]bool, n)
	for i := range have {
		have[i] = full.Val() || bitSet(raw.Val(), first%8+int64(i))
	}
	return have, nil
}

// page is how many seqs Snapshot reads at once.
const page = 8192

// Snapshot reads a batch's record and, at the same moment, which of seqs have an
// outcome.
func (l *Ledger) Snapshot(ctx context.Context, name string, seqs []int64) (*Info, []bool, error) {
	pipe := l.rdb.TxPipeline()
	record := pipe.HGetAll(ctx, batchKey(name))
	pages := make(map[int64]*redis.StringCmd)
	for _, seq := range seqs {
		if p := seq / page; pages[p] == nil {
			at := p * page % segment / 8
			pages[p] = pipe.GetRange(ctx, bitsKey(name, seq), at, at+page/8-1)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, nil, fmt.Errorf("read batch %q: %w", name, err)
	}
	if Phase(record.Val()["state"]) == notCreated {
		return nil, nil, fmt.Errorf("batch %q: %w", name, ErrNotFound)
	}
	info, err := parseInfo(name, record.Val())
	if err != nil {
		return nil, nil, err
	}
	have := make([]bool, len(seqs))
	for i, seq := range seqs {
		_, full := record.Val()["full:"+strconv.FormatInt(seq/segment, 10)]
		have[i] = full || bitSet(pages[seq/page].Val(), seq%page)
	}
	return info, have, nil
}

// bitSet reads a bit of a Redis string; what is past its end is 0.
func bitSet(raw string, bit int64) bool {
	return bit/8 < int64(len(raw)) && raw[bit/8]&(0x80>>(bit%8)) != 0
}

const (
	// fillChunk is how many seqs FillCancelled looks at in one go.
	fillChunk = 1 << 16
	// fillAtOnce is how many outcomes it records in one.
	fillAtOnce = 500
)

// FillCancelled records the outcome cancelled, or failed if the batch has expired, for
// every task of a batch that is given up that has none, except those that running says are still being run: their
// workers record them. It returns how many it recorded.
func (l *Ledger) FillCancelled(ctx context.Context, name string, running func(seq int64) bool) (int64, error) {
	i, err := l.Info(ctx, name)
	if err != nil {
		return 0, err
	}
	if i.Phase != GivenUp {
		return 0, fmt.Errorf("batch %q is %s, not cancelled", name, i.Phase)
	}
	var filled int64
	for from := int64(0); from < i.N; from += fillChunk {
		have, err := l.Have(ctx, name, from, int(min(fillChunk, i.N-from)))
		if err != nil {
			return filled, err
		}
		var open []*Outcome
		for k, has := range have {
			if seq := from + int64(k); !has && !running(seq) {
				open = append(open, i.LeftOpen(seq))
			}
		}
		for part := range slices.Chunk(open, fillAtOnce) {
			n, err := l.recordAll(ctx, name, part)
			filled += n
			if err != nil {
				return filled, err
			}
		}
	}
	return filled, nil
}

// LeftOpen is the outcome of a task that a batch was given up before.
func (i *Info) LeftOpen(seq int64) *Outcome {
	if i.Expired {
		return &Outcome{Seq: seq, State: Failed, Class: Expired, Error: NotRun}
	}
	return &Outcome{Seq: seq, State: Cancelled}
}
