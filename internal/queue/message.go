package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of asynq's TaskMessage, as it encodes them.
const (
	TypeField    protowire.Number = 1
	PayloadField protowire.Number = 2
	IDField      protowire.Number = 3
)

// Field finds a field of text or bytes in an encoded message.
func Field(msg string, want protowire.Number) (string, bool) {
	b := []byte(msg)
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", false
		}
		b = b[n:]
		if num == want && typ == protowire.BytesType {
			text, n := protowire.ConsumeBytes(b)
			return string(text), n >= 0
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return "", false
		}
		b = b[n:]
	}
	return "", false
}

// Waiting are the payloads of a batch's tasks that wait in a lane, by task ID. One whose
// message cannot be read has none.
func Waiting(ctx context.Context, rdb redis.UniversalClient, lane, batch string) (map[string][]byte, error) {
	ids, err := idsOf(ctx, rdb, lane, batch)
	if err != nil {
		return nil, err
	}
	payloads := make(map[string][]byte)
	for chunk := range slices.Chunk(slices.Concat(ids.pending, ids.scheduled, ids.retry), withdrawChunk) {
		pipe := rdb.Pipeline()
		messages := make([]*redis.StringCmd, len(chunk))
		for i, id := range chunk {
			messages[i] = pipe.HGet(ctx, TaskPrefix(lane)+id, "msg")
		}
		if _, err := pipe.Exec(ctx); err != nil && err != redis.Nil {
			return nil, fmt.Errorf("read tasks of batch %q in lane %q: %w", batch, lane, err)
		}
		for i, id := range chunk {
			payload, _ := Field(messages[i].Val(), PayloadField)
			payloads[id] = []byte(payload)
		}
	}
	return payloads, nil
}
