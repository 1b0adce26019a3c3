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
	used, limit, err := Memory(ctx, c)
	if limit == 0 {
		return 0, err
	}
	return used / limit, err
}

// Memory is what the server uses, in bytes, and its maxmemory, 0 without one; of a cluster,
// those of the fullest master.
func Memory(ctx context.Context, c redis.UniversalClient) (used, limit float64, err error) {
	var mu sync.Mutex
	one := func(ctx context.Context, node *redis.Client) error {
		text, err := node.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		info := parseInfo(text)
		u, _ := strconv.ParseFloat(info["used_memory"], 64)
		l, _ := strconv.ParseFloat(info["maxmemory"], 64)
		mu.Lock()
		defer mu.Unlock()
		// Without a limit more is fuller; with one, whatever has the least room.
		if l > 0 && (limit == 0 || u/l > used/limit) || l == 0 && limit == 0 && u > used {
			used, limit = u, l
		}
		return nil
	}
	err = eachMaster(ctx, c, one)
	return used, limit, err
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
