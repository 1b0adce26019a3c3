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
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// serversKey is asynq's sorted set of its servers' keys, by when they expire on the
	// server's clock.
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
	Ago   time.Duration
	Tasks []Running // longest running first
	// Version is its program's, Stuck how many of its handlers go on though their time is
	// over, Skew by how much its clock is ahead of Redis'; of weir's workers, as they told
	// some seconds ago.
	Version string
	Stuck   int
	Skew    time.Duration
}

// Name is as it calls itself in outcomes, unless it was given another.
func (s *Seen) Name() string { return s.Host + ":" + strconv.Itoa(s.PID) }

// Running is a task that a worker runs.
type Running struct {
	ID, Type, Lane string
	For            time.Duration // as of the heartbeat
}

// Look lists the workers that live, and what they run: by Redis' clock, whatever their own
// and this host's say, which asynq's own list goes by.
func Look(ctx context.Context, rdb redis.UniversalClient) ([]*Seen, error) {
	return look(ctx, rdb, true)
}

// Living is Look without tasks, of which Redis has the payloads beside the rest: it costs
// little however much runs.
func Living(ctx context.Context, rdb redis.UniversalClient) ([]*Seen, error) {
	return look(ctx, rdb, false)
}

// Sum is what there is of weir's workers among all.
func Sum(all []*Seen) (c lane.Cluster) {
	for _, s := range all {
		if s.Ours {
			c.Workers++
			c.Slots += s.Slots
		}
	}
	return c
}

func look(ctx context.Context, rdb redis.UniversalClient, withTasks bool) ([]*Seen, error) {
	servers, err := rdb.ZRange(ctx, serversKey, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	pipe := rdb.Pipeline()
	now := pipe.Time(ctx)
	type record struct {
		info  *redis.StringCmd
		left  *redis.DurationCmd
		tasks *redis.StringSliceCmd
		about *redis.StringCmd
	}
	records := make([]record, len(servers))
	for i, key := range servers {
		records[i] = record{info: pipe.Get(ctx, key), left: pipe.PTTL(ctx, key), about: pipe.Get(ctx, aboutKey(key))}
		if withTasks {
			records[i].tasks = pipe.HVals(ctx, strings.Replace(key, "servers", "workers", 1))
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := now.Err(); err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	var all []*Seen
	for _, r := range records {
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
		if s.Ours {
			s.take(r.about)
		}
		s.Ago = max(heartbeatKept-r.left.Val(), 0)
		if r.tasks != nil {
			s.runs(r.tasks.Val(), now.Val())
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Seen) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// runs notes what it runs, as asynq wrote it down; now is Redis'.
func (s *Seen) runs(texts []string, now time.Time) {
	for _, text := range texts {
		if t, began, ok := parseRunning([]byte(text)); ok {
			t.For = max(now.Add(s.Skew-s.Ago).Sub(began), 0)
			s.Tasks = append(s.Tasks, t)
		}
	}
	slices.SortFunc(s.Tasks, func(a, b Running) int { return int(b.For - a.For) })
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
			t.Lane = queue.Lane(string(text))
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
