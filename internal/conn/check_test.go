package conn_test

import (
	"context"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func lines(ps []conn.Problem) string {
	var b strings.Builder
	for _, p := range ps {
		if p.Fatal {
			b.WriteString("FATAL ")
		}
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := conntest.Server(t, "--appendonly", "yes")
	c := s.Client()
	if found, err := conn.Check(ctx, c); err != nil || len(found) != 0 {
		t.Fatalf("a good server: %s %v", lines(found), err)
	}
	_, port, _ := strings.Cut(s.Addr(), ":")
	at := "redis at " + s.Addr() + " "

	c.ConfigSet(ctx, "appendonly", "no")
	c.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru")
	found, err := conn.Check(ctx, c)
	want := "FATAL " + at + "may evict tasks when memory runs short (maxmemory-policy allkeys-lru)" +
		"; mend it: redis-cli -p " + port + " CONFIG SET maxmemory-policy noeviction\n" +
		at + "keeps no append-only file: a restart of it loses tasks and outcomes" +
		"; mend it: redis-cli -p " + port + " CONFIG SET appendonly yes\n"
	if err != nil || lines(found) != want {
		t.Errorf("got:\n%s%v\nwant:\n%s", lines(found), err, want)
	}
	c.ConfigSet(ctx, "maxmemory-policy", "noeviction")
	c.ConfigSet(ctx, "appendonly", "yes")

	c.Do(ctx, "REPLICAOF", "127.0.0.1", "1")
	found, err = conn.Check(ctx, c)
	want = "FATAL " + at + "is a read-only replica; mend it: give the master's address in the URL: 127.0.0.1:1\n"
	if err != nil || lines(found) != want {
		t.Errorf("got:\n%s%v\nwant:\n%s", lines(found), err, want)
	}
	if msg := conn.Explain(c.Set(ctx, "weir:x", 1, 0).Err(), s.URL()).Error(); !strings.Contains(msg, "read-only replica") {
		t.Errorf("a write to a replica says %q", msg)
	}

	s.Kill()
	if _, err = conn.Check(ctx, c); err == nil || !strings.HasPrefix(err.Error(), "redis at "+s.Addr()+": ") {
		t.Errorf("a dead server: %v", err)
	}
}

func TestCheckWhereConfigIsForbidden(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t, "--maxmemory-policy", "volatile-ttl", "--user", "weir", "on", ">pw", "~*", "&*", "+@all", "-config")
	c := works(t, "redis://weir:pw@"+s.Addr())
	found, err := conn.Check(context.Background(), c)
	if err != nil || len(found) != 2 || !found[0].Fatal || !strings.Contains(found[0].Remedy, "where this Redis is managed") {
		t.Errorf("%s%v", lines(found), err)
	}
}

func TestCheckOfMiniredisDoesNotPanic(t *testing.T) {
	t.Parallel()
	found, err := conn.Check(context.Background(), conntest.Mini(t))
	if err != nil {
		t.Error(err)
	}
	for _, p := range found {
		if p.Fatal {
			t.Errorf("fatal: %v", p)
		}
	}
}
