package work

import (
	"context"
	"encoding/json"
	"runtime/debug"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// aboutEvery is how often a worker tells of itself what asynq's heartbeat does not, and
	// aboutKept how long that is good.
	aboutEvery = 3 * time.Second
	aboutKept  = 20 * time.Second
)

// about is what a process tells: handlers that go on though their task has its verdict are
// on no list of asynq's.
type about struct {
	Version string        `json:"version"`
	Stuck   int           `json:"stuck"`
	Skew    time.Duration `json:"skew"`
}

// aboutKey is where the process of that name, host:pid, tells.
func aboutKey(name string) string { return "weir:{workers}:about:" + name }

// tell tells until ctx ends. What does not come through is told the next time.
func (w *Worker) tell(ctx context.Context) {
	tick := time.NewTicker(aboutEvery)
	defer tick.Stop()
	for {
		data, err := json.Marshal(about{version(), w.runner.Stuck(), time.Duration(w.clock.offset.Load())})
		if err == nil {
			telling, done := context.WithTimeout(ctx, aboutEvery)
			_ = w.fast.Set(telling, aboutKey(Name()), data, aboutKept).Err()
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

// processOfServer is the host:pid in the key of a server of asynq.
func processOfServer(key string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(key, serversKey+":{"), "}")
	return name[:max(strings.LastIndexByte(name, ':'), 0)]
}

// take takes over what a process told of itself.
func (s *Seen) take(told *redis.StringCmd) {
	var a about
	if json.Unmarshal([]byte(told.Val()), &a) == nil {
		s.Version, s.Stuck, s.Skew = a.Version, a.Stuck, a.Skew
	}
}
