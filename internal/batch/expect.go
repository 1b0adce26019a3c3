package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// expectKept is how long what a producer expects is good: it tells every few seconds.
const expectKept = 30 * time.Second

// Expected is how many tasks the producer of an open batch expects it to have.
type Expected struct {
	// N is about how many, or -1 where nothing tells.
	N int64
	// How says in words by what that is known, or why it is not.
	How string
}

// Expect tells others what the producer of a batch expects, for a while.
func (l *Ledger) Expect(ctx context.Context, name string, e Expected) error {
	if err := l.rdb.Set(ctx, expectKey(name), fmt.Sprintf("%d %s", e.N, e.How), expectKept).Err(); err != nil {
		return fmt.Errorf("tell what is expected of batch %q: %w", name, err)
	}
	return nil
}

// Expected is what the producers of batches expect, in their order; nil where nobody tells.
func (l *Ledger) Expected(ctx context.Context, names []string) ([]*Expected, error) {
	all := make([]*Expected, 0, len(names))
	for chunk := range slices.Chunk(names, infosAtOnce) {
		pipe := l.rdb.Pipeline()
		told := make([]*redis.StringCmd, len(chunk))
		for i, name := range chunk {
			told[i] = pipe.Get(ctx, expectKey(name))
		}
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("read what is expected of %d batches: %w", len(chunk), err)
		}
		for _, t := range told {
			count, how, ok := strings.Cut(t.Val(), " ")
			n, err := strconv.ParseInt(count, 10, 64)
			if !ok || err != nil {
				all = append(all, nil)
				continue
			}
			all = append(all, &Expected{n, how})
		}
	}
	return all, nil
}
