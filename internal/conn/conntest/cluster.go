package conntest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RealCluster is a Redis Cluster of masters, of one test.
type RealCluster struct {
	Nodes []*RealServer
	t     testing.TB
}

// Cluster starts n masters, gives them all slots and returns when each of them
// says that the cluster is ok.
func Cluster(t testing.TB, n int, args ...string) *RealCluster {
	t.Helper()
	c := &RealCluster{t: t}
	for range n {
		node := Server(t, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "15000"}, args...)...)
		c.Nodes = append(c.Nodes, node)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	const slots = 16384
	for i, node := range c.Nodes {
		r := node.Client()
		must(t, r.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		must(t, r.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", slots*i/n, slots*(i+1)/n-1).Err())
	}
	first := c.Nodes[0].Client()
	for _, node := range c.Nodes[1:] {
		must(t, first.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", node.port, node.bus).Err())
	}
	var wg sync.WaitGroup
	for _, node := range c.Nodes {
		r := node.Client()
		wg.Go(func() { waitCluster(ctx, r, n) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatalf("the cluster did not form in 20 s:\n%s", first.ClusterInfo(context.Background()).Val())
	}
	return c
}

func waitCluster(ctx context.Context, c redis.UniversalClient, n int) {
	for ctx.Err() == nil {
		info, _ := c.(*redis.Client).ClusterInfo(ctx).Result()
		if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_size:%d\r", n)) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// URL with all nodes.
func (c *RealCluster) URL() string {
	addrs := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		addrs[i] = n.Addr()
	}
	return "redis-cluster://" + strings.Join(addrs, ",")
}

// Client makes a client as weir makes them; it is closed when the test ends.
func (c *RealCluster) Client() redis.UniversalClient { return client(c.t, c.URL()) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
