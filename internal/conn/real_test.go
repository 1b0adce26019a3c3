package conn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// answers opens a URL and uses it, as weir does: Ready, then a write.
func answers(t *testing.T, rawURL string) (redis.UniversalClient, error) {
	t.Helper()
	c, err := conn.Open(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := conn.Ready(ctx, c, rawURL, nil); err != nil {
		return c, err
	}
	return c, conn.Explain(c.Set(ctx, "weir:test", "x", 0).Err(), rawURL)
}

func works(t *testing.T, rawURL string) redis.UniversalClient {
	t.Helper()
	c, err := answers(t, rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fails checks the one line that people get, and that it comes at once.
func fails(t *testing.T, rawURL, says string) {
	t.Helper()
	start := time.Now()
	_, err := answers(t, rawURL)
	if err == nil {
		t.Fatalf("%s: works", conn.Redact(rawURL))
	}
	if msg := err.Error(); !strings.Contains(msg, says) || strings.ContainsAny(msg, "\n") || strings.Contains(msg, "SECRET") {
		t.Errorf("%s: says %q, want %q in it", conn.Redact(rawURL), msg, says)
	}
	if !conn.Permanent(err) {
		t.Errorf("%s: waits for %v", conn.Redact(rawURL), err)
	}
	if d := time.Since(start); d > 4*time.Second {
		t.Errorf("%s: took %v", conn.Redact(rawURL), d)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t, "--requirepass", "p@ss/w%rd")
	works(t, s.URL())
	works(t, "redis://default:p%40ss%2Fw%25rd@"+s.Addr()+"/3")
	fails(t, "redis://:SECRET@"+s.Addr(), "wrong user or password")
	fails(t, "redis://"+s.Addr(), "it asks for a password; write it into the URL")
	fails(t, strings.Replace(s.URL(), "redis:", "redis-cluster:", 1), "it is not a Redis Cluster; write redis://")
	fails(t, strings.Replace(s.URL(), "redis:", "redis-sentinel:", 1)+"/m", "it is not a Sentinel; write redis://")
	fails(t, s.URL()+"/99", "no database of that number")
}

func TestACLUser(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t,
		"--user", "weir", "on", ">SECRET", "~weir:*", "~asynq:*", "&*", "+@all", "-config", "-info",
		"--user", "poor", "on", ">SECRET", "~*", "&*", "-@all")
	c := works(t, "redis://weir:SECRET@"+s.Addr())
	fails(t, "redis://nobody:SECRET@"+s.Addr(), "wrong user or password")
	fails(t, "redis://poor:SECRET@"+s.Addr(), "its ACL must allow")

	found, err := conn.Check(context.Background(), c)
	if err != nil || len(found) != 1 || found[0].Fatal || !strings.Contains(found[0].Remedy, "+info") {
		t.Errorf("without the right to INFO: %v, %v", found, err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "weir") // a TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "r.sock")
	conntest.Server(t, "--unixsocket", path, "--maxmemory-policy", "allkeys-lru")
	c := works(t, "unix://"+path+"?db=2")
	found, err := conn.Check(context.Background(), c)
	if err != nil || len(found) == 0 || found[0].Remedy != "redis-cli -s "+path+" CONFIG SET maxmemory-policy noeviction" {
		t.Errorf("%v, %v", found, err)
	}
}

func TestNotRedis(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	addr := web.Listener.Addr().String()
	fails(t, "redis://"+addr, "does not speak Redis' protocol")
	fails(t, "rediss://"+addr, "it does not speak TLS; write redis://")
}

func TestReadyWaitsForAServerThatStartsLater(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t)
	s.Kill()
	c := s.Client()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var last time.Duration
	calls := 0
	err := conn.Ready(ctx, c, s.URL(), func(err error, next time.Duration) {
		if want := "redis at " + s.Addr() + ": connection refused; is redis-server running there?"; err.Error() != want {
			t.Errorf("says %q", err)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v: does not wrap its cause", err)
		}
		if next < last || next > 10*time.Second {
			t.Errorf("waits %v after %v", next, last)
		}
		last = next
		if calls++; calls == 3 {
			s.Restart()
		}
	})
	if err != nil || calls != 3 {
		t.Errorf("%v after %d failures", err, calls)
	}
}

func TestReadyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	rawURL := fmt.Sprintf("redis://:SECRET@127.0.0.1:%d", conntest.FreePort(t))
	c, err := conn.Open(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	start := time.Now()
	err = conn.Ready(ctx, c, rawURL, nil)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ECONNREFUSED) || conn.Permanent(err) {
		t.Errorf("%v", err)
	}
	if want := "connection refused; is redis-server running there? (gave up: context deadline exceeded)"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("says %q", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	cancel()
	if err = conn.Ready(ctx, c, rawURL, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a context that had ended: %v", err)
	}
}

func TestFrozenServerIsReported(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t)
	rawURL := s.URL() + "?read_timeout=100ms"
	c := works(t, rawURL)
	s.Freeze()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := conn.Ready(ctx, c, rawURL, func(err error, _ time.Duration) {
		if !strings.Contains(err.Error(), "no answer in time; is it overloaded") {
			t.Errorf("says %q", err)
		}
		s.Thaw()
	})
	if err != nil {
		t.Error(err)
	}
}

// A server that hangs up, or says nothing to a TLS client.
func TestPlainAndTLSMixedUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	rawURL := "redis://" + l.Addr().String()
	c, err := conn.Open(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = conn.Explain(c.Ping(context.Background()).Err(), rawURL)
	if err == nil || !strings.Contains(err.Error(), "if this is a TLS port, write rediss://") {
		t.Errorf("says %v", err)
	}

	s := conntest.Server(t)
	rawURL = strings.Replace(s.URL(), "redis:", "rediss:", 1) + "?dial_timeout=100ms"
	if c, err = conn.Open(rawURL); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = conn.Explain(c.Ping(context.Background()).Err(), rawURL)
	if err == nil || !strings.Contains(err.Error(), "write redis://") {
		t.Errorf("says %v", err)
	}
}

// works0 only opens.
func works0(t *testing.T, rawURL string) redis.UniversalClient {
	t.Helper()
	c, err := conn.Open(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
