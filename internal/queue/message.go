package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"
)

// payloadField is the payload's number in asynq's TaskMessage.
const payloadField protowire.Number = 2

// MaxMessage is the largest message of a task that weir reads, in bytes: far more than a
// payload may have, so that one that was once allowed to be large has its outcome. A larger one
// is of no type, and is set aside without being read.
const MaxMessage = 16 << 20

// ErrTooLarge says that a message is larger than MaxMessage.
var ErrTooLarge = fmt.Errorf("its message is larger than %d bytes", MaxMessage)

// Message is a task as asynq encodes it, as far as weir looks into it.
type Message struct {
	Type, ID, Queue string
	Payload         []byte
	Retried         int
	Headers         map[string]string
}

// errMessage says that asynq could not read a message either.
var errMessage = errors.New("its message cannot be decoded")

// Decode reads an encoded message. It refuses what asynq would: bytes that are no
// protobuf, and text that is not UTF-8.
func Decode(msg string) (*Message, error) {
	m := new(Message)
	err := Fields([]byte(msg), func(num protowire.Number, text []byte, n uint64) error {
		switch num {
		case payloadField:
			m.Payload = text
			return nil
		case 6:
			m.Retried = int(n)
			return nil
		case 15:
			return m.addHeader(text)
		case 1, 3, 4, 7, 10, 14: // the other fields of text
			if !utf8.Valid(text) {
				return errMessage
			}
		}
		switch num {
		case 1:
			m.Type = string(text)
		case 3:
			m.ID = string(text)
		case 4:
			m.Queue = string(text)
		}
		return nil
	})
	if err == nil && m.ID == "" {
		err = errMessage
	}
	return m, err
}

func (m *Message) addHeader(entry []byte) error {
	var kv [3]string
	err := Fields(entry, func(num protowire.Number, text []byte, _ uint64) error {
		if !utf8.Valid(text) {
			return errMessage
		}
		if num < 3 {
			kv[num] = string(text)
		}
		return nil
	})
	if m.Headers == nil {
		m.Headers = make(map[string]string)
	}
	m.Headers[kv[1]] = kv[2]
	return err
}

// Fields calls each for the fields of an encoded message that are bytes or numbers. An
// error is each's first, or says that it is no message.
func Fields(b []byte, each func(num protowire.Number, text []byte, n uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMessage
		}
		b = b[n:]
		var text []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errMessage
		}
		b = b[n:]
		if typ == protowire.BytesType || typ == protowire.VarintType {
			if err := each(num, text, number); err != nil {
				return err
			}
		}
	}
	return nil
}

// Messages are the encoded messages of tasks, each with the error of reading it;
// redis.Nil is one that is gone, ErrTooLarge one that is not read.
func Messages(ctx context.Context, rdb redis.UniversalClient, lane string, ids []string) []*redis.StringCmd {
	pipe := rdb.Pipeline()
	sizes := make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		sizes[i] = pipe.HStrLen(ctx, TaskPrefix(lane)+id, "msg")
	}
	_, _ = pipe.Exec(ctx) // each command has its own error, here and below
	messages := make([]*redis.StringCmd, len(ids))
	for i, id := range ids {
		if sizes[i].Val() > MaxMessage {
			messages[i] = redis.NewStringCmd(ctx)
			messages[i].SetErr(ErrTooLarge)
			continue
		}
		messages[i] = pipe.HGet(ctx, TaskPrefix(lane)+id, "msg") // fails for what is no hash
	}
	_, _ = pipe.Exec(ctx)
	return messages
}

// Decoded are the messages of a lane's tasks, by ID. Of one that is gone or cannot be read
// it is empty.
func Decoded(ctx context.Context, rdb redis.UniversalClient, lane string, ids []string) (map[string]*Message, error) {
	decoded := make(map[string]*Message)
	for chunk := range slices.Chunk(ids, withdrawChunk) {
		messages := Messages(ctx, rdb, lane, chunk)
		for i, id := range chunk {
			if err := messages[i].Err(); err != nil && err != redis.Nil && err != ErrTooLarge {
				return nil, fmt.Errorf("read tasks of lane %q: %w", lane, err)
			}
			m, err := Decode(messages[i].Val())
			if err != nil {
				m = new(Message)
			}
			decoded[id] = m
		}
	}
	return decoded, nil
}
