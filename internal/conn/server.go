package conn

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// server is what one node tells about itself.
type server struct {
	addr   string
	tls    bool
	info   map[string]string
	policy string // maxmemory-policy; empty when it does not tell
	aof    string // "1" or "yes", "0" or "no"; empty when it does not tell
}

func parseInfo(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			m[k] = v
		}
	}
	return m
}

// ask takes a setting from INFO or, where INFO lacks it, from CONFIG.
func (s *server) ask(ctx context.Context, node *redis.Client, field, setting string) string {
	if v := s.info[field]; v != "" {
		return v
	}
	m, _ := node.ConfigGet(ctx, setting).Result() // may be forbidden; then it stays unknown
	return m[setting]
}

func (s *server) fatal(what, remedy string) Problem {
	return Problem{Fatal: true, What: "redis at " + s.addr + " " + what, Remedy: remedy}
}

func (s *server) warning(what, remedy string) Problem {
	return Problem{What: "redis at " + s.addr + " " + what, Remedy: remedy}
}

// cli is the redis-cli command line that reaches this server; a password is the
// reader's to add.
func (s *server) cli(command string) string {
	line := "redis-cli"
	host, port, err := net.SplitHostPort(s.addr)
	switch {
	case strings.HasPrefix(s.addr, "/"):
		line += " -s " + s.addr
	case err == nil:
		if host != "127.0.0.1" && host != "localhost" {
			line += " -h " + host
		}
		if port != "6379" {
			line += " -p " + port
		}
	}
	if s.tls {
		line += " --tls"
	}
	return line + " " + command
}

func (s *server) checkMode(isCluster bool) []Problem {
	switch mode := s.info["redis_mode"]; {
	case mode == "sentinel":
		return []Problem{s.fatal("is a Sentinel, which holds no data", "write redis-sentinel://host:port/mastername")}
	case mode == "cluster" && !isCluster:
		return []Problem{s.fatal("is one node of a Redis Cluster", "write redis-cluster:// instead of redis://")}
	}
	return nil
}

const minMajor, minMinor = 6, 2

func (s *server) checkVersion() []Problem {
	v := s.info["redis_version"]
	if v == "" {
		return []Problem{s.warning(fmt.Sprintf("does not tell its version; %d.%d or later is needed", minMajor, minMinor), "")}
	}
	major, rest, _ := strings.Cut(v, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	if a > minMajor || a == minMajor && b >= minMinor {
		return nil
	}
	return []Problem{s.fatal(fmt.Sprintf("is version %s; %d.%d or later is needed", v, minMajor, minMinor),
		"upgrade it, or run another: docker run redis:7 --appendonly yes --maxmemory-policy noeviction")}
}

func (s *server) checkRole() []Problem {
	if s.info["role"] != "slave" {
		return nil
	}
	remedy := "give the master's address in the URL"
	if h, p := s.info["master_host"], s.info["master_port"]; h != "" {
		remedy += ": " + net.JoinHostPort(h, p)
	}
	return []Problem{s.fatal("is a read-only replica", remedy)}
}

// checkEviction: under any other policy Redis may drop a lease, a bitmap of
// outcomes or a task without a trace.
func (s *server) checkEviction(ctx context.Context, node *redis.Client) []Problem {
	switch s.policy {
	case "noeviction":
		return nil
	case "":
		return []Problem{s.warning("does not tell its maxmemory-policy, which must be noeviction", "")}
	}
	remedy := s.cli("CONFIG SET maxmemory-policy noeviction")
	if node.ConfigGet(ctx, "maxmemory-policy").Err() != nil {
		remedy = "set maxmemory-policy to noeviction where this Redis is managed (CONFIG is closed to this user)"
	}
	return []Problem{s.fatal("may evict tasks when memory runs short (maxmemory-policy "+s.policy+")", remedy)}
}

func (s *server) checkPersistence() []Problem {
	var all []Problem
	switch s.aof {
	case "1", "yes":
		if s.info["aof_last_write_status"] == "err" {
			all = append(all, s.fatal("cannot write its append-only file and refuses writes", "free disk space where it runs, see its log"))
		}
	case "":
		all = append(all, s.warning("does not tell whether it keeps an append-only file", ""))
	default:
		all = append(all, s.warning("keeps no append-only file: a restart of it loses tasks and outcomes",
			s.cli("CONFIG SET appendonly yes")))
	}
	if s.info["rdb_last_bgsave_status"] == "err" {
		all = append(all, s.warning("could not save its last snapshot and may refuse writes", "free disk space where it runs, see its log"))
	}
	return all
}

// nodeAddr is where a node is. The client of a Sentinel URL does not know: the
// server does.
func nodeAddr(ctx context.Context, node *redis.Client) string {
	addr := node.Options().Addr
	if addr != "FailoverClient" {
		return addr
	}
	if info, err := node.ClientInfo(ctx).Result(); err == nil && info.LAddr != "" {
		return info.LAddr
	}
	return "the Sentinels' master"
}
