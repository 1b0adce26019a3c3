package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Find looks for a task in lanes. The message is nil where it is in none of them, and
// empty where it cannot be read.
func Find(ctx context.Context, rdb redis.UniversalClient, lanes []string, id string) (lane string, m *Message, err error) {
	for chunk := range slices.Chunk(lanes, 500) {
		pipe := rdb.Pipeline()
		found := make([]*redis.StringCmd, len(chunk))
		for i, lane := range chunk {
			found[i] = pipe.HGet(ctx, TaskPrefix(lane)+id, "msg")
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, lane := range chunk {
			switch err := found[i].Err(); err {
			case redis.Nil:
			case nil:
				m, err := Decode(found[i].Val())
				if err != nil {
					m = new(Message)
				}
				return lane, m, nil
			default:
				return "", nil, fmt.Errorf("find task %s: %w", id, err)
			}
		}
	}
	return "", nil, nil
}
