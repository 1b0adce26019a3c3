package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// Two daemons side by side, and the one that begins the runs is killed again and again:
// every due run is one batch, and every batch has its tasks, each once.
func TestEveryDueRunIsOneBatchWhateverDies(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	startWorker(t, server.URL())
	daemon := func() *proc { return startProducer(t, server.URL(), "schedule", "run") }
	daemons := []*proc{daemon(), daemon()}
	producer(t, server.URL(), "schedule", "add", "tick", "--cron", "@every 1s", "--missed", "all", "--overlap", "--",
		"run", "square", "--repeat", "300", "--payload", `{"n":{n}}`).exits(t, 0)
	first := time.Now()
	for range 3 {
		var leader int
		eventually(t, long, func() bool {
			held := server.Client().Get(t.Context(), "weir:{:schedules}:lock").Val()
			for i, d := range daemons {
				if d.running() && strings.Contains(d.stderr.String(), "begins the runs now") && strings.Contains(held, fmt.Sprintf(":%d/", d.pid())) {
					leader = i
					return strings.Count(d.stderr.String(), "a run of a schedule begins") > 0
				}
			}
			return false
		}, "a daemon begins runs")
		daemons[leader].kill()
		daemons[leader] = daemon()
	}
	eventually(t, long, func() bool { return time.Since(first) > 25*time.Second && len(ticks(t, server)) >= 20 }, "20 runs")
	pauseTick(t, server.URL())
	all := ticks(t, server)
	for i, at := range all {
		if i > 0 && at.Sub(all[i-1]) != time.Second {
			t.Errorf("no run between %v and %v", all[i-1], at)
		}
	}
	eventually(t, long, func() bool {
		for line := range strings.Lines(producer(t, server.URL(), "status", "--json").exits(t, 0).stdout) {
			var st struct {
				OK int64 `json:"ok"`
				N  int64 `json:"n"`
			}
			if err := json.Unmarshal([]byte(line), &st); err != nil {
				t.Fatal(err)
			}
			if st.OK != 300 {
				return false
			}
		}
		return true
	}, "each run has its 300 outcomes")
	t.Logf("%d runs, each once, with 3 daemons killed", len(all))
	for _, d := range daemons {
		d.signal(15)
		d.wait().exits(t, 0)
	}
}

// A daemon stalls in the middle of a run until another has its lock, and goes on then: the
// run is fed to its end all the same.
func TestADaemonThatStallsLosesNoRun(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	stalls := startProducer(t, server.URL(), "schedule", "run")
	stalls.logs("begins the runs now")
	other := startProducer(t, server.URL(), "schedule", "run")
	producer(t, server.URL(), "schedule", "add", "long", "--cron", "@every 1s", "--",
		"run", "square", "--repeat", "300", "--payload", `{"n":{n}}`, "--window", "50").exits(t, 0)
	var name string
	eventually(t, long, func() bool {
		names := server.Client().ZRange(t.Context(), "weir:batches", 0, -1).Val()
		if len(names) > 0 {
			name = names[0]
		}
		return name != "" && server.Client().LLen(t.Context(), "asynq:{square}:pending").Val() > 0
	}, "the run is fed, and waits for its window")
	stalls.signal(syscall.SIGSTOP)
	other.logs("a run of a schedule begins")
	stalls.signal(syscall.SIGCONT)
	startWorker(t, server.URL())
	eventually(t, long, func() bool { return status(t, server.URL(), name).OK == 300 }, "the run has all its outcomes")
	for _, d := range []*proc{stalls, other} {
		d.signal(15)
		d.wait().exits(t, 0)
	}
}

// ticks are the times of the runs of schedule tick that have a batch, in order.
func ticks(t *testing.T, server *conntest.RealServer) (times []time.Time) {
	t.Helper()
	for _, name := range server.Client().ZRange(t.Context(), "weir:batches", 0, -1).Val() {
		at, err := time.Parse("20060102t150405z", strings.TrimPrefix(name, "tick-"))
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, at)
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// A run of a schedule does not begin while one before goes on; its outcomes go to a file of
// its own.
func TestRunsOfAScheduleDoNotOverlap(t *testing.T) {
	t.Parallel()
	server, dir := conntest.Server(t), t.TempDir()
	startWorker(t, server.URL())
	out := filepath.Join(dir, "{run}.ndjson")
	producer(t, server.URL(), "schedule", "add", "slow", "--cron", "* * * * * *", "--",
		"run", "sleep", "--payload", sleepOf(1500*time.Millisecond), "--out", out).exits(t, 0)
	d := startProducer(t, server.URL(), "schedule", "run")
	files := func() []string { f, _ := filepath.Glob(filepath.Join(dir, "slow-*.ndjson")); return f }
	eventually(t, long, func() bool {
		if n := server.Client().LLen(t.Context(), "asynq:{sleep}:active").Val(); n > 1 {
			t.Fatalf("%d run at once", n)
		}
		return len(files()) >= 3
	}, "three runs")
	if text, err := os.ReadFile(files()[0]); err != nil || len(outcomes(t, string(text))) != 1 {
		t.Errorf("%s, %v", text, err)
	}
	d.signal(15)
	d.wait().exits(t, 0)
}

// What becomes of runs that were due while no daemon lived, by each policy: those that are
// made up for are the last ones, and the next run is one to come.
func TestMissedRunsAreMadeUpForByThePolicy(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	rdb := server.Client()
	startWorker(t, server.URL())
	const missed = 4
	policies := map[string]struct {
		flags []string
		runs  int
	}{
		"skip": {[]string{"--missed", "skip"}, 0},
		"once": {nil, 1},
		"last": {[]string{"--missed", "all", "--most", "2"}, 2},
		"all":  {[]string{"--missed", "all"}, missed},
		"side": {[]string{"--missed", "all", "--overlap"}, missed},
	}
	first := time.Now().Add(-missed*time.Hour + 30*time.Minute).UTC().Truncate(time.Second)
	for name, p := range policies {
		producer(t, server.URL(), append(append([]string{"schedule", "add", name, "--cron", "@every 1h"}, p.flags...),
			"--", "enqueue", "square", "--repeat", "3", "--payload", `{"n":{n}}`)...).exits(t, 0)
		var record map[string]any
		must(t, json.Unmarshal([]byte(rdb.HGet(t.Context(), "weir:{:schedules}:all", name).Val()), &record))
		record["next"] = first // as if nobody had been there since
		text, err := json.Marshal(record)
		must(t, err)
		must(t, rdb.HSet(t.Context(), "weir:{:schedules}:all", name, text).Err())
	}
	d := startProducer(t, server.URL(), "schedule", "run")
	eventually(t, long, func() bool {
		for line := range strings.Lines(producer(t, server.URL(), "schedule", "list", "--json").exits(t, 0).stdout) {
			var s struct {
				Next time.Time
				Runs []any
			}
			must(t, json.Unmarshal([]byte(line), &s))
			if !s.Next.Equal(first.Add(missed*time.Hour)) || len(s.Runs) > 0 {
				return false
			}
		}
		return true
	}, "all that was missed is over, and the next run is the one to come")
	batches := rdb.ZRange(t.Context(), "weir:batches", 0, -1).Val()
	for name, p := range policies {
		for i := range missed {
			run := name + "-" + first.Add(time.Duration(i)*time.Hour).Format("20060102t150405z")
			if is, want := slices.Contains(batches, run), i >= missed-p.runs; is != want {
				t.Errorf("%s: run %d was begun: %v", name, i, is)
			} else if want {
				eventually(t, long, func() bool { return status(t, server.URL(), run).OK == 3 }, run+" has its outcomes")
			}
		}
	}
	for _, name := range []string{"skip", "once", "last"} { // the others have nothing to tell
		d.logs(`"runs of a schedule were missed and are not made up for","schedule":"` + name + `"`)
	}
	d.signal(syscall.SIGTERM)
	d.wait().exits(t, 0)
}

// pauseTick pauses the schedule tick, and waits until what it has begun is over.
func pauseTick(t *testing.T, url string) {
	t.Helper()
	producer(t, url, "schedule", "pause", "tick").exits(t, 0)
	eventually(t, long, func() bool {
		listed := producer(t, url, "schedule", "list", "--json").stdout
		return strings.Contains(listed, `"paused":true`) && !strings.Contains(listed, `"runs":[`)
	}, "what has begun is over")
}

// While Redis is away a daemon waits, and says so, once; what was due meanwhile is begun when
// Redis is back: nothing of that is missed, for it is no minute.
func TestASchedulesDaemonWaitsForRedis(t *testing.T) {
	t.Parallel()
	server := durable(t)
	startWorker(t, server.URL())
	d := startProducer(t, server.URL(), "schedule", "run")
	producer(t, server.URL(), "schedule", "add", "tick", "--cron", "@every 1s", "--overlap", "--missed", "skip", "--",
		"run", "square", "--repeat", "20", "--payload", `{"n":{n}}`).exits(t, 0)
	eventually(t, long, func() bool { return len(ticks(t, server)) >= 2 }, "runs begin")
	server.Kill()
	away := time.Now()
	const trouble = "Redis does not answer"
	d.logs(trouble)
	eventually(t, long, func() bool { return time.Since(away) > 5*time.Second }, "some times have passed")
	if !d.running() {
		t.Fatal("the daemon has ended")
	}
	if n := strings.Count(d.stderr.String(), trouble); n > 2 { // again while it lasts, each 10 s
		t.Errorf("it said %d times that Redis is away", n)
	}
	server.Restart()
	back := time.Now()
	d.logs("Redis answers again")
	eventually(t, long, func() bool { all := ticks(t, server); return all[len(all)-1].After(back.Add(time.Second)) }, "runs go on")
	pauseTick(t, server.URL())
	all := ticks(t, server)
	for i, at := range all {
		if i > 0 && at.Sub(all[i-1]) != time.Second {
			t.Errorf("no run between %v and %v", all[i-1], at)
		}
		eventually(t, long, func() bool {
			return status(t, server.URL(), "tick-"+at.Format("20060102t150405z")).OK == 20
		}, "each run has its outcomes")
	}
	d.signal(syscall.SIGTERM)
	d.wait().exits(t, 0)
}

// The deadline of a schedule's command is each run's own: it ends the batch, and the next
// run, which may not overlap it, begins.
func TestRunsOfAScheduleHaveTheirDeadline(t *testing.T) {
	t.Parallel()
	server, dir := conntest.Server(t), t.TempDir()
	startWorker(t, server.URL())
	command := []string{"sleep", "--repeat", "3", "--payload", sleepOf(time.Minute), "--deadline", "1s"}
	producer(t, server.URL(), append([]string{"schedule", "add", "quiet", "--cron", "* * * * * *", "--", "enqueue"}, command...)...).exits(t, 0)
	producer(t, server.URL(), append([]string{"schedule", "add", "file", "--cron", "* * * * * *", "--", "run", "--out", filepath.Join(dir, "{run}")}, command...)...).exits(t, 0)
	d := startProducer(t, server.URL(), "schedule", "run")
	for _, name := range []string{"quiet", "file"} {
		var runs []string
		eventually(t, long, func() bool {
			runs = slices.DeleteFunc(server.Client().ZRange(t.Context(), "weir:batches", 0, -1).Val(), func(b string) bool { return !strings.HasPrefix(b, name) })
			return len(runs) >= 3
		}, "three runs of "+name)
		for _, run := range runs[:2] {
			if st := status(t, server.URL(), run); st.Failed != 3 {
				t.Errorf("%s, before the next one began: %+v", run, st)
			}
		}
		if name == "file" {
			text, err := os.ReadFile(filepath.Join(dir, runs[0]))
			must(t, err)
			for _, o := range outcomes(t, string(text)) {
				if o.Class != batch.Expired {
					t.Errorf("%+v", o)
				}
			}
		}
	}
	d.signal(syscall.SIGTERM)
	d.wait().exits(t, 0)
}

// The daemon's key signs the runs: workers that want signatures run them, and none of a
// daemon without.
func TestRunsOfAScheduleAreSigned(t *testing.T) {
	s := newSigning(t)
	s.strict("k1")
	producer(t, s.url, "schedule", "add", "tick", "--cron", "* * * * * *", "--", "enqueue", "http", "--retries", "0",
		"--payload", fmt.Sprintf(`{"url": %q}`, s.service.URL+"/run")).exits(t, 0)
	latest := func() (st standing) {
		if all := s.rdb.ZRange(t.Context(), "weir:batches", 0, -1).Val(); len(all) > 0 {
			st = status(t, s.url, slices.Max(all))
		}
		return st
	}
	d := startProducer(t, s.url, "schedule", "run", "--sign-key", keyFile(t, "k1"))
	eventually(t, long, func() bool { return latest().OK == 1 }, "a signed run is ok")
	pauseTick(t, s.url)
	d.signal(syscall.SIGTERM)
	d.wait().exits(t, 0)
	for _, batch := range s.rdb.ZRange(t.Context(), "weir:batches", 0, -1).Val() {
		eventually(t, long, func() bool { return status(t, s.url, batch).OK == 1 }, "so is each")
	}

	s.wasAsked("/run")
	producer(t, s.url, "schedule", "resume", "tick").exits(t, 0)
	d = startProducer(t, s.url, "schedule", "run")
	eventually(t, long, func() bool { return latest().Failed == 1 }, "one without a signature fails")
	d.signal(syscall.SIGTERM)
	d.wait().exits(t, 0)
	if n := s.wasAsked("/run"); n > 0 {
		t.Errorf("%d tasks without a signature were run", n)
	}
}

func TestTasksAreDueLater(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	startWorker(t, server.URL())
	for _, args := range [][]string{
		{"--in", "3s"}, {"--in", "3s", "--priority", "high"}, {"--at", ""},
	} {
		began := time.Now()
		if args[0] == "--at" {
			args[1] = began.Add(4 * time.Second).UTC().Format(time.RFC3339)
		}
		r := producer(t, server.URL(), append([]string{"run", "square", "--repeat", "50", "--payload", `{"n":{n}}`, "-q"}, args...)...).exits(t, 0)
		if took := time.Since(began); took < 2*time.Second || len(r.outcomes(t)) != 50 {
			t.Errorf("%v took %v", args, took)
		}
	}
	producer(t, server.URL(), "enqueue", "square", "--batch", "b", "--repeat", "9", "--payload", `{"n":{n}}`, "--in", "1h").exits(t, 0)
	if st := producer(t, server.URL(), "status", "b").stdout; !strings.Contains(st, "scheduled 9") {
		t.Error(st)
	}
	producer(t, server.URL(), "cancel", "b").exits(t, 0)
}

func TestWrongSchedulesAreRefused(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	good := []string{"--", "run", "square", "--payload", `{"n":1}`}
	add := func(args ...string) result {
		return producer(t, server.URL(), append([]string{"schedule", "add"}, args...)...)
	}
	add(append([]string{"taken", "--cron", "@daily"}, good...)...).exits(t, 0)
	for want, args := range map[string][]string{
		"five fields":            append([]string{"a", "--cron", "x"}, good...),
		"Mars/Base":              append([]string{"a", "--cron", "@daily", "--tz", "Mars/Base"}, good...),
		"there is a schedule":    append([]string{"taken", "--cron", "@daily"}, good...),
		"must be run or enqueue": {"a", "--cron", "@daily", "--", "status"},
		"no such file":           {"a", "--cron", "@daily", "--", "run", "http", "/nowhere/x"},
		"cannot have stdin":      {"a", "--cron", "@daily", "--", "run", "http"},
		"cannot have --batch":    {"a", "--cron", "@daily", "--", "run", "square", "--batch", "x", "--payload", `{"n":1}`},
		"unknown task type":      {"a", "--cron", "@daily", "--", "run", "nope", "--payload", `{}`},
		"without {run}":          {"a", "--cron", "@daily", "--", "run", "square", "--payload", `{"n":1}`, "--out", "x"},
		"unknown flag":           {"a", "--cron", "@daily", "--", "run", "square", "--nope"},
	} {
		if r := add(args...).exits(t, 2); !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %s", want, r.stderr)
		}
	}
	list := producer(t, server.URL(), "schedule", "list").exits(t, 0)
	if !strings.Contains(list.stdout, "taken") || strings.Count(list.stdout, "\n") != 2 {
		t.Error(list.stdout)
	}
	producer(t, server.URL(), "schedule", "remove", "taken").exits(t, 0)
	producer(t, server.URL(), "schedule", "resume", "taken").exits(t, 2)
}
