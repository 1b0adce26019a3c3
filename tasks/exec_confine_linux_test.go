package tasks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// confine runs commands so, until the test's end.
func confine(t *testing.T, name string, limits map[string]string) {
	t.Helper()
	if err := ConfineExec(name, limits); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ConfineExec("", nil); err != nil {
			t.Error(err)
		}
	})
}

// Limits hold for what a command does, and for what it starts.
func TestCommandsRunWithinLimits(t *testing.T) {
	confine(t, "", map[string]string{"cpu": "7", "files": "19", "memory": "2GiB", "file-size": "64KiB", "processes": "1000"})
	file := filepath.Join(t.TempDir(), "file")
	p := ExecPayload{Env: map[string]string{"X": "y"}, Dir: "/", Stdin: "in"}
	got, err := sh(t, t.Context(), p, `ulimit -t; sh -c 'ulimit -n'; ulimit -v; ulimit -f; echo "$X $PWD $0 $(cat)"; head -c 100000 /dev/zero >"$1" || echo refused`, file)
	if err != nil || got.Stdout != "7\n19\n2097152\n128\ny / sh in\nrefused\n" {
		t.Errorf("got %+v, %v", got, err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() != 64<<10 {
		t.Errorf("a file of %v, %v", info, err)
	}
	start := time.Now()
	confine(t, "", map[string]string{"cpu": "1"})
	if _, err := sh(t, t.Context(), ExecPayload{}, `while :; do :; done`); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("a busy one: %v after %v", err, time.Since(start))
	}
}

// A command of another user has that one's rights, and none of the worker's groups.
func TestCommandsRunAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if err := ConfineExec("nobody", nil); err == nil || !strings.Contains(err.Error(), "runs as root") {
			t.Errorf("without root: %v", err)
		}
		t.Skip("only root can run commands as another user")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of root"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody, err := exec.Command("id", "-u", "nobody").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, uid := range map[string]string{"nobody": strings.TrimSpace(string(nobody)), "12345:23456": "12345"} {
		confine(t, name, map[string]string{"files": "64"})
		got, err := sh(t, t.Context(), ExecPayload{Dir: "/"}, `id -u; id -G; cat "$1" 2>/dev/null || echo refused`, secret)
		if lines := strings.Fields(got.Stdout); err != nil || len(lines) != 3 || lines[0] != uid || lines[1] == "0" || lines[2] != "refused" {
			t.Errorf("as %s: %+v, %v", name, got, err)
		}
	}
}

func TestConfinementsAreRefused(t *testing.T) {
	for _, c := range []struct{ user, limit, value, problem string }{
		{"no-such-user", "", "", "unknown user"}, {"0:", "", "", "UID:GID"}, {":0", "", "", "UID:GID"}, {"-1:0", "", "", "UID:GID"}, {"0:4294967295", "", "", "UID:GID"},
		{"", "stack", "1", "must be one of cpu, file-size, files, memory, processes"}, {"", "cpu", "0", "number from 1"}, {"", "cpu", "", "number from 1"},
		{"", "memory", "-1", "number from 1"}, {"", "memory", "1.5GiB", "number from 1"}, {"", "memory", "9223372036854775808", "number from 1"}, {"", "cpu", "10s", "number from 1"}, {"", "memory", "8589934592GiB", "number from 1"},
	} {
		limits := map[string]string{c.limit: c.value}
		if c.limit == "" {
			limits = nil
		}
		if err := ConfineExec(c.user, limits); err == nil || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
