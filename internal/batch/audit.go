package batch

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Audit counts the tasks of a batch that have their outcome, by their bits, and how many
// outcomes the batch has counted: at one moment, in a time that grows with the segments
// that are not full. ErrNotFound if there is no such batch.
func (l *Ledger) Audit(ctx context.Context, name string) (bits, counted int64, err error) {
	fail := func(err error) (int64, int64, error) {
		return 0, 0, fmt.Errorf("audit batch %q: %w", name, err)
	}
	before, err := l.rdb.HKeys(ctx, batchKey(name)).Result()
	if err != nil {
		return fail(err)
	}
	if len(before) == 0 {
		return fail(ErrNotFound)
	}
	pipe := l.rdb.TxPipeline()
	record := pipe.HGetAll(ctx, batchKey(name))
	open := make(map[string]*redis.IntCmd) // by segment
	for _, field := range before {
		if k, ok := strings.CutPrefix(field, "set:"); ok {
			open[k] = pipe.BitCount(ctx, prefix(name)+"bits:"+k, nil)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fail(err)
	}
	h := record.Val()
	for field, value := range h {
		switch what, k, _ := strings.Cut(field, ":"); {
		case what == "full":
			bits += segment
		case what == "set" && open[k] != nil:
			bits += open[k].Val()
		case what == "set": // begun since its fields were listed
			n, _ := strconv.ParseInt(value, 10, 64)
			bits += n
		case field == "ok" || field == "failed" || field == "cancelled":
			n, _ := strconv.ParseInt(value, 10, 64)
			counted += n
		}
	}
	return bits, counted, nil
}
