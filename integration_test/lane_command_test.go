package integration_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/batch"
)

const laneConfig = "weir:{svc}:flow:config" // of lane svc, as it lies in Redis

// What a lane cannot be is refused in one line that says what was wrong, where, and what
// helps; the lane stays as it was.
func TestALaneIsNotSetToWhatItCannotBe(t *testing.T) {
	t.Parallel()
	server := durable(t)
	rdb := server.Client()
	lane := func(args ...string) result {
		t.Helper()
		return producer(t, server.URL(), append([]string{"lane", "svc"}, args...)...)
	}
	record := func() map[string]string {
		t.Helper()
		all, err := rdb.HGetAll(t.Context(), laneConfig).Result()
		must(t, err)
		return all
	}
	refused := func(want string, args ...string) {
		t.Helper()
		before := record()
		r := lane(args...).exits(t, 2).says(t, want)
		if lines := strings.Count(r.stderr, "\n"); lines != 1 || !strings.HasPrefix(r.stderr, "producer: ") || r.stdout != "" {
			t.Errorf("%v: %d lines on stderr, on stdout %q:\n%s", args, lines, r.stdout, r.stderr)
		}
		if now := record(); !maps.Equal(now, before) {
			t.Errorf("%v: the lane was %v and is %v", args, before, now)
		}
	}
	lane("--max", "50", "--min", "5").exits(t, 0)
	const write = "; write 100/s, 600/m, 1000/h or 3/10s"
	for rate, why := range map[string]string{
		"fast": "is not a number of tasks per time", "": "is not a number of tasks per time", "/": "is not a number of tasks per time",
		"NaN": "is not a number of tasks per time", "Inf": "is not a number of tasks per time", "-Inf/s": "is not a number of tasks per time",
		"0/s": "must be above 0; none is no rate", "-1/s": "must be above 0; none is no rate", "-5": "must be above 0; none is no rate",
		"1000001/s": "is outside 1/day to 1000000/s", "1e300/s": "is outside 1/day to 1000000/s", "1/2400h": "is outside 1/day to 1000000/s",
		"100/": `"" is no time`, "100/parsec": `"parsec" is no time`,
		"100/0s": `its time "0s" must be above 0`, "100/-1s": `its time "-1s" must be above 0`,
	} {
		refused(fmt.Sprintf("--rate %q: %s%s", rate, why, write), "--rate="+rate)
	}
	for _, flag := range []string{"burst", "max", "min", "limit"} {
		for _, n := range []string{"-1", "1000001"} {
			refused(fmt.Sprintf("--%s %s: must be 0 (none) to 1000000", flag, n), "--"+flag+"="+n)
		}
		for _, n := range []string{"", "x", "1.5", "1e3", "NaN", "99999999999999999999"} {
			refused(fmt.Sprintf("--%s: expected a valid 64 bit int but got %q (see producer --help)", flag, n), "--"+flag+"="+n)
		}
	}
	const one = ", or take one away by 0"
	for want, args := range map[string][]string{
		"--min 60: above max 50; lower min, raise max" + one:                                      {"--min", "60"},
		"--min 5: above max 4; lower min, raise max" + one:                                        {"--max", "4"},
		"--min 9: above max 3; lower min, raise max" + one + "; --burst 4: needs a rate; set one": {"--min", "9", "--max", "3", "--burst", "4"},
		"--limit 51: above max 50; lower limit, raise max" + one:                                  {"--limit", "51"},
		"--limit 4: below min 5; raise limit, lower min" + one:                                    {"--limit", "4"},
		"--burst 3: needs a rate; set one, or no burst by 0":                                      {"--burst", "3"},
		"--pause and --resume can't be used together (see producer --help)":                       {"--pause", "--resume"},
		"--limit 51: above max 50":                                                                {"--reset", "--pause", "--limit", "51"},
		"--weight 101: must be from 1 to 100":                                                     {"--weight", "101", "--max", "7"},
		"--shards 65: must be from 1 to 64":                                                       {"--shards", "65", "--max", "7"},
	} {
		refused(want, args...)
	}
	// A reset goes with other changes: both hold.
	rdb.HSet(t.Context(), "weir:{svc}:flow", "learned", "much")
	lane("--reset", "--max", "40").exits(t, 0)
	if n := rdb.Exists(t.Context(), "weir:{svc}:flow").Val(); n != 0 || record()["max"] != "40" {
		t.Errorf("%d states are left, and the lane is %v", n, record())
	}
	// 0 takes a setting away, no less where nothing is left of the lane then.
	lane("--min", "0").exits(t, 0)
	lane("--max", "0").exits(t, 0).says(t, `lane "svc": nothing is set`)
	if left := record(); len(left) != 0 {
		t.Errorf("of the lane is left %v", left)
	}
	// What a newer version wrote is neither changed nor taken away.
	lane("--max", "50").exits(t, 0)
	rdb.HSet(t.Context(), laneConfig, "format", 99, "fewest", "word")
	for _, args := range [][]string{{"--max", "9"}, {"--max", "0"}, {"--reset"}, {"--weight", "3"}, {"--rate", "none", "--resume"}} {
		refused(`configuration of lane "svc": written by a newer version of weir; update this weir`, args...)
	}
	// To look at a lane changes nothing of it, whatever its record is.
	for _, record := range []map[string]string{{"format": "99", "fewest": "word"}, {"format": "1", "max": "x"}} {
		rdb.Del(t.Context(), laneConfig)
		rdb.HSet(t.Context(), laneConfig, record)
		if shown := lane().exits(t, 0).stdout; !strings.Contains(shown, "broken") {
			t.Errorf("%v: shown is %s", record, shown)
		}
		if left := rdb.HGetAll(t.Context(), laneConfig).Val(); !maps.Equal(left, record) {
			t.Errorf("%v: left is %v", record, left)
		}
	}
}

// A lane may be set before its first task, but not by a slip of the finger in silence.
func TestALaneNobodyKnowsIsToldOf(t *testing.T) {
	t.Parallel()
	server := durable(t)
	told := func(r result) bool {
		return strings.Contains(r.stderr, "no task and no worker knows it yet; what is set holds from its first task on; producer lanes lists all\n")
	}
	lane := func(args ...string) result {
		t.Helper()
		return producer(t, server.URL(), append([]string{"lane"}, args...)...)
	}
	for _, args := range [][]string{{"sqaure"}, {"sqaure", "--max", "0"}, {"sqaure", "--reset"}, {"sqaure", "--resume"}} {
		lane(args...).exits(t, 2).says(t, `lane "sqaure": no such lane in this Redis; producer lanes lists all`)
	}
	for name, setting := range map[string]string{"sqaure": "--max=3", "cubes": "--weight=2", "roots": "--shards=2", "held": "--pause"} {
		r := lane(name, setting).exits(t, 0).says(t, fmt.Sprintf("lane %q: ", name))
		if !told(r) || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stdout, name) {
			t.Errorf("%s: stdout %q, stderr %q", name, r.stdout, r.stderr)
		}
		if r := lane(name, setting).exits(t, 0); r.stderr != "" {
			t.Errorf("%s, known: %s", name, r.stderr)
		}
	}
	producer(t, server.URL(), "enqueue", "square", "--repeat", "1").exits(t, 0)
	if r := lane("square", "--max", "3").exits(t, 0); r.stderr != "" {
		t.Errorf("of a lane with a task: %s", r.stderr)
	}
	if r := lane("square", "--max", "0").exits(t, 0); r.stderr != "" {
		t.Errorf("of a lane with a task: %s", r.stderr)
	}
}

// One service has one lane, however its URL is written; a URL of none has an outcome.
func TestSpellingsOfAServiceAreOneLane(t *testing.T) {
	t.Parallel()
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer service.Close()
	u, err := url.Parse(service.URL)
	must(t, err)
	server := durable(t)
	startWorker(t, server.URL())
	good := []string{"http://localhost:PORT/", "http://LocalHost:PORT/", "http://user:word@localhost:PORT/", "HTTP://localhost:PORT/#a", "http://localhost:0PORT/"}
	bad := []string{"http://[fe80::1%25eth0]:PORT/", "http://user:word@:PORT/", "http://xn--\u00fc:PORT/", "http://localhost:PORT:80/"}
	input := strings.ReplaceAll(strings.Join(append(good, bad...), "\n"), "PORT", u.Port())
	r := producerReading(t, input, server.URL(), "run", "http", "--retries", "0").exits(t, 1)
	for _, o := range r.outcomes(t) {
		switch isGood := o.Seq < int64(len(good)); {
		case isGood && o.State != batch.OK:
			t.Errorf("%s: %s %s: %s", good[o.Seq], o.State, o.Class, o.Error)
		case !isGood && (o.State != batch.Failed || o.Class != batch.Invalid || strings.Contains(o.Error, "word")):
			t.Errorf("%s: %s %s: %s", bad[int(o.Seq)-len(good)], o.State, o.Class, o.Error)
		}
	}
	if n := len(r.outcomes(t)); n != len(good)+len(bad) {
		t.Errorf("%d outcomes", n)
	}
	var lanes []string
	for line := range strings.Lines(producer(t, server.URL(), "lanes", "--json").exits(t, 0).stdout) {
		var shown struct{ Lane string }
		must(t, json.Unmarshal([]byte(line), &shown))
		lanes = append(lanes, shown.Lane)
	}
	if len(lanes) != 1 || lanes[0] != "localhost_"+u.Port() {
		t.Errorf("lanes %q", lanes)
	}
}
