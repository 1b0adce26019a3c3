package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limiter is what this very program is called when it starts a confined command: it takes the
// limits upon itself, gives up the way to more rights and becomes the command. So they hold
// from the command's first instruction on, and need no rights, which limits of another process do.
const limiter = "weir-limit"

const (
	// limiterPipe is where the limiter tells what failed: the step and the error's number, a
	// byte each. It ends without a word as the limiter becomes the command.
	limiterPipe = 3

	// passedOn begins each of the command's variables on their way through the limiter: so
	// none of them is one to Go's runtime, the linker or the libraries there.
	passedOn = "+"
)

// limiterEnv has the limiter's runtime do nothing of its own: all it would ask of the system
// between the limits and the command might be refused.
var limiterEnv = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1"}

var limitNumbers = map[string]uintptr{
	"cpu": unix.RLIMIT_CPU, "file-size": unix.RLIMIT_FSIZE, "files": unix.RLIMIT_NOFILE,
	"memory": unix.RLIMIT_AS, "processes": unix.RLIMIT_NPROC,
}

func init() {
	if os.Args[0] == limiter && len(os.Args) > 3 {
		fmt.Fprintf(os.Stderr, "start %s: %v\n", os.Args[3], becomeLimited(os.Args[1], os.Args[2], os.Args[3:]))
		os.Exit(127)
	}
}

// try goes the whole way of a confined command but its last step: there is no program of no name.
func (c confinement) try() error {
	if !c.confines() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := c.start(exec.CommandContext(ctx, ""))
	var last *os.PathError
	switch {
	case errors.As(err, &last) && last.Path == "":
		return nil
	case err == nil:
		return errors.New("the start ended half-way")
	}
	return err
}

// start starts a command as its user and within its limits. The errors are those of cmd.Start,
// and of limits that this process may not set.
func (c confinement) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.as}
	if !c.confines() {
		return cmd.Start()
	}
	told, pipe, err := os.Pipe()
	if err != nil {
		return err
	}
	defer told.Close()
	path, names := cmd.Path, slices.Sorted(maps.Keys(c.limits))
	var limits []string
	for _, name := range names {
		limits = append(limits, fmt.Sprintf("%s=%d", name, c.limits[name]))
	}
	cmd.Path = "/proc/self/exe" // this program, also where its file was replaced
	cmd.Args = append([]string{limiter, strings.Join(limits, ","), path}, cmd.Args...)
	env := slices.Clone(limiterEnv)
	for _, variable := range cmd.Env {
		env = append(env, passedOn+variable)
	}
	cmd.Env, cmd.ExtraFiles = env, []*os.File{pipe}
	err = cmd.Start()
	pipe.Close()
	if err != nil {
		return err
	}
	failed, _ := io.ReadAll(told)
	if len(failed) < 2 {
		return nil
	}
	_ = cmd.Wait()
	step, errno := int(failed[0]), syscall.Errno(failed[1])
	switch {
	case step == 0:
		return fmt.Errorf("bar new privileges: %w", errno)
	case step <= len(names):
		return fmt.Errorf("limit %s: %w", limits[step-1], errno)
	}
	return &os.PathError{Op: "fork/exec", Path: path, Err: errno}
}

type rlimit struct {
	number uintptr
	syscall.Rlimit
}

// becomeLimited returns only where it was called with nonsense.
func becomeLimited(limits, path string, args []string) error {
	var all []rlimit
	for _, limit := range strings.FieldsFunc(limits, func(r rune) bool { return r == ',' }) {
		name, most, _ := strings.Cut(limit, "=")
		number, known := limitNumbers[name]
		value, err := strconv.ParseUint(most, 10, 64)
		if err != nil || !known {
			return fmt.Errorf("limit %q", limit)
		}
		all = append(all, rlimit{number, syscall.Rlimit{Cur: value, Max: value}})
	}
	var env []string
	for _, variable := range os.Environ() {
		if variable, ok := strings.CutPrefix(variable, passedOn); ok {
			env = append(env, variable)
		}
	}
	pathp, err := syscall.BytePtrFromString(path)
	if err != nil {
		return err
	}
	argp, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return err
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	syscall.CloseOnExec(limiterPipe)
	// Go has raised the limit of open files for itself. What becomes of this program has the
	// former one again, and keeps it though there is no program of no name.
	_ = syscall.Exec("", nil, nil)
	enter(all, pathp, &argp[0], &envp[0])
	return nil
}

// enter becomes the command, or tells why not and ends. From the first limit on nothing but
// system calls is done here: there may be no memory, no thread and no file any more, not even
// for Go's runtime.
//
//go:nosplit
//go:norace
func enter(limits []rlimit, path *byte, args, env **byte) {
	_, _, errno := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	step := 0
	for errno == 0 && step < len(limits) {
		limit := &limits[step]
		_, _, errno = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, limit.number, uintptr(unsafe.Pointer(&limit.Rlimit)), 0, 0, 0)
		step++
	}
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(args)), uintptr(unsafe.Pointer(env)))
		step++
	}
	failed := [2]byte{byte(step), byte(errno)}
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, limiterPipe, uintptr(unsafe.Pointer(&failed)), 2)
	_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
}
