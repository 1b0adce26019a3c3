package queue

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/park.lua
	parkSrc    string
	parkScript = redis.NewScript(parkSrc)
)

// parked is by how many seconds a task that is set aside comes later: so many that it
// does not come, and a time that asynq's tools can still show.
const parked = 1 << 32

// Park sets a batch's tasks that wait in a lane aside: nobody runs them until Unpark. It
// returns how many there were.
func Park(ctx context.Context, rdb redis.UniversalClient, lane, batch string) (int64, error) {
	return park(ctx, rdb, lane, batch, "park")
}

// Unpark brings tasks back to where Park found them, in the order of their seqs.
func Unpark(ctx context.Context, rdb redis.UniversalClient, lane, batch string) (int64, error) {
	return park(ctx, rdb, lane, batch, "unpark")
}

func park(ctx context.Context, rdb redis.UniversalClient, lane, batch, do string) (moved int64, err error) {
	ids, err := idsOf(ctx, rdb, lane, batch)
	if err != nil {
		return 0, err
	}
	waiting := slices.Concat(reversed(ids.pending), ids.scheduled, ids.retry)
	seq := func(id string) int64 { n, _ := strconv.ParseInt(id[len(batch)+1:], 10, 64); return n }
	slices.SortStableFunc(waiting, func(a, b string) int { return cmp.Compare(seq(a), seq(b)) })
	for chunk := range slices.Chunk(waiting, withdrawChunk) {
		args := make([]any, 3, 3+len(chunk))
		args[0], args[1], args[2] = do, TaskPrefix(lane), int64(parked)
		for _, id := range chunk {
			args = append(args, id)
		}
		n, err := parkScript.Run(ctx, rdb, append([]string{Scheduled(lane), Retry(lane)}, Lists(lane)...), args...).Int64()
		moved += n
		if err != nil {
			return moved, fmt.Errorf("%s tasks of batch %q in lane %q: %w", do, batch, lane, err)
		}
	}
	return moved, nil
}
