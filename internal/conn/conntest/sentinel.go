package conntest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel starts a Sentinel that watches master under the name "weir", alone
// (quorum 1) and with a down time of 300 ms. Its URL is a redis-sentinel:// one.
func Sentinel(t testing.TB, master *RealServer, lines ...string) *RealSentinel {
	t.Helper()
	s := &RealSentinel{RealServer: newServer(t, nil)}
	conf := filepath.Join(s.dir, "sentinel.conf")
	lines = append([]string{
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1", MasterName, master.port),
		"sentinel down-after-milliseconds " + MasterName + " 300",
		"sentinel failover-timeout " + MasterName + " 2000",
	}, lines...)
	// A Sentinel rewrites its own file.
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{conf, "--sentinel"}
	s.startAnywhere()
	return s
}

// MasterName is what Sentinel calls the master it watches.
const MasterName = "weir"

// RealSentinel is a Sentinel process of one test.
type RealSentinel struct{ *RealServer }

// URL of the master, by way of the Sentinel.
func (s *RealSentinel) URL() string { return "redis-sentinel://" + s.Addr() + "/" + MasterName }

// Client of the master, by way of the Sentinel.
func (s *RealSentinel) Client() redis.UniversalClient { return client(s.t, s.URL()) }

// WaitReplica until the Sentinel knows n replicas, without which it cannot fail
// over.
func (s *RealSentinel) WaitReplica(n int) {
	s.t.Helper()
	c := s.RealServer.Client()
	Eventually(s.t, 15*time.Second, "the Sentinel sees its replicas", func(ctx context.Context) bool {
		list, _ := c.Do(ctx, "SENTINEL", "replicas", MasterName).Slice()
		return len(list) >= n
	})
}
