package conn

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Node is a Redis, or a master of a cluster, as it tells about itself. What it does not
// tell is empty.
type Node struct {
	Addr        string `json:"addr"`
	Version     string `json:"version"`
	Mode        string `json:"mode"`
	UptimeSecs  int64  `json:"uptime_seconds"`
	UsedMemory  int64  `json:"used_memory"`
	PeakMemory  int64  `json:"peak_memory"`
	MaxMemory   int64  `json:"max_memory"` // 0 is no limit
	Policy      string `json:"policy"`
	AOF         bool   `json:"aof"`
	AOFStatus   string `json:"aof_status"`         // of its last write
	AOFRewrite  string `json:"aof_rewrite_status"` // of its last one
	Fsync       string `json:"fsync"`
	RDBStatus   string `json:"rdb_status"`
	RDBSaved    int64  `json:"rdb_saved"` // Unix seconds
	Loading     bool   `json:"loading"`
	Replicas    int64  `json:"replicas"`
	Clients     int64  `json:"clients"`
	Blocked     int64  `json:"blocked_clients"`
	OpsPerSec   int64  `json:"ops_per_second"`
	Evicted     int64  `json:"evicted_keys"`
	Keys        string `json:"keys"`
	HasNoInfo   bool   `json:"no_info"` // its INFO is closed to this user, or has none of this
	FullPercent int64  `json:"full_percent"`
}

// Describe asks the server, or every master of a cluster, about itself.
func Describe(ctx context.Context, c redis.UniversalClient) ([]Node, error) {
	var mu sync.Mutex
	var all []Node
	one := func(ctx context.Context, node *redis.Client) error {
		n, err := describeNode(ctx, node)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, n)
		return nil
	}
	err := eachMaster(ctx, c, one)
	slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(a.Addr, b.Addr) })
	return all, err
}

func describeNode(ctx context.Context, node *redis.Client) (Node, error) {
	s := server{addr: nodeAddr(ctx, node)}
	text, err := node.Info(ctx).Result()
	if err != nil && !redis.HasErrorPrefix(err, "NOPERM") {
		return Node{}, err
	}
	s.info = parseInfo(text)
	number := func(field string) int64 {
		n, _ := strconv.ParseInt(s.info[field], 10, 64)
		return n
	}
	n := Node{
		Addr: s.addr, Version: s.info["redis_version"], Mode: s.info["redis_mode"], UptimeSecs: number("uptime_in_seconds"),
		UsedMemory: number("used_memory"), PeakMemory: number("used_memory_peak"), MaxMemory: number("maxmemory"),
		AOF: number("aof_enabled") == 1, AOFStatus: s.info["aof_last_write_status"], AOFRewrite: s.info["aof_last_bgrewrite_status"],
		RDBStatus: s.info["rdb_last_bgsave_status"], RDBSaved: number("rdb_last_save_time"), Loading: number("loading") == 1,
		Replicas: number("connected_slaves"), Clients: number("connected_clients"), Blocked: number("blocked_clients"),
		OpsPerSec: number("instantaneous_ops_per_sec"), Evicted: number("evicted_keys"), Keys: s.info["db"+strconv.Itoa(node.Options().DB)],
		HasNoInfo: s.info["used_memory"] == "",
	}
	if v := s.info["valkey_version"]; v != "" {
		n.Version = "Valkey " + v
	}
	if n.MaxMemory > 0 {
		n.FullPercent = 100 * n.UsedMemory / n.MaxMemory
	}
	n.Policy = s.ask(ctx, node, "maxmemory_policy", "maxmemory-policy")
	if n.AOF {
		n.Fsync = s.ask(ctx, node, "", "appendfsync")
	}
	return n, nil
}
