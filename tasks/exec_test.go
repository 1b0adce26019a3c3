package tasks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// allowSh lets tests run the shell, as a worker's --allow-exec would.
func allowSh(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh")
	}
	if err := AllowExec("sh", path); err != nil {
		t.Fatal(err)
	}
}

// sh runs a script as an exec task.
func sh(t *testing.T, ctx context.Context, p ExecPayload, script string, args ...string) (ExecResult, error) {
	t.Helper()
	allowSh(t)
	p.Command, p.Args = "sh", append([]string{"-c", script, "sh"}, args...)
	data, err := Exec.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, ctx, Exec, string(data))
}

func TestExec(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET", "of the worker")
	p := ExecPayload{Stdin: "in\n", Env: map[string]string{"GREETING": "hello world"}, Dir: dir}
	got, err := sh(t, t.Context(), p, `read x; echo "$x|$GREETING|$SECRET|${PATH:+path}|$1|$2"; pwd; echo bad >&2`, "a b; exit 1", "$(exit 1)")
	if err != nil {
		t.Fatal(err)
	}
	want := ExecResult{Stdout: "in|hello world||path|a b; exit 1|$(exit 1)\n" + dir + "\n", Stderr: "bad\n"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestExecOutputIsCapped(t *testing.T) {
	got, err := sh(t, t.Context(), ExecPayload{}, `head -c 65535 /dev/zero | tr '\0' x; printf '\303\251'; head -c 1000000 /dev/zero; printf 'a\377b' >&2`)
	if err != nil {
		t.Fatal(err)
	}
	if got.Stdout != strings.Repeat("x", 65535) || !got.Truncated || got.Stderr != "a\uFFFDb" {
		t.Errorf("got %d bytes, truncated %v, stderr %q", len(got.Stdout), got.Truncated, got.Stderr)
	}
}

func TestExecOutputAtTheCapIsWhole(t *testing.T) {
	for size, cut := range map[int]bool{execMaxOutput: false, execMaxOutput + 1: true} {
		got, err := sh(t, t.Context(), ExecPayload{}, fmt.Sprintf(`head -c %d /dev/zero | tr '\0' x`, size))
		if err != nil || got.Truncated != cut || len(got.Stdout) != execMaxOutput {
			t.Errorf("of %d bytes %d are kept, truncated %v, %v", size, len(got.Stdout), got.Truncated, err)
		}
	}
}

// The worst output still fits the result's cap.
func TestExecWorstOutputFits(t *testing.T) {
	_, err := sh(t, t.Context(), ExecPayload{}, `head -c 100000 /dev/zero; head -c 100000 /dev/zero >&2`)
	if err != nil {
		t.Error(err)
	}
}

func TestExecFails(t *testing.T) {
	_, err := sh(t, t.Context(), ExecPayload{}, `echo out; head -c 1000 /dev/zero | tr '\0' . >&2; echo the end >&2; exit 3`)
	if err == nil || IsPermanent(err) {
		t.Fatalf("got %v", err)
	}
	if text := err.Error(); !strings.HasPrefix(text, "sh: exit status 3: ...") || !strings.HasSuffix(text, ".the end") || len(text) > 230 {
		t.Errorf("got %q (%d bytes)", text, len(text))
	}
	if _, err := sh(t, t.Context(), ExecPayload{}, `kill -9 $$`); err == nil || err.Error() != "sh: signal: killed" {
		t.Errorf("got %v", err)
	}
	if _, err := sh(t, t.Context(), ExecPayload{Dir: "/nosuch"}, `true`); !IsPermanent(err) {
		t.Errorf("no directory: got %v", err)
	}
}

func TestExecNotAllowed(t *testing.T) {
	for _, command := range []string{"rm", "/bin/sh", "../sh", strings.Repeat("x", 1000)} {
		_, err := run(t, t.Context(), Exec, `{"command":"`+command+`"}`)
		if !IsPermanent(err) || !strings.Contains(err.Error(), "--allow-exec") || len(err.Error()) > 300 {
			t.Errorf("%s: got %v", command, err)
		}
	}
}

func TestAllowExec(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, problem string }{
		{"", "/bin/sh", "must match"},
		{"a/b", "/bin/sh", "must match"},
		{"a=b", "/bin/sh", "must match"},
		{"ok", "sh", "is not absolute"},
		{"ok", dir, "is not an executable file"},
		{"ok", plain, "is not an executable file"},
		{"ok", filepath.Join(dir, "nosuch"), "no such file"},
	} {
		if err := AllowExec(c.name, c.path); err == nil || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s=%s: got %v", c.name, c.path, err)
		}
	}
	if _, err := run(t, t.Context(), Exec, `{"command":"ok"}`); !IsPermanent(err) {
		t.Errorf("a refused command is allowed: %v", err)
	}
}

func TestExecPayloadRules(t *testing.T) {
	for _, c := range []struct{ payload, field, reason string }{
		{`{}`, "command", "is required"},
		{`{"command":"a\u0000"}`, "command", "NUL"},
		{`{"command":"a","args":["","b\u0000"]}`, "args.1", "NUL"},
		{`{"command":"a","args":"b"}`, "args", "must be a list"},
		{`{"command":"a","env":{"X":"\u0000"}}`, "env.X", "NUL"},
		{`{"command":"a","env":{"X=Y":""}}`, "env", "is no name"},
		{`{"command":"a","env":{"":""}}`, "env", "is no name"},
		{`{"command":"a","env":{"LD_PRELOAD":"/tmp/x.so"}}`, "env.LD_PRELOAD", "is not allowed"},
		{`{"command":"a","dir":"\u0000"}`, "dir", "NUL"},
	} {
		t.Run(c.payload, func(t *testing.T) {
			wantInvalid(t, Exec.Type().Check([]byte(c.payload)), c.field, c.reason)
		})
	}
}

// pipeOf makes a named pipe and returns its path and, once a child has opened
// it too, its reading end: the end of file says that all who held it are gone.
func pipeOf(t *testing.T) (path string, open func() *bufio.Reader) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, func() *bufio.Reader {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { f.Close() })
		return bufio.NewReader(f)
	}
}

func TestExecKillsTheWholeGroup(t *testing.T) {
	t.Parallel()
	path, open := pipeOf(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		r := open()
		line, err := r.ReadString('\n') // child and grandchild are there
		cancel()
		if err == nil && line == "ready\n" {
			_, err = io.ReadAll(r)
		}
		gone <- err
	}()
	start := time.Now()
	// The grandchild ignores what a shell would send, and holds stdout too.
	_, err := sh(t, ctx, ExecPayload{}, `exec 3>"$1"; sh -c 'trap "" HUP TERM INT; sleep 1000; sleep 1000' & echo ready >&3; wait`, path)
	if !errors.Is(err, context.Canceled) || IsPermanent(err) {
		t.Errorf("got %v", err)
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestExecLeavesNothingAfterNormalEnd(t *testing.T) {
	t.Parallel()
	path, open := pipeOf(t)
	gone := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(open())
		gone <- err
	}()
	// The grandchild holds stdout: Wait gives up on it after execWaitDelay.
	got, err := sh(t, t.Context(), ExecPayload{}, `exec 3>"$1"; sleep 1000 & echo done`, path)
	if err != nil || got.Stdout != "done\n" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
}

func TestTrimCut(t *testing.T) {
	text := "aé€😀"
	for n := range len(text) + 1 {
		got := trimCut([]byte(text)[:n], true)
		if !utf8.Valid(got) || !strings.HasPrefix(text, string(got)) || n-len(got) > 3 {
			t.Errorf("%d bytes: %q", n, got)
		}
	}
	for _, odd := range []string{"\xff", "a\xff", "\x80\x80\x80\x80", ""} {
		if got := trimCut([]byte(odd), true); string(got) != odd {
			t.Errorf("%q became %q", odd, got)
		}
	}
}
