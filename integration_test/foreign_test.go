package integration_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// TestForeignTaskTypeRuns builds the README's example of a task type of one's own,
// a module beside weir, and runs its worker and producer.
func TestForeignTaskTypeRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./worker", "./producer")
	build.Dir = "foreign"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the foreign module: %v\n%s", err, out)
	}
	url := conntest.Server(t).URL()
	foreign := func(name string, args ...string) *proc {
		cmd := exec.Command(filepath.Join(dir, name), args...)
		cmd.Env = []string{"REDIS_URL=" + url}
		return start(t, cmd)
	}
	foreign("worker").logs("worker started")
	r := foreign("producer", "one", "", "three").wait().exits(t, 0)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(lines) != 3 || lines[0] != "0 ok ONE! <nil>" || lines[2] != "2 ok THREE! <nil>" ||
		!strings.HasPrefix(lines[1], "1 failed") || !strings.Contains(lines[1], "text") {
		t.Errorf("outcomes:\n%s", r.stdout)
	}
}
