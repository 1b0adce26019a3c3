package work

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/gate"
	"github.com/weir-tasks/weir/internal/queue"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// serversKey is asynq's sorted set of its servers' keys, by when they expire: on the
	// server's clock, in whole seconds.
	serversKey = "asynq:servers"
	// heartbeatKept is how long asynq keeps what a server tells of itself every 5 s.
	heartbeatKept = 10 * time.Second
)

// Seen is a worker, or another server of asynq, as it told Redis at its last heartbeat.
type Seen struct {
	Host  string
	PID   int
	Ours  bool // weir's
	Slots int
	// Stopping says that it takes nothing new.
	Stopping bool
	Started  time.Time // on its own clock, as all its times
	// Ago is how long its last heartbeat is past.
	Ago time.Duration
	// Skew is by how much its clock is ahead of Redis', to half a second.
	Skew  time.Duration
	Tasks []Running // longest running first
}

// Name is as it calls itself in outcomes, unless it was given another.
func (s *Seen) Name() string { return s.Host + ":" + strconv.Itoa(s.PID) }

// Running is a task that a worker runs.
type Running struct {
	ID, Type, Lane string
	For            time.Duration // as of the heartbeat
}

// Look lists the workers that live: by Redis' clock, whatever their own and this host's
// say, which asynq's own list goes by.
func Look(ctx context.Context, rdb redis.UniversalClient) ([]*Seen, error) {
	ends, err := rdb.ZRangeWithScores(ctx, serversKey, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	pipe := rdb.Pipeline()
	now := pipe.Time(ctx)
	type record struct {
		info  *redis.StringCmd
		left  *redis.DurationCmd
		tasks *redis.StringSliceCmd
	}
	records := make([]record, len(ends))
	for i, z := range ends {
		key, _ := z.Member.(string)
		records[i] = record{pipe.Get(ctx, key), pipe.PTTL(ctx, key), pipe.HVals(ctx, strings.Replace(key, "servers", "workers", 1))}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := now.Err(); err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	var all []*Seen
	for i, r := range records {
		if errors.Is(r.info.Err(), redis.Nil) {
			continue // it has died since, and nobody has taken it from the set
		}
		if err := r.info.Err(); err != nil {
			return nil, fmt.Errorf("look at a worker: %w", err)
		}
		s, ok := parseServer([]byte(r.info.Val()))
		if !ok {
			continue
		}
		left := r.left.Val()
		s.Ago = max(heartbeatKept-left, 0)
		s.Skew = time.Unix(int64(ends[i].Score), 0).Sub(now.Val().Add(left)) + time.Second/2
		for _, text := range r.tasks.Val() {
			if t, began, ok := parseRunning([]byte(text)); ok {
				t.For = max(now.Val().Add(settled(s.Skew)-s.Ago).Sub(began), 0)
				s.Tasks = append(s.Tasks, t)
			}
		}
		slices.SortFunc(s.Tasks, func(a, b Running) int { return int(b.For - a.For) })
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Seen) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// settled is a skew where it is more than how finely it is known.
func settled(skew time.Duration) time.Duration {
	if skew.Abs() <= time.Second {
		return 0
	}
	return skew
}

// parseServer reads asynq's ServerInfo.
func parseServer(b []byte) (*Seen, bool) {
	s := new(Seen)
	ok := protoFields(b, func(num protowire.Number, text []byte, n uint64) {
		switch num {
		case 1:
			s.Host = string(text)
		case 2:
			s.PID = int(n)
		case 4:
			s.Slots = int(n)
		case 5:
			protoFields(text, func(num protowire.Number, queue []byte, _ uint64) {
				s.Ours = s.Ours || num == 1 && string(queue) == gate.Placeholder
			})
		case 7:
			s.Stopping = string(text) != "active"
		case 8:
			s.Started = timeOf(text)
		}
	})
	if s.Ours {
		s.Slots /= overlap
	}
	return s, ok && s.Host != ""
}

// parseRunning reads asynq's WorkerInfo.
func parseRunning(b []byte) (t Running, began time.Time, ok bool) {
	ok = protoFields(b, func(num protowire.Number, text []byte, _ uint64) {
		switch num {
		case 4:
			t.ID = string(text)
		case 5:
			t.Type = string(text)
		case 7:
			t.Lane = string(text)
		case 8:
			began = timeOf(text)
		}
	})
	return t, began, ok && t.ID != ""
}

// timeOf reads a Timestamp.
func timeOf(b []byte) time.Time {
	var secs, nanos int64
	protoFields(b, func(num protowire.Number, _ []byte, n uint64) {
		switch num {
		case 1:
			secs = int64(n)
		case 2:
			nanos = int64(n)
		}
	})
	return time.Unix(secs, nanos)
}

// protoFields calls each for the fields that are bytes or numbers; false where b is no message.
func protoFields(b []byte, each func(num protowire.Number, text []byte, n uint64)) bool {
	return queue.Fields(b, func(num protowire.Number, text []byte, n uint64) error { each(num, text, n); return nil }) == nil
}
