package tasks

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// limiter is what this very program is called when it starts a command within limits: it takes
// them upon itself and becomes the command. So they hold from the command's first instruction on,
// and need no rights, which limits of another process do.
const limiter = "weir-limit"

func init() {
	if os.Args[0] == limiter && len(os.Args) > 3 {
		err := becomeLimited(os.Args[1], os.Args[2], os.Args[3:])
		fmt.Fprintf(os.Stderr, "start %s: %v\n", os.Args[3], err)
		os.Exit(127)
	}
}

var limitNumbers = map[string]int{
	"cpu": unix.RLIMIT_CPU, "file-size": unix.RLIMIT_FSIZE, "files": unix.RLIMIT_NOFILE,
	"memory": unix.RLIMIT_AS, "processes": unix.RLIMIT_NPROC,
}

// within has a command start within limits.
func (c confinement) within(cmd *exec.Cmd) error {
	if len(c.limits) == 0 {
		return nil
	}
	self := "/proc/self/exe" // this program, also where its file was replaced
	if runtime.GOOS != "linux" {
		var err error
		if self, err = os.Executable(); err != nil {
			return err
		}
	}
	var limits []string
	for _, what := range slices.Sorted(maps.Keys(c.limits)) { // memory after those that need some
		limits = append(limits, fmt.Sprintf("%d=%d", limitNumbers[what], c.limits[what]))
	}
	cmd.Args = append([]string{limiter, strings.Join(limits, ","), cmd.Path}, cmd.Args...)
	cmd.Path = self
	return nil
}

// becomeLimited returns only where it fails.
func becomeLimited(limits, path string, args []string) error {
	env := os.Environ()
	for _, limit := range strings.Split(limits, ",") {
		what, most, _ := strings.Cut(limit, "=")
		number, errNumber := strconv.Atoi(what)
		value, err := strconv.ParseUint(most, 10, 64)
		if err != nil || errNumber != nil {
			return fmt.Errorf("limit %q", limit)
		}
		if err := syscall.Setrlimit(number, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
			return fmt.Errorf("limit %s: %w", limit, err)
		}
	}
	return syscall.Exec(path, args, env)
}
