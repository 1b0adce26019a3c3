package work

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

func TestANameHasOneHolder(t *testing.T) {
	t.Parallel()
	conntest.Both(t, func(t *testing.T, c redis.UniversalClient) {
		as := func(id string, mark queue.Mark) *named { return &named{rdb: c, name: "pod", id: id, mark: mark} }
		take := func(n *named, want queue.Mark) {
			t.Helper()
			if before, err := n.take(t.Context()); before != want || err != nil {
				t.Fatalf("%s: %v, %v; want %v", n.id, before, err, want)
			}
		}
		first := as("other-host:1:a", 7)
		take(first, 0)
		take(first, 0) // a lost reply

		// While it gives signs of life nobody else gets the name.
		ctx, cancel := context.WithCancel(t.Context())
		kept := make(chan struct{})
		go func() { defer close(kept); first.run(ctx) }()
		var taken *NameTakenError
		if _, err := as("third:1:b", 8).take(t.Context()); !errors.As(err, &taken) || taken.Holder != "other-host:1" {
			t.Errorf("%v", err)
		}
		cancel()
		<-kept
		take(as("third:1:b", 8), 0) // the first has left

		// One that died elsewhere is waited for, one that died here is not.
		start := time.Now()
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		take(as(host+":999999999:c", 9), 8)
		if waited := time.Since(start); waited < namePatience {
			t.Errorf("it waited %v only", waited)
		}
		start = time.Now()
		take(as("fifth:1:d", 10), 9)
		if waited := time.Since(start); waited > namePatience {
			t.Errorf("it waited %v for one whose process is gone", waited)
		}
		if ttl := c.PTTL(t.Context(), "weir:worker:pod").Val(); ttl <= 0 || ttl > nameKept {
			t.Errorf("the record stays for %v", ttl)
		}
	})
}

func TestNameScriptsHeaderSaysWhatItNames(t *testing.T) {
	t.Parallel()
	header, body, _ := strings.Cut(nameSrc, "\nlocal ")
	for _, arg := range []string{"KEYS[1]", "ARGV[1]", "ARGV[2]", "ARGV[3]", "ARGV[4]"} {
		if !strings.Contains(header, arg) || !strings.Contains(body, arg) {
			t.Errorf("%s is not in both", arg)
		}
	}
}
