package work

import (
	"context"
	"encoding/json"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/gate"
)

const (
	// aboutEvery is how often a worker tells of itself what asynq's heartbeat does not, and
	// aboutKept how long that is good.
	aboutEvery = 3 * time.Second
	aboutKept  = 20 * time.Second
)

// about is what a worker tells: handlers that go on though their task has its verdict are
// on no list of asynq's.
type about struct {
	Version string        `json:"version"`
	Stuck   int           `json:"stuck"`
	Skew    time.Duration `json:"skew"`
}

// aboutKey is where the worker whose asynq.Server has that key tells: a process may have
// several.
func aboutKey(server string) string {
	return "weir:{workers}:about:" + strings.TrimSuffix(strings.TrimPrefix(server, serversKey+":{"), "}")
}

// known is the gate, as asynq.Server has it, and learns what key that has in Redis.
type known struct {
	*gate.Gate
	server string        // valid once met is closed
	met    chan struct{} // closed at its first heartbeat
	once   sync.Once
}

// ZAdd is how a heartbeat begins.
func (k *known) ZAdd(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	if key == serversKey && len(members) == 1 {
		k.once.Do(func() {
			k.server, _ = members[0].Member.(string)
			close(k.met)
		})
	}
	return k.Gate.ZAdd(ctx, key, members...)
}

// tell tells until ctx ends. What does not come through is told the next time.
func (w *Worker) tell(ctx context.Context, k *known) {
	select {
	case <-ctx.Done():
		return
	case <-k.met:
	}
	tick := time.NewTicker(aboutEvery)
	defer tick.Stop()
	for {
		data, err := json.Marshal(about{version(), w.runner.Stuck(), time.Duration(w.clock.offset.Load())})
		if err == nil {
			telling, done := context.WithTimeout(ctx, aboutEvery)
			_ = w.fast.Set(telling, aboutKey(k.server), data, aboutKept).Err()
			done()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// version is the program's, as it was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value
		}
	}
	return v
}

// take takes over what a worker told of itself.
func (s *Seen) take(told *redis.StringCmd) {
	var a about
	if json.Unmarshal([]byte(told.Val()), &a) == nil {
		s.Version, s.Stuck, s.Skew = a.Version, a.Stuck, a.Skew
	}
}
