package integration_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/queue"
)

// On a Cluster a lane's tasks are on all masters alike, and it is one lane all the same:
// with one limit, whole counts, and each task once, whatever its shards become meanwhile
// and whoever dies.
func TestAShardedLaneIsOneLaneOnAllMasters(t *testing.T) {
	t.Parallel()
	const n, limit = 5000, 8
	cluster := conntest.Cluster(t, 3)
	url, out := cluster.URL(), filepath.Join(t.TempDir(), "out.ndjson")
	service := newNarrow(t, 1000)
	const lane = "wide"
	for _, bad := range []string{"0", "65", "-1"} {
		producer(t, url, "lane", lane, "--shards="+bad).exits(t, 2).says(t, "--shards "+bad+": must be from 1 to 64")
	}
	producer(t, url, "lane", lane, "--shards", "12", "--limit", fmt.Sprint(limit)).exits(t, 0)
	run := func() *proc {
		return startProducer(t, url, "run", "http", "--lane", lane, "--repeat", fmt.Sprint(n), "--window", "1500", "--payload", fmt.Sprintf(`{"url":"%s/{n}"}`, service.URL), "--batch", "b", "--out", out)
	}
	first := run()
	client := open(t, url)
	eventually(t, long, func() bool { o, err := client.Lane(t.Context(), lane); return err == nil && o.Pending >= 1400 }, "the window is full")
	most, all := 0, 0
	for i, node := range cluster.Nodes {
		has := 0
		for it := node.Client().Scan(t.Context(), 0, queue.TaskPrefix(lane+"*")+"*", 1000).Iterator(); it.Next(t.Context()); {
			has++
		}
		t.Logf("master %d has %d tasks", i, has)
		most, all = max(most, has), all+has
	}
	if 3*most > all*115/100 {
		t.Errorf("one master has %d of %d tasks", most, all)
	}
	if says := producer(t, url, "explain", "b", "7").exits(t, 0).stdout; !strings.Contains(says, "It waits in lane "+lane+", where ") {
		t.Errorf("of a task that waits explain says:\n%s", says)
	}

	dying := startWorker(t, url, "--concurrency", "50")
	startWorker(t, url, "--concurrency", "50")
	eventually(t, long, func() bool { return linesOf(out) > 300 }, "some are done")
	dying.kill()
	first.kill()
	if peak := service.peak.Load(); peak > limit {
		t.Errorf("%d requests were in flight at once, of a lane with a limit of %d", peak, limit)
	}
	producer(t, url, "lane", lane, "--shards", "5", "--limit", "0").exits(t, 0)
	again := run()
	eventually(t, long, func() bool { return linesOf(out) > 900 || !again.running() }, "more are done")
	producer(t, url, "pause", "b").exits(t, 0)
	if s := status(t, url, "b"); s.Missing != 0 || s.Read != s.OK+s.inRedis() {
		t.Errorf("paused, it stands so: %+v", s)
	}
	producer(t, url, "lane", lane, "--shards", "1").exits(t, 0)
	producer(t, url, "resume", "b").exits(t, 0)
	again.waitAtMost(long).exits(t, 0)
	allOK(t, readOutcomes(t, out), n)
	status(t, url, "b").addsUp(t)
	eventually(t, long, func() bool { // a task leaves its queue after its outcome is there
		o, err := client.Lane(t.Context(), lane)
		must(t, err)
		return o.Pending+o.Active+o.Later == 0 && o.Shards == 1 && len(o.Queues) >= 12
	}, "the lane is empty, and knows of the queues it had")
}
