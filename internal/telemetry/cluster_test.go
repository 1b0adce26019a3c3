package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/gate"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/work"
)

func always(s *lane.Signal) Signal {
	return func(context.Context, lane.Cluster) (*lane.Signal, error) { return s, nil }
}

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// However many are asked, one tells; when it ends another one does, and when it dies, too.
func TestOneProcessTellsOfTheCluster(t *testing.T) {
	server := conntest.Server(t)
	rdb := server.Client()
	all := make([]*cluster, 5)
	for i := range all {
		all[i] = newCluster(rdb, quiet, always(&lane.Signal{Wanted: 3}))
	}
	telling := func() (who []int) {
		for i, c := range all {
			if got := series(t, c, workersWanted); got[""] == 3 {
				who = append(who, i)
			}
		}
		return who
	}
	for range 3 {
		if got := telling(); !slices.Equal(got, []int{0}) {
			t.Fatalf("telling are %v", got)
		}
	}
	all[0].cease()
	all[0].id = "gone"
	all = append(all[1:], all[0])
	if got := telling(); !slices.Equal(got, []int{0}) {
		t.Errorf("when the first one has ended, telling are %v", got)
	}
	left, err := rdb.PTTL(t.Context(), speakerKey).Result()
	if err != nil || left <= 0 || left > speaks {
		t.Errorf("a speaker that dies is one for %v, %v", left, err)
	}
	all = all[1:]
	rdb.Del(t.Context(), speakerKey) // as if that were over
	if got := telling(); !slices.Equal(got, []int{0}) {
		t.Errorf("when the second one has died, telling are %v", got)
	}
}

// Who may only read cannot be the speaker, and speaks all the same.
func TestWhoMayOnlyReadSpeaks(t *testing.T) {
	server := conntest.Server(t)
	if err := server.Client().Do(t.Context(), "ACL", "SETUSER", "reader", "on", ">pw", "~*", "-@all", "+@read", "+@connection", "+eval", "+evalsha", "+info", "+time").Err(); err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL("redis://reader:pw@" + server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close()
	c := newCluster(rdb, quiet, always(&lane.Signal{Wanted: 3}))
	for range 2 {
		if got := series(t, c, workersWanted); got[""] != 3 {
			t.Fatalf("it tells %v", got)
		}
	}
	log, err := server.Client().Do(t.Context(), "ACL", "LOG").Slice()
	if err != nil || len(log) != 1 {
		t.Errorf("it has tried %d times, %v", len(log), err)
	}
}

// Scrapes by many, often, cost Redis a view each 5 s and a command for each scrape.
func TestReadingTheClusterIsBounded(t *testing.T) {
	server := conntest.Server(t)
	rdb := server.Client()
	all := make([]*cluster, 10)
	for i := range all {
		all[i] = newCluster(rdb, quiet, always(&lane.Signal{}))
	}
	reads := 0
	all[0].signal = func(context.Context, lane.Cluster) (*lane.Signal, error) {
		reads++
		return &lane.Signal{}, nil
	}
	before := commands(t, rdb)
	const scrapes = 20
	for range scrapes {
		for _, c := range all {
			series(t, c, allBacklog)
		}
	}
	if reads != 1 {
		t.Errorf("it was read %d times", reads)
	}
	if n := commands(t, rdb) - before; n > scrapes*len(all)*4+100 { // a script's own commands count
		t.Errorf("%d scrapes by %d cost %d commands", scrapes, len(all), n)
	}
	all[0].next = time.Time{}
	series(t, all[0], allBacklog)
	if reads != 2 {
		t.Errorf("when it is time it was read %d times", reads)
	}
}

func commands(t *testing.T, rdb redis.UniversalClient) (n int) {
	t.Helper()
	text, err := rdb.Info(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`total_commands_processed:(\d+)`).FindStringSubmatch(text)
	_, _ = fmt.Sscan(found[1], &n)
	return n
}

// A read that had nothing is repeated soon, then less often; one that took long, later.
func TestReadingAgainWaitsAsItShould(t *testing.T) {
	for i, want := range []time.Duration{10, 20, 40, 60, 60} {
		if got := rest(viewIn, i+1); got != want*time.Second {
			t.Errorf("after %d failures the wait is %v, want %v s", i+1, got, want)
		}
	}
	for took, want := range map[time.Duration]time.Duration{0: viewKept, 100 * time.Millisecond: viewKept, 300 * time.Millisecond: 12 * time.Second, viewIn: longest} {
		if got := rest(took, 0); got != want {
			t.Errorf("after a read that took %v the wait is %v, want %v", took, got, want)
		}
	}
	server := conntest.Server(t)
	c := newCluster(server.Client(), quiet, always(&lane.Signal{}))
	c.free = true // it need not ask Redis whether it speaks
	read := func() time.Duration {
		c.next = time.Time{}
		c.look()
		return time.Until(c.next)
	}
	if wait := read(); wait <= 0 || c.view == nil || c.failed != 0 {
		t.Errorf("after a read the wait is %v", wait)
	}
	server.Kill()
	if wait := read(); wait <= viewKept || wait > 10*time.Second || c.view != nil || c.failed != 1 {
		t.Errorf("after a failure the wait is %v, with a view: %t, failed %d times", wait, c.view != nil, c.failed)
	}
}

// Whatever cannot be read hides nothing else. It is counted, and logged when it begins.
func TestAPartThatFailsHidesNoOther(t *testing.T) {
	spoil := func(key string) func(*testing.T, redis.UniversalClient, *cluster) {
		return func(t *testing.T, rdb redis.UniversalClient, _ *cluster) {
			if err := rdb.Set(t.Context(), key, "x", 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	metricOf := map[string]string{partWorkers: workers, partLanes: allBacklog, partBatches: batches, partMissing: batchesMissing, partMemory: memoryUsed}
	for name, c := range map[string]struct {
		fault func(*testing.T, redis.UniversalClient, *cluster)
		fail  []string
		lack  []string
	}{
		"signal": {func(_ *testing.T, _ redis.UniversalClient, c *cluster) {
			c.signal = func(context.Context, lane.Cluster) (*lane.Signal, error) { return nil, errors.New("broken") }
		}, []string{partLanes}, []string{partLanes}},
		"workers": {spoil("asynq:servers"), []string{partWorkers, partLanes}, []string{partWorkers, partLanes}},
		"batches": {func(t *testing.T, rdb redis.UniversalClient, c *cluster) {
			rdb.Del(t.Context(), "weir:batches")
			spoil("weir:batches")(t, rdb, c)
		}, []string{partBatches, partMissing}, []string{partBatches, partMissing}},
		"count": {func(t *testing.T, rdb redis.UniversalClient, c *cluster) {
			rdb.Del(t.Context(), "weir:{b}:lanes")
			spoil("weir:{b}:lanes")(t, rdb, c)
		}, []string{partMissing}, nil},
		"a newer batch": {func(t *testing.T, rdb redis.UniversalClient, _ *cluster) {
			rdb.HSet(t.Context(), "weir:{b}:batch", "format", 99)
		}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := conntest.Server(t).Client()
			if _, err := batch.NewLedger(rdb).Create(t.Context(), "b", batch.Options{Type: "x"}); err != nil {
				t.Fatal(err)
			}
			var logged strings.Builder
			cl := newCluster(rdb, slog.New(slog.NewTextHandler(&logged, nil)), always(&lane.Signal{}))
			c.fault(t, rdb, cl)
			const reads = tries + 2
			for range reads {
				cl.next = time.Time{}
				for part, metric := range metricOf {
					if got := series(t, cl, metric); (len(got) > 0) == slices.Contains(c.lack, part) {
						t.Fatalf("%s is %v", metric, got)
					}
				}
			}
			for part, n := range series(t, cl, clusterErrors) {
				if want := slices.Contains(c.fail, part); want && n != reads || !want && n != 0 {
					t.Errorf("%s failed %v times", part, n)
				}
			}
			if n, want := strings.Count(logged.String(), "not complete"), min(1, len(c.fail)); n != want {
				t.Errorf("it was logged %d times: %s", n, logged.String())
			}
			if got := series(t, cl, batches); name == "a newer batch" && (got["unreadable"] != 1 || got["open"] != 0) {
				t.Errorf("batches are %v", got)
			}
		})
	}
}

// Who may ask to speak but can read nothing lets another process speak.
func TestWhoReadsNothingCeasesToSpeak(t *testing.T) {
	server := conntest.Server(t)
	if err := server.Client().Do(t.Context(), "ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-zrange", "-zrevrange", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL("redis://blind:pw@" + server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer rdb.Close()
	blind := newCluster(rdb, quiet, always(&lane.Signal{}))
	seeing := newCluster(server.Client(), quiet, always(&lane.Signal{Wanted: 3}))
	for i := range tries {
		if got := series(t, seeing, workersWanted); len(got) > 0 && i > 0 {
			t.Fatalf("two speak after %d reads", i)
		}
		if i == 0 {
			seeing.cease()
		}
		blind.next = time.Time{}
		if v := blind.look(); v != nil || blind.failed != i+1 {
			t.Fatalf("it has %+v, failed %d times", v, blind.failed)
		}
	}
	blind.look() // as it is asked again
	if got := series(t, seeing, workersWanted); got[""] != 3 {
		t.Errorf("another one tells %v", got)
	}
}

// A Redis that is full lets the speaker speak: that is when it must.
func TestTheSpeakerSpeaksOfAFullRedis(t *testing.T) {
	rdb := conntest.Server(t).Client()
	c := newCluster(rdb, quiet, always(&lane.Signal{}))
	for _, limit := range []string{"0", "1"} {
		if err := rdb.ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
		c.next = time.Time{}
		if got := series(t, c, memoryMax); fmt.Sprint(got[""]) != limit || len(got) != 1 {
			t.Errorf("with a limit of %s it is %v", limit, got)
		}
	}
}

// The workers are looked at once for a view, and not at what they run.
func TestAViewLooksAtWorkersOnce(t *testing.T) {
	rdb := conntest.Server(t).Client()
	var queue, info []byte
	queue = protowire.AppendString(protowire.AppendTag(queue, 1, protowire.BytesType), gate.Placeholder)
	info = protowire.AppendString(protowire.AppendTag(info, 1, protowire.BytesType), "host")
	info = protowire.AppendVarint(protowire.AppendTag(info, 4, protowire.VarintType), 1000)
	info = protowire.AppendBytes(protowire.AppendTag(info, 5, protowire.BytesType), queue)
	info = protowire.AppendString(protowire.AppendTag(info, 7, protowire.BytesType), "active")
	rdb.Set(t.Context(), "asynq:servers:{host:1:x}", info, time.Minute)
	rdb.ZAdd(t.Context(), "asynq:servers", redis.Z{Score: 1e10, Member: "asynq:servers:{host:1:x}"})
	var asked lane.Cluster
	c := newCluster(rdb, quiet, func(_ context.Context, c lane.Cluster) (*lane.Signal, error) {
		asked = c
		return &lane.Signal{}, nil
	})
	if got := series(t, c, workers); got["running"] != 1 || asked.Workers != 1 || asked.Slots == 0 {
		t.Errorf("workers are %v, the signal is asked for %+v", got, asked)
	}
	text, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil || strings.Contains(text, "cmdstat_hvals") {
		t.Errorf("what they run is read, %v", err)
	}
}

// As lanes come and go, few get a new label at a time, and those with most work in the end.
func TestLabelsOfTheBacklogAreSticky(t *testing.T) {
	var s lane.Signal
	c := newCluster(conntest.Server(t).Client(), quiet, func(context.Context, lane.Cluster) (*lane.Signal, error) { return &s, nil })
	ever := make(map[string]bool)
	look := func(from int) map[string]float64 {
		s = lane.Signal{}
		for i := range mostLanes {
			s.Lanes = append(s.Lanes, lane.Demand{Lane: fmt.Sprint("host-", from+i), Backlog: 10, State: "open"})
			s.Backlog += 10
		}
		c.next = time.Time{}
		got := series(t, c, laneBacklog)
		sum := 0.0
		for name, n := range got {
			ever[name] = true
			sum += n
		}
		if sum != float64(s.Backlog) {
			t.Fatalf("backlogs sum up to %v, want %d", sum, s.Backlog)
		}
		return got
	}
	for i := range 10 { // other hosts each time
		look(i * mostLanes)
	}
	if len(ever) != mostLanes+1 {
		t.Errorf("within a minute %d lanes have had a label", len(ever))
	}
	c.labels.ranked = time.Now().Add(-rankEvery)
	look(5000)
	if len(ever) > mostLanes+1+mostChanges {
		t.Errorf("a minute later %d lanes have had a label", len(ever))
	}
	for range 2 * mostLanes / mostChanges {
		c.labels.ranked = time.Now().Add(-rankEvery)
		look(5000)
	}
	if got := look(5000); len(got) != mostLanes || got[other] != 0 {
		t.Errorf("lanes that stay have labels in the end: %d have, %v are other", len(got), got[other])
	}
}

// Batches are counted by how they stand, and a task that somebody takes out of Redis is
// missing.
func TestBatchesAreCounted(t *testing.T) {
	rdb := conntest.Server(t).Client()
	ctx, ledger := t.Context(), batch.NewLedger(rdb)
	begin := func(name string, fields ...any) {
		if _, err := ledger.Create(ctx, name, batch.Options{Type: "x", KeepMS: 1000}); err != nil {
			t.Fatal(err)
		}
		if len(fields) > 0 {
			rdb.HSet(ctx, "weir:{"+name+"}:batch", fields...)
		}
	}
	begin("open")
	begin("lost", "next", 3, "ok", 1)
	rdb.SetBit(ctx, "weir:{lost}:bits:0", 0, 1)
	begin("paused", "paused", 1)
	begin("stopped", "stopped", 1, "next", 9)
	begin("done", "state", "done", "n", 0)
	begin("gone", "state", "cancelled", "n", 0)
	b := newBooks(rdb, ledger)
	var got tallies
	var missing int64
	for range 8 { // the batches that run are counted in turn
		var err error
		if got, err = b.read(ctx); err != nil {
			t.Fatal(err)
		}
		if missing, err = b.count(ctx); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]int{"open": 2, "sealed": 0, "paused": 1, "stopped": 1, "done": 1, "cancelled": 1}
	for state, n := range want {
		if got.batches[state] != n {
			t.Errorf("%d batches are %s, want %d", got.batches[state], state, n)
		}
	}
	if missing != 2 || got.tasks["ok"] != 1 || got.tasks["waiting"] != 11 {
		t.Errorf("tallies are %+v", got)
	}
}

// A batch that misses tasks is counted again soon, however many there are beside it, and
// keeps none of those from being counted.
func TestAMissThatIsOverIsSoonForgotten(t *testing.T) {
	rdb := conntest.Server(t).Client()
	ctx, ledger := t.Context(), batch.NewLedger(rdb)
	const all = 30
	for i := range all {
		if _, err := ledger.Create(ctx, fmt.Sprint("b", i), batch.Options{Type: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	misses := func(name string, n int) { rdb.HSet(ctx, "weir:{"+name+"}:batch", "next", n) }
	b := newBooks(rdb, ledger)
	until := func(want int64) (reads int) {
		for reads = 1; reads <= 2*all+2; reads++ {
			if _, err := b.read(ctx); err != nil {
				t.Fatal(err)
			}
			if got, err := b.count(ctx); err != nil {
				t.Fatal(err)
			} else if got == want {
				return reads
			}
		}
		t.Fatalf("%d missing are not seen", want)
		return 0
	}
	misses("b7", 3)
	until(3)
	misses("b7", 0)
	if n := until(0); n > 2 {
		t.Errorf("a miss was forgotten after %d reads", n)
	}
	misses("b7", 3)
	until(3)
	misses("b8", 1)
	misses("b21", 1)
	until(5)
}

// A name that is there again is another batch.
func TestABatchOfAnOldNameIsSeen(t *testing.T) {
	rdb := conntest.Server(t).Client()
	ctx, ledger := t.Context(), batch.NewLedger(rdb)
	if _, err := ledger.Create(ctx, "b", batch.Options{Type: "x"}); err != nil {
		t.Fatal(err)
	}
	rdb.HSet(ctx, "weir:{b}:batch", "state", "done", "n", 0)
	b := newBooks(rdb, ledger)
	if got, err := b.read(ctx); err != nil || got.batches["done"] != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	rdb.HSet(ctx, "weir:{b}:batch", "state", "open")
	rdb.HDel(ctx, "weir:{b}:batch", "n")
	for range rereadEvery {
		if got, err := b.read(ctx); err != nil || got.batches["open"] == 1 {
			return
		}
	}
	t.Error("it is done for ever")
}

// Lanes beyond those of a signal are one.
func TestTheRestOfTheBacklogIsOther(t *testing.T) {
	s := &lane.Signal{Backlog: 100, Lanes: []lane.Demand{{Lane: "a", Backlog: 60, State: "open"}, {Lane: "b", Backlog: 30, State: "held"}}}
	c := newCluster(conntest.Server(t).Client(), quiet, always(s))
	if got := series(t, c, laneBacklog); got["a"] != 60 || got["b"] != 30 || got[other] != 10 || len(got) != 3 {
		t.Errorf("backlogs are %v", got)
	}
	if got := series(t, c, laneBlocked); len(got) != 1 || got["b held"] != 1 {
		t.Errorf("blocked are %v", got)
	}
}

// Whoever writes to Redis names lanes, states and classes as it likes: no name keeps what
// there is from being told, or makes series without end.
func TestHostileNamesAreNoLabels(t *testing.T) {
	rdb := conntest.Server(t).Client()
	ctx, ledger := t.Context(), batch.NewLedger(rdb)
	if _, err := ledger.Create(ctx, "b", batch.Options{Type: "x"}); err != nil {
		t.Fatal(err)
	}
	rdb.HSet(ctx, "weir:{b}:batch", "state", "\xff")
	m := New("v")
	s := &lane.Signal{Backlog: 50}
	w, p := m.Worker(), m.Producer()
	var stat work.Stat
	for _, name := range []string{"good", "\xff\xfe", other, "\xff"} {
		s.Lanes = append(s.Lanes, lane.Demand{Lane: name, Backlog: 10, State: "held"})
		stat.Lanes = append(stat.Lanes, lane.Stat{Name: name, InFlight: 1})
		w.Result(name, governor.OK)
		w.Sync(name, governor.Grant{Why: "slow start"}, time.Millisecond, nil)
		p.Outcome(&batch.Outcome{State: batch.State(name), Class: batch.Class(name)}, -1)
	}
	w.Watch(func() work.Stat { return stat })
	m.Cluster(rdb, quiet, always(s))
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{laneBacklog: 2, laneBlocked: 1, laneInFlight: 2, laneResults: 2, producerOutcomes: 1, batches: 7}
	for _, f := range families {
		if n, is := want[f.GetName()]; is && len(f.Metric) != n {
			t.Errorf("%s has %d series, want %d: %v", f.GetName(), len(f.Metric), n, f.Metric)
		}
		delete(want, f.GetName())
	}
	if len(want) > 0 {
		t.Errorf("missing are %v", want)
	}
}

// As in every package with scripts: header and body name the same.
func TestScriptsUseWhatTheirHeadersName(t *testing.T) {
	files, err := filepath.Glob("lua/*.lua")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var header, body string
		for line := range strings.Lines(string(src)) {
			code, comment, _ := strings.Cut(line, "--")
			header, body = header+comment, body+code
		}
		names := func(text string) []string {
			all := regexp.MustCompile(`\b(?:KEYS|ARGV)\[\d\]`).FindAllString(text, -1)
			slices.Sort(all)
			return slices.Compact(all)
		}
		if !slices.Equal(names(header), names(body)) || len(names(body)) == 0 {
			t.Errorf("%s: header %v, body %v", file, names(header), names(body))
		}
	}
}
