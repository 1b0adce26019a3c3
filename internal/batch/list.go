package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Names are the names of all batches, the newest first. Some may have been removed.
func (l *Ledger) Names(ctx context.Context) ([]string, error) {
	names, err := l.rdb.ZRevRange(ctx, indexKey, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	return names, nil
}

// infosAtOnce is how many records are read in one round trip.
const infosAtOnce = 500

// Infos is Info for many, in their order; nil for one that is not there. One that cannot be
// read, which Info has an error for, is there all the same: it hides no other.
func (l *Ledger) Infos(ctx context.Context, names []string) ([]*Info, error) {
	all := make([]*Info, 0, len(names))
	for chunk := range slices.Chunk(names, infosAtOnce) {
		pipe := l.rdb.Pipeline()
		records := make([]*redis.MapStringStringCmd, len(chunk))
		for i, name := range chunk {
			records[i] = pipe.HGetAll(ctx, batchKey(name))
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, name := range chunk {
			h, err := records[i].Result()
			if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
				return nil, fmt.Errorf("read %d batches: %w", len(chunk), err)
			}
			if err == nil && Phase(h["state"]) == notCreated {
				all = append(all, nil)
				continue
			}
			var info *Info
			if err == nil {
				info, err = parseInfo(name, h)
			}
			if err != nil {
				info = &Info{Name: name, N: -1, Unreadable: Unreadable(name, err)}
			}
			all = append(all, info)
		}
	}
	return all, nil
}

// List reads all batches, the newest first. On the way, names whose batch has been
// removed are dropped from the index, and a complete batch whose last outcome was
// recorded by a worker that then died gets its expiry.
func (l *Ledger) List(ctx context.Context) ([]*Info, error) {
	names, err := l.Names(ctx)
	if err != nil {
		return nil, err
	}
	infos, err := l.Infos(ctx, names)
	if err != nil {
		return nil, err
	}
	all := infos[:0]
	for n, i := range infos {
		if i == nil {
			l.rdb.ZRem(ctx, indexKey, names[n])
			continue
		}
		if i.Complete() {
			_ = l.expire(ctx, i)
		}
		all = append(all, i)
	}
	return all, nil
}

// Latest returns up to count of the last entries of a batch's stream that are after a
// place in it, the newest first.
func (l *Ledger) Latest(ctx context.Context, name, after string, count int64) ([]Entry, error) {
	messages, err := l.rdb.XRevRangeN(ctx, outKey(name), "+", "("+after, count).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read outcomes of batch %q: %w", name, err)
	}
	return entries(messages), nil
}

// Before is Latest for the entries before a place.
func (l *Ledger) Before(ctx context.Context, name, place string, count int64) ([]Entry, error) {
	messages, err := l.rdb.XRevRangeN(ctx, outKey(name), "("+place, "-", count).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read outcomes of batch %q: %w", name, err)
	}
	return entries(messages), nil
}
