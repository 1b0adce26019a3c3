package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
)

const (
	// triesOfTask and triesTasks bound what is remembered of failed attempts: the last few of
	// a task, and of so many of a batch's tasks, the last that joined them.
	triesOfTask = 5
	triesTasks  = 2_000
	// triesText is as much of an attempt's error as is remembered, in bytes.
	triesText = 300
)

// Try is an attempt that failed and that another was to follow.
type Try struct {
	// Attempt counts from 1. Two of the same number ran at the same time, or the first was
	// not known to have ended.
	Attempt int    `json:"attempt"`
	Worker  string `json:"worker"`
	Class   Class  `json:"class"` // what would have been the outcome's
	Error   string `json:"error"`
	// MS is how long its handler ran, in milliseconds.
	MS float64 `json:"ms"`
	// At is when it was noted: Unix milliseconds, on Redis' clock.
	At int64 `json:"at_ms,omitempty"`
}

// Note remembers an attempt of a task, for people. Nothing is counted by it, so it may be
// left out where Redis does not answer.
func (l *Ledger) Note(ctx context.Context, name string, seq int64, t Try) error {
	t.At = 0
	if len(t.Error) > triesText {
		cut := triesText
		for !utf8.RuneStart(t.Error[cut]) {
			cut--
		}
		t.Error = t.Error[:cut] + "..."
	}
	line, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("note an attempt of task %s: %w", TaskID(name, seq), err)
	}
	keys := []string{batchKey(name), bitsKey(name, seq), triesKey(name)}
	if err := noteScript.Run(ctx, l.rdb, keys, seq, seq%segment, seq/segment, line, triesOfTask, l.triesTasks).Err(); err != nil {
		return fmt.Errorf("note an attempt of task %s: %w", TaskID(name, seq), err)
	}
	return nil
}

// Tries are the last failed attempts of a task, as far as they are remembered, the oldest
// first.
func (l *Ledger) Tries(ctx context.Context, name string, seq int64) ([]Try, error) {
	text, err := l.rdb.HGet(ctx, triesKey(name), strconv.FormatInt(seq, 10)).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the attempts of task %s: %w", TaskID(name, seq), err)
	}
	var all []Try
	for line := range strings.Lines(text) {
		ms, tried, _ := strings.Cut(line, " ")
		at, err := strconv.ParseInt(ms, 10, 64)
		var t Try
		if err == nil {
			err = json.Unmarshal([]byte(tried), &t)
		}
		if err != nil {
			return nil, fmt.Errorf("read the attempts of task %s: %w", TaskID(name, seq), err)
		}
		t.At = at
		all = append(all, t)
	}
	return all, nil
}

// Deaths is how often a task's worker has died while it was active, without an attempt
// alone since that its worker outlived.
func (l *Ledger) Deaths(ctx context.Context, name string, seq int64) (int, error) {
	text, err := l.rdb.HGet(ctx, suspectsKey(name), strconv.FormatInt(seq, 10)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("read the deaths of task %s's workers: %w", TaskID(name, seq), err)
	}
	count, _, _ := strings.Cut(text, " ")
	n, _ := strconv.Atoi(count) // "" is none
	return n, nil
}
