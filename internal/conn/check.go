package conn

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Problem is something about the server that weir cannot (Fatal) or should not
// live with.
type Problem struct {
	Fatal  bool
	What   string // begins with the server's address
	Remedy string // the command that mends it, or what to write instead
}

// String is one line.
func (p Problem) String() string {
	if p.Remedy == "" {
		return p.What
	}
	return p.What + "; mend it: " + p.Remedy
}

// Check asks the server, or every master of a cluster, for what weir needs:
// version 6.2 or later, a master, maxmemory-policy noeviction, persistence. It
// reads INFO, which works where CONFIG is forbidden; what a server does not tell
// is a warning. Fatal problems come first.
//
// Errors: an *Error when the server cannot be asked.
func Check(ctx context.Context, c redis.UniversalClient) ([]Problem, error) {
	var (
		mu  sync.Mutex
		all []Problem
	)
	one := func(ctx context.Context, node *redis.Client) error {
		found, err := checkNode(ctx, node, c)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, found...)
		return err
	}
	switch c := c.(type) {
	case *redis.ClusterClient:
		if err := c.ForEachMaster(ctx, one); err != nil { // ForEachMaster calls concurrently
			return nil, err
		}
	case *redis.Client:
		if err := one(ctx, c); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("check redis: cannot look into a %T", c)
	}
	slices.SortStableFunc(all, func(a, b Problem) int {
		switch {
		case a.Fatal && !b.Fatal:
			return -1
		case b.Fatal && !a.Fatal:
			return 1
		}
		return cmp.Compare(a.What, b.What)
	})
	return all, nil
}

func checkNode(ctx context.Context, node *redis.Client, whole redis.UniversalClient) ([]Problem, error) {
	s := server{addr: nodeAddr(ctx, node), tls: node.Options().TLSConfig != nil}
	text, err := node.Info(ctx).Result()
	switch {
	case redis.HasErrorPrefix(err, "NOPERM"):
		return []Problem{s.warning("does not let this user see INFO: version, eviction and persistence are unknown",
			s.cli("ACL SETUSER NAME +info"))}, nil
	case err != nil:
		e := diagnose(err, target{})
		e.Addr, e.Err = s.addr, err
		return nil, e
	}
	s.info = parseInfo(text)
	s.policy = s.ask(ctx, node, "maxmemory_policy", "maxmemory-policy")
	s.aof = s.ask(ctx, node, "aof_enabled", "appendonly")

	_, isCluster := whole.(*redis.ClusterClient)
	all := s.checkMode(isCluster)
	all = append(all, s.checkVersion()...)
	all = append(all, s.checkRole()...)
	all = append(all, s.checkEviction(ctx, node)...)
	return append(all, s.checkPersistence()...), nil
}
