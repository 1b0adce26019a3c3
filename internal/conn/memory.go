package conn

import (
	"context"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Fullness is how much of its maxmemory the server uses, or the fullest master of a
// cluster: 0.7 is 70%. It is 0 without a limit.
func Fullness(ctx context.Context, c redis.UniversalClient) (float64, error) {
	var mu sync.Mutex
	fullest := 0.0
	one := func(ctx context.Context, node *redis.Client) error {
		text, err := node.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		info := parseInfo(text)
		used, _ := strconv.ParseFloat(info["used_memory"], 64)
		limit, _ := strconv.ParseFloat(info["maxmemory"], 64)
		mu.Lock()
		defer mu.Unlock()
		if limit > 0 {
			fullest = max(fullest, used/limit)
		}
		return nil
	}
	err := eachMaster(ctx, c, one)
	return fullest, err
}

// eachMaster calls one for the server, or for every master of a cluster, concurrently.
func eachMaster(ctx context.Context, c redis.UniversalClient, one func(context.Context, *redis.Client) error) error {
	switch c := c.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, one)
	case *redis.Client:
		return one(ctx, c)
	}
	return nil
}
