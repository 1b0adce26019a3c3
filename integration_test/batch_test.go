package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// doneIn is what the producer's summary says that the batch took, from before its
// first enqueue to its last outcome; in tenths, rounded down.
func (r result) doneIn(t testing.TB) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`(?m)^batch \S+: \w.* (?:in|after) ([0-9.]+s)$`).FindStringSubmatch(r.stderr)
	if m == nil {
		t.Fatalf("the summary names no time:\n%s", r.stderr)
	}
	d, err := time.ParseDuration(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// summaryLine is the line of the summary that begins with word, for the log.
func (r result) summaryLine(word string) string {
	for line := range strings.Lines(r.stderr) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, word) {
			return line
		}
	}
	return "no line " + word
}

// standing is a batch as `producer status --json` shows it.
type standing struct {
	Batch     string
	State     string
	Created   time.Time
	N         *int64
	Read      int64
	OK        int64
	Failed    int64
	Cancelled int64
	Pending   int64
	Scheduled int64
	Retry     int64
	Active    int64
	Missing   int64
	Retries   int64
}

// inRedis is how many tasks are there without an outcome.
func (s standing) inRedis() int64 { return s.Pending + s.Scheduled + s.Retry + s.Active }

// status asks the producer how a batch stands; with an empty name it is the only
// batch of its Redis.
func status(t testing.TB, url, name string) standing {
	t.Helper()
	args := []string{"status", "--json"}
	if name != "" {
		args = append(args, name)
	}
	r := producer(t, url, args...).exits(t, 0)
	var s standing
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatalf("status is not one JSON object: %v: %q", err, r.stdout)
	}
	return s
}

// awaitStanding waits until a batch stands so that is says yes.
func awaitStanding(t testing.TB, url, name, what string, is func(standing) bool) {
	t.Helper()
	client := open(t, url)
	var last standing
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		st, err := client.Status(t.Context(), name)
		if errors.Is(err, batch.ErrNotFound) {
			continue
		}
		must(t, err)
		last = standing{
			Batch: name, State: string(st.Phase), Read: st.Next, OK: st.OK, Failed: st.Failed, Cancelled: st.Cancelled,
			Pending: st.Pending, Scheduled: st.Scheduled, Retry: st.Tally.Retry, Active: st.Active, Retries: st.Retries,
		}
		if is(last) {
			return
		}
	}
	t.Fatalf("not within %v: %s; it is %+v", long, what, last)
}

// awaitActive waits until n tasks of a batch are being run.
func awaitActive(t testing.TB, url, name string, n int64) {
	t.Helper()
	awaitStanding(t, url, name, fmt.Sprintf("%d tasks run", n), func(s standing) bool { return s.Active == n })
}

// awaitAnyBatch waits until somebody has begun one.
func awaitAnyBatch(t testing.TB, url string) {
	t.Helper()
	client := open(t, url)
	eventually(t, long, func() bool {
		all, err := client.Batches(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(all) > 0
	}, "a batch has begun")
}

// addsUp checks the invariant of a batch that has come to its end.
func (s standing) addsUp(t testing.TB) {
	t.Helper()
	if s.inRedis() != 0 || s.Missing != 0 || s.N == nil || *s.N != s.OK+s.Failed+s.Cancelled || s.Read != *s.N {
		t.Errorf("the batch is over and its numbers do not add up: %+v", s)
	}
}

// bySeq are outcomes by their seq. There must be those of 0..n-1.
func bySeq(t testing.TB, all []batch.Outcome, n int) map[int64]batch.Outcome {
	t.Helper()
	of := make(map[int64]batch.Outcome, len(all))
	for _, o := range all {
		of[o.Seq] = o
	}
	for seq := range int64(n) {
		if _, ok := of[seq]; !ok {
			t.Errorf("seq %d has no outcome", seq)
		}
	}
	if len(all) != n {
		t.Errorf("%d outcomes, want %d", len(all), n)
	}
	return of
}

// allOK checks that the outcomes are those of 0..n-1, and all ok.
func allOK(t testing.TB, all []batch.Outcome, n int) {
	t.Helper()
	for seq, o := range bySeq(t, all, n) {
		if o.State != batch.OK {
			t.Errorf("seq %d: %s %s: %s", seq, o.State, o.Class, o.Error)
		}
	}
}

// merged is the union of the outcomes' results, each of them a map.
func merged(t testing.TB, all []batch.Outcome) map[string]json.Number {
	t.Helper()
	union := make(map[string]json.Number)
	for _, o := range all {
		d := json.NewDecoder(strings.NewReader(string(o.Result)))
		d.UseNumber()
		var m map[string]json.Number
		if err := d.Decode(&m); err != nil {
			t.Fatalf("seq %d: result %s: %v", o.Seq, o.Result, err)
		}
		for k, v := range m {
			union[k] = v
		}
	}
	return union
}

// sleepOf is the payload template of n seconds for --repeat.
func sleepOf(d time.Duration) string {
	return fmt.Sprintf(`{"task_number":{n},"seconds":%g}`, d.Seconds())
}

// A batch with a broken key hides no other from status: it is named, with what helps, and
// the exit status says that something is wrong. So says the doctor, of each.
func TestStatusShowsTheOthersBesideABrokenBatch(t *testing.T) {
	t.Parallel()
	server := conntest.Server(t)
	rdb, ctx := server.Client(), t.Context()
	other := func(name, key string) {
		rdb.Del(ctx, "weir:{"+name+"}:"+key)
		must(t, rdb.Set(ctx, "weir:{"+name+"}:"+key, "somebody else's", 0).Err())
	}
	spoil := map[string]struct {
		fault  func()
		remedy string
	}{
		"newer":   {func() { rdb.HSet(ctx, "weir:{newer}:batch", "format", 99) }, "upgrade this program"},
		"options": {func() { rdb.HSet(ctx, "weir:{options}:batch", "opts", "{") }, "look at its record: redis-cli HGETALL weir:{options}:batch"},
		"record":  {func() { other("record", "batch") }, "somebody else wrote to a key of it: redis-cli --scan --pattern 'weir:{record}:*'"},
		"bits":    {func() { rdb.Del(ctx, "weir:{bits}:bits:0"); rdb.HSet(ctx, "weir:{bits}:bits:0", "1", "1") }, "redis-cli --scan --pattern 'weir:{bits}:*'"},
		"lanes":   {func() { other("lanes", "lanes") }, "redis-cli --scan --pattern 'weir:{lanes}:*'"},
		"good":    {func() {}, ""},
		"fine":    {func() {}, ""},
	}
	for name, s := range spoil {
		producer(t, server.URL(), "enqueue", "square", "--batch", name, "--repeat", "3", "--payload", `{"n":{n}}`).exits(t, 0)
		s.fault()
	}
	for _, flags := range [][]string{nil, {"--json"}} {
		r := producer(t, server.URL(), append([]string{"status"}, flags...)...).exits(t, 3)
		for name, s := range spoil {
			healthy := s.remedy == ""
			shown := strings.Contains(r.stdout, "batch "+name) || strings.Contains(r.stdout, `"batch":"`+name+`"`)
			named := strings.Contains(r.stderr, fmt.Sprintf("batch %q cannot be read: ", name)) && strings.Contains(r.stderr, s.remedy)
			if shown != healthy || named == healthy {
				t.Errorf("status %v of %s: shown %v, named %v:\n%s%s", flags, name, shown, named, r.stdout, r.stderr)
			}
		}
	}
	doctor := producer(t, server.URL(), "doctor", "--json").exits(t, 1)
	for name, s := range spoil {
		r := producer(t, server.URL(), "status", name)
		if s.remedy == "" {
			r.exits(t, 0)
			continue
		}
		r.exits(t, 3).says(t, fmt.Sprintf("batch %q cannot be read: ", name), s.remedy)
		if !strings.Contains(doctor.stdout, "batch "+name+" cannot be read: ") {
			t.Errorf("the doctor does not know of %s: %s", name, doctor.stdout)
		}
	}
}
