package batch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Entry is one entry of a batch's outcome stream.
type Entry struct {
	// ID is its place in the stream.
	ID string
	// Line is the outcome as JSON, without a newline. Empty in the last entry.
	Line []byte
	// Wait is the time from enqueue to the first start; negative if unknown.
	Wait time.Duration
	// End is set in the last entry: every task has its outcome.
	End bool
}

// Start is the place before the first entry of a stream.
const Start = "0-0"

// Read returns up to count entries after a place in the stream, waiting up to
// block for the first. None in time is no error.
func (l *Ledger) Read(ctx context.Context, name, after string, count int64, block time.Duration) ([]Entry, error) {
	if block < time.Millisecond {
		block = -1 // to Redis 0 is for ever
	}
	streams, err := l.rdb.XRead(ctx, &redis.XReadArgs{
		Streams: []string{outKey(name), after}, Count: count, Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read outcomes of batch %q: %w", name, err)
	}
	var all []Entry
	for _, s := range streams {
		all = append(all, entries(s.Messages)...)
	}
	return all, nil
}

// entries are the messages of a stream.
func entries(messages []redis.XMessage) []Entry {
	all := make([]Entry, len(messages))
	for i, m := range messages {
		e := Entry{ID: m.ID, Wait: -time.Microsecond}
		_, e.End = m.Values["end"]
		if line, ok := m.Values["o"].(string); ok {
			e.Line = []byte(line)
		}
		if w, ok := m.Values["w"].(string); ok {
			if us, err := strconv.ParseInt(w, 10, 64); err == nil {
				e.Wait = time.Duration(us) * time.Microsecond
			}
		}
		all[i] = e
	}
	return all
}

// Unread is how many outcomes are in the stream: those that no follower has handed on for
// good.
func (l *Ledger) Unread(ctx context.Context, name string) (int64, error) {
	n, err := l.rdb.XLen(ctx, outKey(name)).Result()
	if err != nil {
		return 0, fmt.Errorf("count the unread outcomes of batch %q: %w", name, err)
	}
	return n, nil
}

// Take makes who the reader of a batch with MaxUnread: of its outcomes, which leave Redis
// as they are read, there is one. An error names the one that is.
func (l *Ledger) Take(ctx context.Context, name, who string) error {
	reader, err := takeScript.Run(ctx, l.rdb, []string{batchKey(name)}, who).Text()
	switch {
	case errors.Is(err, redis.Nil):
		return fmt.Errorf("read batch %q: %w", name, ErrNotFound)
	case err != nil:
		return fmt.Errorf("become the reader of batch %q: %w", name, err)
	case reader != who:
		return &ReadError{name, reader}
	}
	return nil
}

// ReadError says that the outcomes of a batch with MaxUnread are read by somebody else.
type ReadError struct{ Name, Reader string }

func (e *ReadError) Error() string {
	return fmt.Sprintf("the outcomes of batch %q go to %s, and leave Redis then (--max-unread): nobody else can read them", e.Name, e.Reader)
}

// Trim forgets all entries before keep, of which, with those of earlier trims,
// given outcomes have been handed to the reader for good.
func (l *Ledger) Trim(ctx context.Context, name, keep string, given int64) error {
	err := trimScript.Run(ctx, l.rdb, []string{batchKey(name), outKey(name)}, keep, given).Err()
	if err != nil {
		return fmt.Errorf("trim outcomes of batch %q: %w", name, err)
	}
	return nil
}
