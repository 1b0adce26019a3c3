package gate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/queue"
)

// stolen lets another worker take a task that this one has: rescue gives it back, and
// the other takes it.
func (g *fixture) stolen(lane, id string) (lease string) {
	g.t.Helper()
	ctx := g.t.Context()
	leases, err := queue.Leases(ctx, g.c, lane)
	if err != nil {
		g.t.Fatal(err)
	}
	if back, err := queue.GiveBack(ctx, g.c, lane, id, leases[id]); !back || err != nil {
		g.t.Fatal(back, err)
	}
	other := g.sign - 1
	script := redis.NewScript(dequeueSrc)
	keys := []string{queue.Pending(lane), queue.Paused(lane), queue.Active(lane), queue.Lease(lane)}
	lease = other.Lease(time.Now().Add(30 * time.Second).Unix())
	if err := script.Run(ctx, g.c, keys, lease, queue.TaskPrefix(lane)).Err(); err != nil {
		g.t.Fatal(err)
	}
	return lease
}

// Whatever way the zombie's copy ends, the other's run stays as it is.
func TestAZombiesAckHurtsNobody(t *testing.T) {
	for how, end := range map[string]error{"done": nil, "retry": errors.New("no"), "archive": asynq.SkipRetry} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
				var lease string
				finish := make(chan struct{})
				g.serve(1, func(ctx context.Context, _ *asynq.Task) error {
					_, _, p := g.claimed(ctx)
					defer p.Release()
					<-finish
					return end
				})
				g.add("a", "1")
				time.Sleep(7 * time.Second)
				lease = g.stolen("a", "1")
				time.Sleep(7 * time.Second) // its heartbeat is not the other's
				check := func() {
					t.Helper()
					if leases, err := queue.Leases(t.Context(), g.c, "a"); err != nil || leases["1"] != lease {
						t.Errorf("the other's lease %s became %v, %v", lease, leases, err)
					}
				}
				check()
				g.Hold()
				close(finish)
				time.Sleep(time.Second)
				check()
				g.wantList(queue.Active("a"), "1")
				if n := g.c.Exists(t.Context(), queue.TaskPrefix("a")+"1").Val(); n != 1 {
					t.Error("its message is gone")
				}
				if n := g.c.ZCard(t.Context(), queue.Retry("a")).Val() + g.c.ZCard(t.Context(), queue.Archived("a")).Val(); n != 0 {
					t.Errorf("it is in %d other places", n)
				}
			})
		})
	}
}

// A worker that was frozen finds out at its first ack, before any heartbeat: its leases
// are old, or it is long since Redis heard of it.
func TestAFrozenWorkersFirstAckIsFenced(t *testing.T) {
	for name, c := range map[string]struct {
		beats  bool
		frozen time.Duration
	}{"leases": {false, frozen}, "beats": {true, heard + time.Second}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
				g.Start()
				g.add("a", "1", "2")
				g.want("1")
				g.Claim("a", "1").Release()
				g.want("2")
				if c.beats {
					g.Alive(time.Now())
				}
				time.Sleep(c.frozen)
				g.stolen("a", "1")
				for id, want := range map[string]bool{"1": true, "2": false} {
					keys := []string{queue.Active("a"), queue.Lease("a"), queue.TaskPrefix("a") + id}
					if fenced, _ := g.fenced(t.Context(), keys, []any{id}, false); fenced != want {
						t.Errorf("task %s: fenced %v", id, fenced)
					}
				}
			})
		})
	}
}

// What a worker takes that others believe to be dead, they give back at once.
func TestNothingIsTakenBeforeRedisKnowsThatThisWorkerLives(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.Start()
		g.Alive(time.Now())
		time.Sleep(heard)
		g.add("a", "1")
		g.wantNone()
		g.wantList(queue.Pending("a"), "1")
		go func() { time.Sleep(time.Second); g.Alive(time.Now()) }()
		began := time.Now()
		g.want("1")
		if d := time.Since(began); d != time.Second {
			t.Errorf("it came %v after the beat was missed", d)
		}
	})
}

// frozen is long enough for others to take a worker for dead.
const frozen = 12 * time.Second

func TestLeasesAreExtendedAsAsynqDoes(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		g.serve(1, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			defer p.Release()
			time.Sleep(70 * time.Second)
			return nil
		})
		g.add("a", "1")
		for range 12 {
			time.Sleep(5 * time.Second)
			score := g.c.ZScore(t.Context(), queue.Lease("a"), "1").Val()
			if left := time.Until(time.Unix(int64(score), 0)); left < 24*time.Second || left > 31*time.Second || !g.sign.Owns(score) {
				t.Errorf("its lease %v ends in %v", score, left)
			}
		}
		time.Sleep(15 * time.Second)
		if len(g.list(queue.Active("a"))) != 0 || len(g.held) != 0 {
			t.Errorf("active %v, held %v", g.list(queue.Active("a")), g.held)
		}
	})
}

func TestScriptsUseWhatTheirHeadersName(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("lua/*.lua")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	named := func(s string) []string {
		all := regexp.MustCompile(`\b(KEYS|ARGV)\[\d`).FindAllString(s, -1)
		slices.Sort(all)
		return slices.Compact(all)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		header, body := "", ""
		for line := range strings.Lines(string(src)) {
			if strings.HasPrefix(line, "--") {
				header += line
			} else {
				body += strings.ReplaceAll(line, "ARGV[i", "ARGV[3")
			}
		}
		if !strings.HasPrefix(header, "-- "+filepath.Base(file)+": ") {
			t.Errorf("%s begins with %q", file, header)
		}
		if !slices.Equal(named(header), named(body)) {
			t.Errorf("%s: the header names %v, the body uses %v", file, named(header), named(body))
		}
	}
}

// The ack came through and its reply was lost; until asynq sends it again the task's ID
// is that of a new delivery, as when a batch is stopped and gone on with.
func TestAnAckThatIsSentAgainHurtsNoLaterDelivery(t *testing.T) {
	inBubble(t, 1, Options{}, func(t *testing.T, g *fixture) {
		var lost atomic.Bool
		g.c.AddHook(losing{func(args []any) bool {
			return isAckCall(args, "a", "1") && lost.CompareAndSwap(false, true)
		}})
		var runs atomic.Int64
		g.serve(1, func(ctx context.Context, _ *asynq.Task) error {
			_, _, p := g.claimed(ctx)
			defer p.Release()
			if runs.Add(1) == 2 {
				time.Sleep(20 * time.Second)
			}
			return nil
		})
		g.add("a", "1")
		time.Sleep(2 * time.Second)
		if !lost.Load() || len(g.list(queue.Active("a"))) != 0 {
			t.Fatalf("reply lost: %v, active %v", lost.Load(), g.list(queue.Active("a")))
		}
		g.add("a", "1") // its ID is free
		for range 8 {
			time.Sleep(2 * time.Second) // asynq's syncer comes every 5 s
			g.wantList(queue.Active("a"), "1")
			if n := g.c.Exists(t.Context(), queue.TaskPrefix("a")+"1").Val(); n != 1 {
				t.Fatal("its message is gone")
			}
		}
		time.Sleep(10 * time.Second)
		if len(g.list(queue.Active("a"))) != 0 || runs.Load() != 2 || len(g.held) != 0 {
			t.Errorf("%d runs, active %v, held %v", runs.Load(), g.list(queue.Active("a")), g.held)
		}
	})
}
