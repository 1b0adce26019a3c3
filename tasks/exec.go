package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Exec runs a command that the worker allows (--allow-exec), never through a
// shell. When the attempt's time is up its whole process group is killed.
var Exec = Define("exec", Policy{MaxResult: 1 << 20}, execute)

// ExecPayload is one call of a command.
type ExecPayload struct {
	Command string            `json:"command" validate:"required" doc:"a name given to --allow-exec"`
	Args    []string          `json:"args,omitzero"`
	Stdin   string            `json:"stdin,omitzero"`
	Env     map[string]string `json:"env,omitzero" doc:"the whole environment, besides PATH"`
	Dir     string            `json:"dir,omitzero" doc:"working directory; default: the worker's"`
}

// ExecResult is what the command did. A failed one (exit code other than 0) has
// no result but an error.
type ExecResult struct {
	ExitCode  int    `json:"exit_code"`
	Stdout    string `json:"stdout" doc:"at most 64 KiB"`
	Stderr    string `json:"stderr" doc:"at most 64 KiB"`
	Truncated bool   `json:"truncated" doc:"stdout or stderr had more"`
}

const (
	execMaxOutput = 64 << 10
	execErrorTail = 200 // bytes of stderr in an error

	// execWaitDelay is how long we wait for a command's pipes after it has
	// ended: a child that left the process group may hold them for ever.
	execWaitDelay = time.Second
)

// allowed is the commands this worker runs, by name.
var allowed = struct {
	sync.RWMutex
	paths map[string]string
}{paths: map[string]string{}}

var commandPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)

// AllowExec lets exec tasks run the executable at path under name; the worker's
// --allow-exec NAME=/path. It fails for a bad name, a path that is not absolute
// and a file that cannot be executed.
func AllowExec(name, path string) error {
	if !commandPattern.MatchString(name) {
		return fmt.Errorf("allow command %q: the name must match %s", name, commandPattern)
	}
	if !filepath.IsAbs(path) {
		return fmt.Errorf("allow command %q: path %q is not absolute", name, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("allow command %q: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("allow command %q: %s is not an executable file", name, path)
	}
	allowed.Lock()
	defer allowed.Unlock()
	allowed.paths[name] = path
	return nil
}

// Validate finds what no system call would take, and variables that make the
// dynamic linker load other code: only the allowed commands are to run.
func (p *ExecPayload) Validate() error {
	if err := noNUL("command", p.Command); err != nil {
		return err
	}
	for i, arg := range p.Args {
		if err := noNUL(fmt.Sprintf("args.%d", i), arg); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return invalidf("env", "%q is no name of a variable", shorten(name, 40))
		}
		if strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "DYLD_") {
			return invalidf("env."+name, "is not allowed")
		}
		if err := noNUL("env."+name, p.Env[name]); err != nil {
			return err
		}
	}
	return noNUL("dir", p.Dir)
}

func execute(ctx context.Context, p ExecPayload) (ExecResult, error) {
	allowed.RLock()
	path, ok := allowed.paths[p.Command]
	allowed.RUnlock()
	if !ok {
		name := shorten(p.Command, 64)
		return ExecResult{}, Rejected(fmt.Errorf("command %q is not allowed here; start the worker with --allow-exec %s=/path", name, name))
	}

	stdout, stderr := capped{limit: execMaxOutput}, capped{limit: execMaxOutput}
	cmd := exec.CommandContext(ctx, path, p.Args...)
	cmd.Args[0] = p.Command
	cmd.Dir = p.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range p.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(p.Stdin), &stdout, &stderr
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = execWaitDelay

	err := confinementNow().start(cmd)
	if err != nil {
		return ExecResult{}, notStarted(p.Command, err)
	}
	err = cmd.Wait()
	// What the command left running in its group goes too, also after a normal
	// end: nothing of an attempt outlives it.
	_ = killGroup(cmd.Process.Pid)

	if cause := ctx.Err(); cause != nil && err != nil {
		return ExecResult{}, fmt.Errorf("%s: killed: %w", p.Command, cause)
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return ExecResult{}, execFailed(p.Command, err, stderr.tail())
	}
	return ExecResult{
		ExitCode:  cmd.ProcessState.ExitCode(),
		Stdout:    stdout.text(),
		Stderr:    stderr.text(),
		Truncated: stdout.more || stderr.more,
	}, nil
}

// notStarted tells of a command that could not be started; permanent is what no further try mends.
func notStarted(command string, err error) error {
	err = fmt.Errorf("start %s: %w", command, err)
	for _, lasting := range []error{syscall.ENOENT, syscall.ENOTDIR, syscall.E2BIG, syscall.EACCES} {
		if errors.Is(err, lasting) {
			return Permanent(err)
		}
	}
	return err
}

// killGroup kills the process group led by pid.
func killGroup(pid int) error {
	err := syscall.Kill(-pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// execFailed says how a command ended, with its last words.
func execFailed(command string, err error, lastWords string) error {
	if lastWords == "" {
		return fmt.Errorf("%s: %w", command, err)
	}
	return fmt.Errorf("%s: %w: %s", command, err, lastWords)
}

// capped keeps the first limit bytes written to it, and the last few for an
// error's text, and takes the rest without keeping it: a command with much to
// say must not block.
type capped struct {
	limit int
	head  bytes.Buffer
	last  []byte // the last execErrorTail bytes
	more  bool
}

func (c *capped) Write(b []byte) (int, error) {
	kept := min(len(b), c.limit-c.head.Len())
	c.head.Write(b[:kept])
	c.more = c.more || kept < len(b)
	c.last = append(c.last, b[max(0, len(b)-execErrorTail):]...)
	c.last = c.last[max(0, len(c.last)-execErrorTail):]
	return len(b), nil
}

// text is what was kept, as valid UTF-8; a character cut in two at the cap goes.
func (c *capped) text() string {
	return strings.ToValidUTF8(string(trimCut(c.head.Bytes(), c.more)), "\uFFFD")
}

func (c *capped) tail() string {
	return strings.TrimSpace(strings.ToValidUTF8(string(c.last), ""))
}
