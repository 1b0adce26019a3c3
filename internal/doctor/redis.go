package doctor

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/conn"
)

// redis looks at versions, eviction, role and persistence.
func (d *doctor) redis(ctx context.Context) error {
	problems, err := conn.Check(ctx, d.rdb)
	if err != nil {
		return err
	}
	for _, p := range problems {
		level := Warning
		if p.Fatal {
			level = Problem
		}
		d.found(level, p.Remedy, "%s", p.What)
	}
	nodes, err := conn.Describe(ctx, d.rdb)
	if err != nil {
		return err
	}
	var seen []string
	for _, n := range nodes {
		if floor := luaFloor(n.Version); floor != "" {
			d.found(Warning, "upgrade it to "+floor+", or to a package of your distribution's that has the fix",
				"redis at %s is version %s: who may run scripts in it may run code on its host (CVE-2025-49844), unless %s", n.Addr, n.Version, mended(n.Version))
		}
		if n.AOFRewrite == "err" {
			d.found(Warning, "see its log, and whether its disk is full", "redis at %s could not rewrite its append-only file: it grows", n.Addr)
		}
		if n.Loading {
			d.found(Problem, "wait", "redis at %s is loading its data from disk", n.Addr)
		}
		seen = append(seen, told(&n))
	}
	d.fine("%s", strings.Join(seen, "; "))
	return nil
}

// told is a healthy Redis in words.
func told(n *conn.Node) string {
	s := fmt.Sprintf("redis at %s: version %s, %s", n.Addr, n.Version, n.Policy)
	if n.AOF {
		s += ", append-only file, fsync " + n.Fsync
	}
	if n.RDBSaved > 0 {
		s += ", last snapshot " + time.Unix(n.RDBSaved, 0).Format(time.DateTime)
	}
	return s
}

// floors are the first releases of each line without CVE-2025-49844 (Lua use after free).
// Lines between, such as 7.0, have none.
var floors = map[string][]string{
	"":       {"6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2"},
	"Valkey": {"7.2.11", "8.0.6", "8.1.4"},
}

// luaFloor is the release that a version is to be upgraded to; "" if it is none of those
// that have the flaw, or not known.
func luaFloor(version string) string {
	kind, number, found := strings.Cut(version, " ")
	if !found {
		kind, number = "", version
	}
	v, ok := parseVersion(number)
	if !ok || len(floors[kind]) == 0 {
		return ""
	}
	next := ""
	for _, floor := range floors[kind] {
		f, _ := parseVersion(floor)
		sameLine := f[0] == v[0] && f[1] == v[1]
		switch {
		case sameLine && v[2] >= f[2]:
			return ""
		case sameLine, slices.Compare(v[:], f[:]) < 0:
			if next == "" {
				next = floor
			}
		}
	}
	return next // "" where it is later than all of them
}

// mended says of a version with the flaw which packages of it have none. Debian's 12 has had
// another since, in TLS, before anybody logs in.
func mended(version string) string {
	if version == "7.0.15" {
		return "its package is Debian's, at least 7.0.15-1~deb12u6, or ~deb12u10 where it listens by TLS (CVE-2026-81934)"
	}
	return "its package has the fix"
}

func parseVersion(s string) (v [3]int, ok bool) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) != 3 {
		return v, false
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

const (
	// fullWarn and fullBad are percent of maxmemory. At the first producers begin to wait.
	fullWarn, fullBad = 70, 90
)

func (d *doctor) memory(ctx context.Context) error {
	nodes, err := conn.Describe(ctx, d.rdb)
	if err != nil {
		return err
	}
	var seen []string
	for _, n := range nodes {
		remedy := "give it more: CONFIG SET maxmemory; or let followers read outcomes (producer follow --out), and done batches go sooner (--keep)"
		switch {
		case n.HasNoInfo:
			d.found(Warning, "", "redis at %s does not tell its memory", n.Addr)
		case n.FullPercent >= fullBad:
			d.found(Problem, remedy, "redis at %s uses %d%% of its maxmemory: at 100%% it refuses writes", n.Addr, n.FullPercent)
		case n.FullPercent >= fullWarn:
			d.found(Warning, remedy, "redis at %s uses %d%% of its maxmemory", n.Addr, n.FullPercent)
		}
		if n.Evicted > 0 {
			d.found(Problem, "set maxmemory-policy to noeviction; producer repair BATCH TYPE FILE enqueues what its batch has lost", "redis at %s has evicted %d keys since it started: tasks or outcomes may be among them", n.Addr, n.Evicted)
		}
		limit := "no maxmemory"
		if n.MaxMemory > 0 {
			limit = fmt.Sprintf("%d%% of %d MiB", n.FullPercent, n.MaxMemory>>20)
		}
		seen = append(seen, fmt.Sprintf("redis at %s: %d MiB used, %s", n.Addr, n.UsedMemory>>20, limit))
	}
	d.fine("%s", strings.Join(seen, "; "))
	return nil
}

var (
	//go:embed lua/rights.lua
	rightsSrc    string
	rightsScript = redis.NewScript(rightsSrc)
)

// reads and writes are commands that weir and asynq use, each so that it would be valid;
// KEY is one of our keys.
var (
	reads = []string{"get KEY", "mget KEY", "exists KEY", "type KEY", "pttl KEY", "llen KEY", "lrange KEY 0 1", "lindex KEY 0", "lpos KEY x", "hget KEY x", "hmget KEY x", "hgetall KEY", "hlen KEY", "hexists KEY x", "scard KEY", "smismember KEY x", "zmscore KEY x", "strlen KEY", "hkeys KEY", "hvals KEY",
		"smembers KEY", "sismember KEY x", "zcard KEY", "zrange KEY 0 1", "zrevrange KEY 0 1", "zrangebyscore KEY 0 1", "zscore KEY x", "getbit KEY 0", "bitcount KEY", "getrange KEY 0 1",
		"xlen KEY", "xread streams KEY 0", "xrange KEY - +", "xrevrange KEY + -", "ping", "time", "info", "multi", "exec"}
	writes = []string{"set KEY x", "del KEY", "incr KEY", "incrby KEY 1", "expire KEY 1", "pexpire KEY 1", "lpush KEY x", "rpush KEY x", "rpop KEY", "lrem KEY 0 x", "ltrim KEY 0 1", "lmove KEY KEY left right", "expireat KEY 1", "setex KEY 1 x", "rpoplpush KEY KEY", "hset KEY x y", "hsetnx KEY x y", "hdel KEY x", "hincrby KEY x 1",
		"sadd KEY x", "srem KEY x", "zadd KEY 1 x", "zrem KEY x", "zremrangebyscore KEY 0 1", "zremrangebyrank KEY 0 1", "setbit KEY 0 1", "xadd KEY * x y", "xtrim KEY maxlen 1", "xdel KEY 0-1", "publish weir:wake x"}
)

// noKey is how Redis refuses a key, unlike a command.
var noKey = regexp.MustCompile(`access (a key|one of the keys)`)

// rights looks whether the user may run what weir needs, without running it.
func (d *doctor) rights(ctx context.Context) error {
	var refused []string
	for _, pattern := range []string{"weir:*", "asynq:*"} {
		key := strings.Replace(pattern, "*", "{doctor}:rights", 1)
		var asked []any
		for _, c := range slices.Concat(reads, writes) {
			asked = append(asked, strings.ReplaceAll(c, "KEY", key))
		}
		names, err := rightsScript.Run(ctx, d.rdb, []string{key}, asked...).StringSlice()
		switch {
		case refusedBy(err) && noKey.MatchString(err.Error()):
			d.found(Problem, "ACL SETUSER NAME ~"+pattern+"; deploy/redis-users.acl has what each part of weir needs", "this user may not use keys like %s: %w", pattern, err)
		case refusedBy(err):
			d.found(Problem, "ACL SETUSER NAME +eval +evalsha +script|load; deploy/redis-users.acl has what each part of weir needs", "this user may not run scripts, which all of weir and asynq are made of: %w", err)
			return nil
		case err != nil && strings.Contains(err.Error(), "acl_check_cmd"):
			d.fine("scripts run; older than Redis 7, it does not tell what else this user may do")
			return nil
		case err != nil:
			return err
		}
		refused = append(refused, names...)
	}
	slices.Sort(refused)
	refused = slices.Compact(refused)
	onlyReads := len(refused) > 0
	for _, r := range refused {
		onlyReads = onlyReads && slices.ContainsFunc(writes, func(w string) bool { return strings.HasPrefix(w, r+" ") })
	}
	remedy := "deploy/redis-users.acl has what each part of weir needs; ACL SETUSER NAME ~weir:* ~asynq:* &weir:* &asynq:* and the commands"
	switch {
	case onlyReads && len(refused) == len(writes):
		d.found(Warning, "examine with the worker's or the producer's URL too", "this user may only read: what workers and producers may do is not seen")
	case len(refused) > 0:
		d.found(Problem, remedy, "this user may not run %s on weir's and asynq's keys", strings.Join(refused, ", "))
	}
	d.fine("this user may run what workers and producers do")
	return nil
}

const (
	// pings is how many round trips are timed; slowWarn and slowBad are for their median.
	pings             = 11
	slowWarn, slowBad = 20 * time.Millisecond, 250 * time.Millisecond
)

func (d *doctor) latency(ctx context.Context) error {
	var took []time.Duration
	for range pings {
		began := time.Now()
		if err := d.rdb.Ping(ctx).Err(); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	half, worst := took[pings/2], took[pings-1]
	remedy := "run workers near Redis; look for slow commands (SLOWLOG GET), a full disk, a busy host, swapping"
	text := fmt.Sprintf("a round trip to Redis takes %v, the longest of %d took %v", half.Round(10*time.Microsecond), pings, worst.Round(10*time.Microsecond))
	switch {
	case half >= slowBad:
		d.found(Problem, remedy, "%s", text)
	case half >= slowWarn:
		d.found(Warning, remedy, "%s", text)
	}
	d.fine("%s", text)
	return nil
}

// allSlots is how many a cluster has.
const allSlots = 16384

// slots looks whether a cluster serves all.
func (d *doctor) slots(ctx context.Context) error {
	cluster, ok := d.rdb.(*redis.ClusterClient)
	if !ok {
		d.fine("no cluster")
		return nil
	}
	var mu sync.Mutex
	infos := make(map[string]string)
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		text, err := node.ClusterInfo(ctx).Result()
		mu.Lock()
		defer mu.Unlock()
		infos[node.Options().Addr] = text
		return err
	})
	switch {
	case refusedBy(err):
		d.found(Warning, "ACL SETUSER NAME +cluster|info; deploy/redis-users.acl has what each part of weir needs", "this user may not ask whether all slots are served: %w", err)
		return nil
	case err != nil:
		return err
	}
	for _, addr := range slices.Sorted(maps.Keys(infos)) {
		text := infos[addr]
		field := func(name string) string {
			_, rest, _ := strings.Cut(text, name+":")
			value, _, _ := strings.Cut(rest, "\r\n")
			return value
		}
		assigned, _ := strconv.Atoi(field("cluster_slots_assigned"))
		good, _ := strconv.Atoi(field("cluster_slots_ok"))
		if field("cluster_state") != "ok" || assigned < allSlots || good < allSlots {
			d.found(Problem, "redis-cli --cluster check "+addr+" tells which; redis-cli --cluster fix "+addr+" assigns them",
				"by the master at %s the cluster is %s: of %d slots %d are assigned, %d served; batches and lanes of the others stand still",
				addr, field("cluster_state"), allSlots, assigned, good)
		}
	}
	d.fine("%d masters serve all %d slots", len(infos), allSlots)
	return nil
}
