package integration_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// A Redis that was killed comes back without its last writes, as it does with
// appendfsync everysec on a slow disk: the producer itself feeds again what is
// missing, the batch ends complete, and its file has every outcome once. The end of
// the append-only file is cut off at where it was some time before.
func TestARedisThatForgetsItsLastWritesIsFedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		window string
		args   []string
	}{
		{"while the batch is open", "50", nil},
		{"when it has been sealed", "100000", nil},
		{"in order", "50", []string{"--ordered"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const n, rollbacks = 4000, 3
			server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
			startWorker(t, server.URL(), "--concurrency", "10")
			startWorker(t, server.URL(), "--concurrency", "10")
			out := filepath.Join(t.TempDir(), "out.ndjson")
			p := startProducer(t, server.URL(), append([]string{"run", "sleep", "--batch", "b", "--repeat", strconv.Itoa(n),
				"--payload", sleepOf(30 * time.Millisecond), "--window", c.window, "--out", out}, c.args...)...)
			file := func() string {
				found, err := filepath.Glob(filepath.Join(server.Dir(), "appendonlydir", "*.incr.aof"))
				must(t, err)
				if len(found) != 1 {
					t.Fatalf("append-only files %q", found)
				}
				return found[0]
			}
			forgotten := 0
			for i := range rollbacks {
				awaitStanding(t, server.URL(), "b", "some more are done", func(s standing) bool { return s.OK >= int64(240*(i+1)) })
				old, err := os.Stat(file())
				must(t, err)
				do(t, server, "SET", "later", i)
				before := standingNow(t, server.URL(), "b")
				awaitStanding(t, server.URL(), "b", "100 more are done", func(s standing) bool { return s.OK >= before.OK+100 })
				server.Kill()
				must(t, os.Truncate(file(), old.Size()))
				server.Restart()
				if server.Client().Exists(t.Context(), "later").Val() == 0 {
					forgotten++
				}
			}
			r := p.wait().exits(t, 0)
			t.Logf("100 outcomes or more were forgotten in %d of %d kills; the producer fed again %d times, done in %v",
				forgotten, rollbacks, strings.Count(r.stderr, "what it has forgotten of the batch is fed again"), r.took.Round(100*time.Millisecond))
			all := readOutcomes(t, out)
			allOK(t, all, n)
			if len(c.args) > 0 {
				inOrder(t, all)
			}
			status(t, server.URL(), "b").addsUp(t)
			if forgotten < rollbacks {
				t.Error("Redis has not forgotten enough to tell")
			}
		})
	}
}

// standingNow is how a batch stands.
func standingNow(t *testing.T, url, name string) (now standing) {
	t.Helper()
	awaitStanding(t, url, name, "there is a batch", func(s standing) bool { now = s; return true })
	return now
}

// A full disk under Redis itself: it refuses writes until there is room.
func TestARedisWithAFullDiskIsWaitedOut(t *testing.T) {
	t.Parallel()
	const n = 4000
	disk := smallDisk(t)
	mount(t, "-o", "remount,size=1m", disk)
	server := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0", "--dir", disk)
	t.Cleanup(server.Kill) // before the disk is unmounted
	startWorker(t, server.URL(), "--concurrency", "20")
	p := startProducer(t, server.URL(), "run", "sleep", "--batch", "b", "--window", "200", "--repeat", strconv.Itoa(n), "--payload", sleepOf(2*time.Millisecond))
	p.logs("it refuses writes because it cannot save to disk; free disk space where Redis runs")
	mount(t, "-o", "remount,size=64m", disk)
	r := p.wait().exits(t, 0)
	r.says(t, "Redis answers again")
	allOK(t, r.outcomes(t), n)
	status(t, server.URL(), "b").addsUp(t)
}

// Whatever the network does to a worker or to the producer for a while, the batch
// ends, each task has one outcome, and none has spent an attempt.
func TestABatchSurvivesABadNetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		bad  func(n *network)
	}{
		{"partition", func(n *network) { n.cut() }},
		{"resets", func(n *network) {
			for range 10 {
				n.reset()
				time.Sleep(100 * time.Millisecond) // the fault itself
			}
		}},
		{"latency of 300 ms", func(n *network) { n.delay(300) }},
		{"1 KB per second", func(n *network) { n.throttle(replies, 1) }},
		{"half-open, replies lost", func(n *network) { n.swallow(replies) }},
		{"half-open, requests lost", func(n *network) { n.swallow(requests) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const n = 2000
			server := durable(t)
			bad, worse := networkTo(t, server.Addr()), networkTo(t, server.Addr())
			startWorker(t, bad.url(), "--concurrency", "10")
			startWorker(t, server.URL(), "--concurrency", "10")
			p := startProducer(t, worse.url(), "run", "sleep", "--batch", "b", "--repeat", strconv.Itoa(n), "--window", "200", "--payload", sleepOf(30*time.Millisecond))
			p.prints(100)
			for _, network := range []*network{bad, worse} {
				before := standingNow(t, server.URL(), "b").OK
				c.bad(network)
				began := time.Now()
				// At least 50 more by the good worker, and time enough to be noticed.
				// A producer that is cut off leaves them what it has enqueued, and no more.
				awaitStanding(t, server.URL(), "b", "the rest goes on", func(s standing) bool {
					nothingLeft := network == worse && s.inRedis() == 0
					return (s.OK >= min(before+50, n) || nothingLeft) && time.Since(began) > 3*time.Second || s.OK == n
				})
				network.mend()
			}
			healed := time.Now()
			r := p.wait().exits(t, 0)
			t.Logf("done %.1f s after the network was well again, %.1f s in all", time.Since(healed).Seconds(), r.took.Seconds())
			all := r.outcomes(t)
			allOK(t, all, n)
			onceEach(t, all)
			status(t, server.URL(), "b").addsUp(t)
		})
	}
}

// Two thousand idle connections to a Redis that allows a hundred: who is connected
// goes on, who is not waits and says why.
func TestAFloodOfConnectionsIsWaitedOut(t *testing.T) {
	t.Parallel()
	const n = 3000
	server := conntest.Server(t, "--maxclients", "100")
	startWorker(t, server.URL(), "--concurrency", "10")
	p := startProducer(t, server.URL(), "run", "sleep", "--batch", "b", "--window", "100", "--repeat", strconv.Itoa(n), "--payload", sleepOf(20*time.Millisecond))
	p.prints(50)
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			_ = c.Close()
		}
	}()
	refused := 0
	for range 2000 {
		c, err := net.DialTimeout("tcp", server.Addr(), 30*time.Second)
		must(t, err)
		idle = append(idle, c)
	}
	late := start(t, command("worker", server.URL(), "--concurrency", "10"))
	late.logs("Redis does not answer; trying again until it does")
	for _, c := range idle {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if reply, _ := io.ReadAll(c); strings.HasPrefix(string(reply), "-ERR max number of clients") {
			refused++
		}
	}
	for _, c := range idle {
		_ = c.Close()
	}
	late.logs("worker started")
	allOK(t, p.wait().exits(t, 0).outcomes(t), n)
	status(t, server.URL(), "b").addsUp(t)
	t.Logf("%d of 2000 connections were refused", refused)
	if refused < 1500 {
		t.Errorf("%d of 2000 connections were refused: no flood", refused)
	}
}

// Told to stop while Redis is frozen, worker and producer are gone within 10 s, and
// nothing is lost.
func TestSIGTERMWithAFrozenRedisIsObeyedWithin10Seconds(t *testing.T) {
	t.Parallel()
	const n = 2000
	server := durable(t)
	worker := startWorker(t, server.URL(), "--concurrency", "10")
	idle := startWorker(t, server.URL(), "--lanes", "other")
	out := filepath.Join(t.TempDir(), "out.ndjson")
	args := []string{"run", "sleep", "--batch", "b", "--window", "100", "--repeat", strconv.Itoa(n), "--payload", sleepOf(50 * time.Millisecond), "--out", out}
	p := startProducer(t, server.URL(), args...)
	awaitStanding(t, server.URL(), "b", "some are done", func(s standing) bool { return s.OK >= 50 })
	follower := startProducer(t, server.URL(), "follow", "b")
	follower.prints(1)
	server.Freeze()
	p.logs("no answer in time")
	waiting := start(t, command("worker", server.URL()))
	waiting.logs("no answer in time")
	began := time.Now()
	leaving := map[string]*proc{"worker": worker, "idle worker": idle, "worker that waits for Redis": waiting, "producer": p, "follower": follower}
	for _, one := range leaving {
		one.signal(syscall.SIGTERM)
	}
	for name, one := range leaving {
		r := one.wait()
		took := r.took - began.Sub(one.began)
		t.Logf("%s: gone %.1f s after SIGTERM with status %d", name, took.Seconds(), r.code)
		if took > 13*time.Second { // 10 are promised, of a machine with time for it
			t.Errorf("%s took %.1f s", name, took.Seconds())
		}
		if r.code != 130 && (r.code != 0 || one == p || one == follower) {
			t.Errorf("%s ended with status %d", name, r.code)
		}
	}
	server.Thaw()
	startWorker(t, server.URL(), "--concurrency", "50")
	producer(t, server.URL(), args...).exits(t, 0)
	allOK(t, readOutcomes(t, out), n)
	status(t, server.URL(), "b").addsUp(t)
}
