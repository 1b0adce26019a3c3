package tasks

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// A command's environment is its own: on the way there it steers nothing of weir's.
func TestTheEnvironmentOfALimitedCommandIsItsOwn(t *testing.T) {
	confine(t, "", map[string]string{"files": "64"})
	p := ExecPayload{Env: map[string]string{"GODEBUG": "inittrace=1", "GOMAXPROCS": "8000", "GOGC": "1", "GOTRACEBACK": "crash", "PATH": "/bin", "+X": "+"}}
	got, err := sh(t, t.Context(), p, `tr '\0' '\n' </proc/$$/environ`)
	names := strings.Split(strings.TrimSpace(got.Stdout), "\n")
	slices.Sort(names)
	want := []string{"+X=+", "GODEBUG=inittrace=1", "GOGC=1", "GOMAXPROCS=8000", "GOTRACEBACK=crash", "PATH=/bin"}
	names = slices.DeleteFunc(names, func(s string) bool { return strings.HasPrefix(s, "PWD=") || strings.HasPrefix(s, "OLDPWD=") }) // the shell's
	if err != nil || got.Stderr != "" || !slices.Equal(names, want) {
		t.Errorf("got %q, stderr %q, %v, want %q", names, got.Stderr, err, want)
	}
}

// What is unlimited is as it was for the worker.
func TestLimitsLeaveTheOthersAlone(t *testing.T) {
	const script = `ulimit -Sa; ulimit -Ha`
	want, err := sh(t, t.Context(), ExecPayload{}, script)
	if err != nil {
		t.Fatal(err)
	}
	confine(t, "", map[string]string{"cpu": "7"})
	got, err := sh(t, t.Context(), ExecPayload{}, script)
	drop := func(s string) string { return regexp.MustCompile(`(?m)^.*(cpu|time).*$`).ReplaceAllString(s, "") }
	if err != nil || drop(got.Stdout) != drop(want.Stdout) || got.Stdout == want.Stdout {
		t.Errorf("got %v\n%s, want\n%s", err, got.Stdout, want.Stdout)
	}
}

// Little memory is enough for a command that needs little: what weir does before it takes none.
func TestCommandsOfLittleMemoryStart(t *testing.T) {
	for _, memory := range []string{"64MiB", "128MiB"} {
		confine(t, "", map[string]string{"memory": memory, "processes": "1"})
		for n := range 15 {
			if _, err := sh(t, t.Context(), ExecPayload{}, `:`, strings.Repeat("x", 30<<10), strings.Repeat("y", 30<<10)); err != nil {
				t.Fatalf("within %s, the %d. time: %v", memory, n, err)
			}
		}
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

// A confined command gets no more rights by a program that would give it some.
func TestConfinedCommandsGetNoNewPrivileges(t *testing.T) {
	confine(t, "", map[string]string{"files": "64"})
	got, err := sh(t, t.Context(), ExecPayload{}, `grep NoNewPrivs /proc/self/status`)
	if err != nil || got.Stdout != "NoNewPrivs:\t1\n" {
		t.Errorf("got %q, %v", got.Stdout, err)
	}
}

// A command starts no more processes than its user may have. Root's are not counted.
func TestProcessesOfAUserAreBounded(t *testing.T) {
	name := ""
	if os.Geteuid() == 0 {
		name = "54321:54321"
	}
	confine(t, name, map[string]string{"processes": "1"})
	got, err := sh(t, t.Context(), ExecPayload{Dir: "/"}, `true & wait`)
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "fork") {
		t.Errorf("a second process: %+v, %v", got, err)
	}
}

// A command that cannot be started fails alike with limits and without, once and for all.
func TestALimitedCommandThatIsNotThereFailsAsAnyOther(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"gone": "#!/bin/sh", "no-interpreter": "#!/no/such", "no-rights": "#!/bin/sh"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := AllowExec(name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "no-rights"), 0o600); err != nil {
		t.Fatal(err)
	}
	payloads := map[string]string{
		"gone": `{"command":"gone"}`, "no interpreter": `{"command":"no-interpreter"}`, "no rights": `{"command":"no-rights"}`,
		"no folder": `{"command":"gone","dir":"/no/such"}`, "a file as folder": `{"command":"gone","dir":"/etc/passwd"}`,
		"too long": `{"command":"no-interpreter","args":["` + strings.Repeat("x", 200<<10) + `"]}`,
	}
	errs := make(map[string]string)
	for _, limits := range []map[string]string{nil, {"files": "64"}} {
		confine(t, "", limits)
		for what, payload := range payloads {
			var p ExecPayload
			if err := json.Unmarshal([]byte(payload), &p); err != nil {
				t.Fatal(err)
			}
			_, err := execute(t.Context(), p)
			if !IsPermanent(err) {
				t.Errorf("%s, within %v: %v is not permanent", what, limits, err)
				continue
			}
			text := strings.ReplaceAll(err.Error(), "/proc/self/exe", filepath.Join(dir, p.Command))
			if other, ok := errs[what]; ok && other != text {
				t.Errorf("%s: %q, within %v %q", what, other, limits, text)
			}
			errs[what] = text
		}
	}
}

// A worker whose commands could not start does not start: rights that are missing are told by name.
func TestConfinementsAreTried(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	more, user := map[string]string{"cpu": "7", "files": strconv.FormatUint(files.Max+1, 10)}, ""
	if os.Geteuid() == 0 {
		user = "54321:54321"
	}
	if err := ConfineExec(user, more); err == nil || !strings.HasSuffix(err.Error(), "limit files="+more["files"]+": operation not permitted") {
		t.Errorf("more files than the worker's own %d: %v", files.Max, err)
	}
	if user == "" {
		t.Skip("only root can run commands as another user")
	}
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: a thread without rights
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var rights [2]unix.CapUserData
		if err := unix.Capset(&header, &rights[0]); err != nil {
			refused <- err
			return
		}
		refused <- ConfineExec(user, nil)
	}()
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "no command can be started so: ") || !strings.Contains(err.Error(), "operation not permitted") {
		t.Errorf("root without rights: %v", err)
	}
	if confinementNow().confines() {
		t.Error("what is refused holds")
	}
}
