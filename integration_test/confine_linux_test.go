package integration_test

import (
	"os"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// A worker's flags bound what its tasks may do: as whom and within which limits commands run,
// how large a result may be, and where requests may go.
func TestAWorkerBoundsItsTasks(t *testing.T) {
	t.Parallel()
	url := conntest.Server(t).URL()
	user, flags := "", []string{"--allow-exec", "sh=/bin/sh", "--exec-limit", "files=64", "--exec-limit", "memory=64MiB", "--max-result", "20KiB", "--egress", "none"}
	if os.Geteuid() == 0 {
		user, flags = "54321", append(flags, "--exec-user", "54321:54322")
	}
	startWorkerAsIs(t, url, flags...)
	script := func(text string) string {
		return `{"command":"sh","dir":"/","env":{"GOMAXPROCS":"8000"},"args":["-c","` + text + `"]}`
	}
	records := []string{script("ulimit -n; ulimit -v; id -u"), script("head -c 30000 /dev/zero"), script("exec /no/such")}
	r := producerReading(t, strings.Join(records, "\n"), url, "run", "exec", "--format", "ndjson", "--ordered", "--retries", "0").exits(t, 1)
	got := r.outcomes(t)
	if len(got) != 3 {
		t.Fatalf("got %+v", got)
	}
	if result := string(got[0].Result); got[0].State != batch.OK || !strings.Contains(result, `"stdout":"64\n65536\n`+user) || !strings.Contains(result, `"stderr":""`) {
		t.Errorf("got %+v, %s", got[0], result)
	}
	if got[1].Class != batch.Permanent || !strings.Contains(got[1].Error, "over the cap of 20480") {
		t.Errorf("a large result: %+v", got[1])
	}
	if got[2].State != batch.Failed || !strings.Contains(got[2].Error, "exit status 127") {
		t.Errorf("a command that fails: %+v", got[2])
	}
	r = producerReading(t, "http://192.0.2.1/", url, "run", "http").exits(t, 1)
	if o := r.outcomes(t)[0]; o.Class != batch.Rejected {
		t.Errorf("a request: %+v", o)
	}
}
