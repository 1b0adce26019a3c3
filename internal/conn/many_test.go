package conn_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// The master dies; the same client goes on with the replica that Sentinel chose.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	master := conntest.Server(t, "--maxmemory-policy", "allkeys-lru")
	_, port, _ := strings.Cut(master.Addr(), ":")
	replica := conntest.Server(t, "--replicaof", "127.0.0.1 "+port, "--repl-diskless-sync-delay", "0")
	s := conntest.Sentinel(t, master)

	c := works(t, s.URL())
	found, err := conn.Check(ctx, c)
	if err != nil || len(found) == 0 || !strings.HasPrefix(found[0].What, "redis at "+master.Addr()+" may evict") ||
		found[0].Remedy != "redis-cli -p "+port+" CONFIG SET maxmemory-policy noeviction" {
		t.Errorf("%s%v", lines(found), err)
	}
	fails(t, strings.Replace(s.URL(), "/weir", "/other", 1), "the Sentinels know no master named other")
	plain := works0(t, "redis://"+s.Addr())
	if found, err = conn.Check(ctx, plain); err != nil || len(found) == 0 || !strings.Contains(found[0].What, "is a Sentinel") {
		t.Errorf("redis:// to a Sentinel: %s%v", lines(found), err)
	}

	s.WaitReplica(1)
	r := replica.Client()
	conntest.Eventually(t, 15*time.Second, "the replica has the data", func(ctx context.Context) bool {
		return r.Get(ctx, "weir:test").Val() == "x"
	})
	master.Kill()
	conntest.Eventually(t, 15*time.Second, "writes go to the new master", func(ctx context.Context) bool {
		return c.Set(ctx, "weir:test", "y", 0).Err() == nil
	})
	if got := r.Get(ctx, "weir:test").Val(); got != "y" {
		t.Errorf("the new master has %q", got)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cl := conntest.Cluster(t, 3)
	c := works(t, cl.URL())
	for i := range 60 {
		if err := c.Set(ctx, "weir:{"+strconv.Itoa(i)+"}:k", i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range cl.Nodes {
		if n.Client().DBSize(ctx).Val() == 0 {
			t.Errorf("node %d got no keys", i)
		}
	}
	// One node of three is wrong: it is named.
	cl.Nodes[1].Client().ConfigSet(ctx, "maxmemory-policy", "allkeys-random")
	found, err := conn.Check(ctx, c)
	if err != nil || len(found) != 4 || !found[0].Fatal || found[1].Fatal ||
		!strings.HasPrefix(found[0].What, "redis at "+cl.Nodes[1].Addr()+" may evict") {
		t.Errorf("%s%v", lines(found), err)
	}

	one := works0(t, "redis://"+cl.Nodes[0].Addr())
	if found, err = conn.Check(ctx, one); err != nil || len(found) == 0 || !strings.Contains(found[0].Remedy, "redis-cluster://") {
		t.Errorf("redis:// to a cluster: %s%v", lines(found), err)
	}
	fails(t, "redis://"+cl.Nodes[0].Addr()+"/1", "it is a node of a Redis Cluster; write redis-cluster://")

	// A node of two that lives is enough to start from.
	works(t, "redis-cluster://127.0.0.1:1,"+cl.Nodes[2].Addr())

	// Slots without a server: PING is answered, but Redis is not ready.
	if err := cl.Nodes[0].Client().Do(ctx, "CLUSTER", "DELSLOTS", 0).Err(); err != nil {
		t.Fatal(err)
	}
	back := false
	lone := works0(t, "redis-cluster://"+cl.Nodes[0].Addr())
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = conn.Ready(wait, lone, cl.URL(), func(err error, _ time.Duration) {
		if !strings.Contains(err.Error(), "not all slots are served") {
			t.Errorf("says %q", err)
		}
		cl.Nodes[0].Client().Do(ctx, "CLUSTER", "ADDSLOTS", 0)
		back = true
	})
	if err != nil || !back {
		t.Errorf("ready: %v, waited: %v", err, back)
	}
}
