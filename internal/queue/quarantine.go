package queue

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/logs"
)

var (
	//go:embed lua/close.lua
	closeSrc    string
	closeScript = redis.NewScript(closeSrc)

	//go:embed lua/quarantine.lua
	quarantineSrc    string
	quarantineScript = redis.NewScript(quarantineSrc)
)

const (
	// quarantined is how many entries a lane's quarantine keeps, the newest.
	quarantined = 100
	// maxKept is how much is kept of each.
	maxKept = 16 << 10
)

// Quarantine is the list of what could not be read in a lane, the newest first.
func Quarantine(lane string) string { return "weir:{" + lane + "}:quarantine" }

// CountSetAside is how many entries the quarantines of lanes hold.
func CountSetAside(ctx context.Context, rdb redis.UniversalClient, lanes []string) (n int64, err error) {
	for chunk := range slices.Chunk(lanes, atOnce) {
		pipe := rdb.Pipeline()
		counts := make([]*redis.IntCmd, len(chunk))
		for i, lane := range chunk {
			counts[i] = pipe.LLen(ctx, Quarantine(lane))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return 0, fmt.Errorf("count what was set aside in %d lanes: %w", len(lanes), err)
		}
		for _, c := range counts {
			n += c.Val()
		}
	}
	return n, nil
}

// Bad is an entry of a lane that nobody can run, as its quarantine keeps it.
type Bad struct {
	ID  string    `json:"id"`
	At  time.Time `json:"at"`
	Why string    `json:"why"`
	// Kind is what Redis held under the task's key, normally a hash.
	Kind string `json:"kind"`
	// Data is the message, or the string that was in its place; Size is its length,
	// of which Data holds the beginning, and nothing where it is above MaxMessage.
	Data []byte `json:"data,omitempty"`
	Size int    `json:"size"`
}

// Tell logs what was set aside, but not the message, which has a payload.
func (b *Bad) Tell(log *slog.Logger, lane string) {
	log.Error("what nobody can run is set aside", logs.ID(b.ID, lane), "why", b.Why, "kind", b.Kind,
		"size", b.Size, "kept_in", Quarantine(lane))
}

// SetAside moves what nobody can run out of its lane into the lane's quarantine. It
// returns nil when another was first.
func SetAside(ctx context.Context, rdb redis.UniversalClient, lane, id, why string) (*Bad, error) {
	key := TaskPrefix(lane) + id
	fail := func(err error) (*Bad, error) {
		return nil, fmt.Errorf("set task %q of lane %q aside: %w", id, lane, err)
	}
	bad := &Bad{ID: id, At: time.Now().UTC(), Why: why}
	var err error
	if bad.Kind, err = rdb.Type(ctx, key).Result(); err != nil {
		return fail(err)
	}
	var size int64
	var data string
	switch bad.Kind {
	case "hash":
		if size, err = rdb.HStrLen(ctx, key, "msg").Result(); err == nil && size <= MaxMessage {
			data, err = rdb.HGet(ctx, key, "msg").Result()
		}
	case "string":
		if size, err = rdb.StrLen(ctx, key).Result(); err == nil {
			data, err = rdb.GetRange(ctx, key, 0, maxKept-1).Result()
		}
	}
	if err != nil && err != redis.Nil {
		return fail(err)
	}
	bad.Size, bad.Data = int(size), []byte(data[:min(len(data), maxKept)])
	entry, err := json.Marshal(bad)
	if err != nil {
		return fail(err)
	}
	keys := []string{Active(lane), Lease(lane), Scheduled(lane), Retry(lane), key, Quarantine(lane)}
	n, err := quarantineScript.Run(ctx, rdb, keys, id, entry, quarantined).Int()
	if err != nil {
		return fail(err)
	}
	if n == 0 {
		return nil, nil
	}
	return bad, nil
}

// Unmovable are those of a lane's due tasks that asynq cannot forward: in place of their
// record there is something else. One of them keeps all that come after it from
// being forwarded.
func Unmovable(ctx context.Context, rdb redis.UniversalClient, lane, delayed string, now time.Time) ([]string, error) {
	due, err := rdb.ZRangeByScore(ctx, delayed, &redis.ZRangeBy{Min: "-inf", Max: fmt.Sprint(now.Unix()), Count: 100}).Result()
	if err != nil {
		return nil, fmt.Errorf("list due tasks of lane %q: %w", lane, err)
	}
	pipe := rdb.Pipeline()
	kinds := make([]*redis.StatusCmd, len(due))
	for i, id := range due {
		kinds[i] = pipe.Type(ctx, TaskPrefix(lane)+id)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look at due tasks of lane %q: %w", lane, err)
	}
	var bad []string
	for i, id := range due {
		if kind := kinds[i].Val(); kind != "hash" && kind != "none" {
			bad = append(bad, id)
		}
	}
	return bad, nil
}
