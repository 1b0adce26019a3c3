package conntest

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestServerDiesFreezesAndComesBack(t *testing.T) {
	ctx := context.Background()
	s := Server(t, "--appendonly", "yes", "--requirepass", "p w")
	c := s.Client()
	must(t, c.Set(ctx, "k", "v", 0).Err())
	// A real crash loses what everysec has not flushed to the file yet: write()
	// has happened before the reply, so a killed process loses nothing.
	s.Kill()
	s.Kill()
	s.Restart()
	if got := c.Get(ctx, "k").Val(); got != "v" {
		t.Fatalf("after Kill and Restart k is %q", got)
	}
	s.Freeze()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := c.Ping(short).Err(); err == nil {
		t.Fatal("a frozen server answered")
	}
	s.Thaw()
	must(t, c.Ping(ctx).Err())
}

func TestFrozenServerIsGoneAfterTheTest(t *testing.T) {
	var s *RealServer
	t.Run("inner", func(t *testing.T) { s = Server(t); s.Freeze() })
	if inlinePing(s.Addr()) != "" {
		t.Fatal("it still answers")
	}
}

func TestAFreePortIsOneTests(t *testing.T) {
	const n = 500 // of 22,000: one would come twice, by chance
	var first int
	t.Run("inner", func(t *testing.T) {
		first = FreePort(t)
		got := map[int]bool{first: true}
		for range n {
			got[FreePort(t)] = true
		}
		if len(got) != n+1 {
			t.Errorf("%d of %d ports came again", n+1-len(got), n+1)
		}
	})
	claim, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", first))
	must(t, err)
	must(t, claim.Close())
}

func TestBoth(t *testing.T) {
	Both(t, func(t *testing.T, c redis.UniversalClient) {
		ctx := context.Background()
		must(t, c.Set(ctx, "k", "v", 60*time.Millisecond).Err())
		Eventually(t, 5*time.Second, "the key expires", func(ctx context.Context) bool {
			return c.Exists(ctx, "k").Val() == 0
		})
	})
}
