package integration_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// The example of a task type of one's own builds as it lies there, a module beside
// weir, and its worker and producer understand each other over Redis.
func TestForeignTaskTypeRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", dir+string(filepath.Separator), "./worker", "./producer")
	build.Dir = "foreign"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the foreign module (after a change of weir's go.mod: go mod tidy in integration_test/foreign): %v\n%s", err, out)
	}
	url := conntest.Server(t).URL()
	foreign := func(name string, args ...string) *proc {
		cmd := exec.Command(filepath.Join(dir, name), args...)
		cmd.Env = []string{"REDIS_URL=" + url}
		return start(t, cmd)
	}
	worker := foreign("worker")
	r := foreign("producer", "one", "", "1, 2, 3", "four").wait().exits(t, 0)
	const want = `0 ok ONE! <nil>
1 failed  invalid: field "text": is required
2 failed  permanent: nothing to shout
3 ok FOUR! <nil>
`
	if r.stdout != want {
		t.Errorf("outcomes:\n%swant:\n%s", r.stdout, want)
	}

	// weir's own producer reads the same ledger, and its own worker does not know
	// the type: the foreign one has run it all.
	listed := producer(t, url, "status").exits(t, 0).stdout
	if !strings.Contains(listed, ": shout, done") || !strings.Contains(listed, "read 4 = ok 2 + failed 2 + cancelled 0") {
		t.Errorf("status:\n%s", listed)
	}
	worker.signal(syscall.SIGTERM)
	worker.wait().exits(t, 0)
}
