package conn_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestFullnessIsThatOfTheFullestMaster(t *testing.T) {
	t.Parallel()
	single, cluster := conntest.Server(t), conntest.Cluster(t, 3)
	for name, c := range map[string]struct {
		node *conntest.RealServer
		url  string
	}{"server": {single, single.URL()}, "cluster": {cluster.Nodes[1], cluster.URL()}} {
		t.Run(name, func(t *testing.T) {
			client, err := conn.Open(c.url)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if full, err := conn.Fullness(t.Context(), client); full != 0 || err != nil {
				t.Errorf("without a limit %v, %v", full, err)
			}
			if err := c.node.Client().Do(t.Context(), "CONFIG", "SET", "maxmemory", "300mb").Err(); err != nil {
				t.Fatal(err)
			}
			full, err := conn.Fullness(t.Context(), client)
			if full <= 0 || full > 0.15 || err != nil {
				t.Errorf("nearly empty %v, %v", full, err)
			}
			for key := 0; ; key++ { // until it is one of this node's
				if err := c.node.Client().Set(t.Context(), strconv.Itoa(key), make([]byte, 70<<20), 0).Err(); err == nil {
					break
				} else if !redis.HasErrorPrefix(err, "MOVED") {
					t.Fatal(err)
				}
			}
			conntest.Eventually(t, 10*time.Second, "it is seen to be full", func(ctx context.Context) bool {
				full, err := conn.Fullness(ctx, client)
				return err == nil && full > 0.2
			})
		})
	}
}
