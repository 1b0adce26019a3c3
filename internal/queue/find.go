package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Find looks for a task in lanes. The message is nil where it is in none of them, and
// empty where it cannot be read. One larger than MaxMessage is not read: there is its lane,
// and the error is ErrTooLarge.
func Find(ctx context.Context, rdb redis.UniversalClient, lanes []string, id string) (lane string, m *Message, err error) {
	for chunk := range slices.Chunk(lanes, 500) {
		pipe := rdb.Pipeline()
		sizes, there := make([]*redis.IntCmd, len(chunk)), make([]*redis.BoolCmd, len(chunk))
		for i, lane := range chunk {
			sizes[i] = pipe.HStrLen(ctx, TaskPrefix(lane)+id, "msg")
			there[i] = pipe.HExists(ctx, TaskPrefix(lane)+id, "msg")
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, lane := range chunk {
			size, err := sizes[i].Result()
			if err == nil {
				err = there[i].Err()
			}
			switch {
			case err == nil && !there[i].Val():
				continue
			case err == nil && size > MaxMessage:
				return lane, nil, ErrTooLarge
			}
			var text string
			if err == nil {
				text, err = rdb.HGet(ctx, TaskPrefix(lane)+id, "msg").Result()
			}
			if err == redis.Nil { // it has ended meanwhile
				continue
			}
			if err != nil {
				return "", nil, fmt.Errorf("find task %s: %w", id, err)
			}
			m, err := Decode(text)
			if err != nil {
				m = new(Message)
			}
			return lane, m, nil
		}
	}
	return "", nil, nil
}
