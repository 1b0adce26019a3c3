package conn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestExplain(t *testing.T) {
	const raw = "redis://bob:SECRET@h:6379"
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7001}, Err: err}
	}
	sys := func(n syscall.Errno) error { return dial(os.NewSyscallError("connect", n)) }
	for _, c := range []struct {
		err       error
		raw       string
		says      string
		permanent bool
	}{
		{sys(syscall.ECONNREFUSED), raw, "redis at h:6379: connection refused; is redis-server running there?", false},
		{sys(syscall.ECONNREFUSED), "redis-cluster://h:1,i:2", "redis at 10.0.0.1:7001: connection refused", false},
		{sys(syscall.ENOENT), "unix:///tmp/r.sock", "redis at /tmp/r.sock: no such socket", false},
		{sys(syscall.EMFILE), raw, "ulimit -n", false},
		{dial(&net.DNSError{Name: "nix", IsNotFound: true}), raw, "no such host nix", false},
		{dial(&net.DNSError{Name: "nix", Err: "server misbehaving"}), raw, "cannot be looked up: server misbehaving", false},
		{dial(os.ErrDeadlineExceeded), raw, "no answer to the connection attempt", false},
		{os.ErrDeadlineExceeded, raw, "no answer in time; is it overloaded", false},
		{context.DeadlineExceeded, "rediss://h", "does it speak TLS there? if not, write redis://", false},
		{context.Canceled, raw, "cancelled", false},
		{io.EOF, raw, "if this is a TLS port, write rediss://", false},
		{io.EOF, "rediss://h", "redis at h:6379: it closed the connection", false},
		{redis.ErrPoolTimeout, raw, "raise pool_size", false},
		{redis.ErrClosed, raw, "the client is closed", true},
		{x509.UnknownAuthorityError{}, "rediss://h", "ca=/path.pem", true},
		{errors.New("remote error: tls: certificate required"), "rediss://h", "refused our side of TLS: certificate required", true},
		{redisError("NOPERM this user has no permissions to run the 'ping' command"), raw, "this user has no permissions to run the 'ping' command; its ACL", true},
		{redisError("OOM command not allowed when used memory > 'maxmemory'."), raw, "it is out of memory (maxmemory)", false},
		{redisError("READONLY You can't write against a read only replica."), raw, "read-only replica", false},
		{redisError("LOADING Redis is loading the dataset in memory"), raw, "still loading", false},
		{redisError("MISCONF Redis is configured to save RDB snapshots"), raw, "cannot save to disk", false},
		{redisError("CLUSTERDOWN Hash slot not served"), raw, "Hash slot not served; see redis-cli CLUSTER INFO", false},
		{redisError("MOVED 1 127.0.0.1:1"), raw, "write redis-cluster://", true},
		{redisError("DENIED Redis is running in protected mode\nbecause"), raw, "protected mode", true},
		{redisError("ERR max number of clients reached"), raw, "maxclients", false},
		{redisError("ERR unknown command 'AUTH', with args beginning with: 'bob' 'SECRET' "), raw, "unknown command 'AUTH'", false},
		{redisError("SOMETHING new\r\nabout SECRET"), raw, "redis at h:6379: SOMETHING new about ***", false},
		{fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", redis.Nil),
			"redis-sentinel://h/nix", "the Sentinels know no master named nix", true},
		{fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", redisError("NOAUTH Authentication required.")),
			"redis-sentinel://h/m", "check sentinel_username and sentinel_password", true},
	} {
		got := Explain(c.err, c.raw)
		s := got.Error()
		if !strings.Contains(s, c.says) || !strings.HasPrefix(s, "redis at ") || strings.ContainsAny(s, "\r\n") || strings.Contains(s, "SECRET") {
			t.Errorf("%v: says %q, want %q in it", c.err, s, c.says)
		}
		if Permanent(got) != c.permanent || Permanent(fmt.Errorf("start: %w", got)) != c.permanent {
			t.Errorf("%v: permanent is %v", c.err, !c.permanent)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%v: not wrapped", c.err)
		}
		if again := Explain(got, c.raw); again != got {
			t.Errorf("%v: explained twice: %v", c.err, again)
		}
	}
	if Explain(nil, raw) != nil || Explain(redis.Nil, raw) != redis.Nil {
		t.Error("nil and redis.Nil are no errors")
	}
}
