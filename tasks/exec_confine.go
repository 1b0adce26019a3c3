package tasks

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/weir-tasks/weir/internal/size"
)

// confinement is as whom commands run, and within which limits of the system's.
type confinement struct {
	as     *syscall.Credential // nil is the worker's own user
	limits map[string]uint64   // by the names of limitNames
}

// limitNames are what may be bounded of each process of a command: seconds on a processor, bytes
// of address space and of each file it writes, open files, and processes of its user.
var limitNames = []string{"cpu", "file-size", "files", "memory", "processes"}

// confines says that commands run otherwise than the worker itself.
func (c confinement) confines() bool { return c.as != nil || len(c.limits) > 0 }

// confined is how this worker's commands run.
var confined struct {
	sync.RWMutex
	confinement
}

// ConfineExec says as which user, and within which limits, commands of exec tasks run: a
// worker's --exec-user and --exec-limit. The user is a name, or UID:GID, and "" the worker's own;
// limits are numbers by name: cpu, file-size, files, memory and processes, sizes also as 64MiB. It
// fails for what is no such user or limit, for another user unless this process is root's, and
// where no command can be started so: it tries.
func ConfineExec(name string, limits map[string]string) error {
	c := confinement{limits: make(map[string]uint64)}
	var err error
	if name != "" {
		if c.as, err = credential(name); err != nil {
			return fmt.Errorf("run commands as %q: %w", name, err)
		}
		if os.Geteuid() != 0 {
			return fmt.Errorf("run commands as %q: only a worker that runs as root can", name)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(limits)) {
		if !slices.Contains(limitNames, what) {
			return fmt.Errorf("limit %q of commands: must be one of %s", what, strings.Join(limitNames, ", "))
		}
		if c.limits[what], err = size.Parse(limits[what]); err != nil {
			return fmt.Errorf("limit %s of commands: %w", what, err)
		}
	}
	if err := c.try(); err != nil {
		return fmt.Errorf("no command can be started so: %w", err)
	}
	confined.Lock()
	defer confined.Unlock()
	confined.confinement = c
	return nil
}

func confinementNow() confinement {
	confined.RLock()
	defer confined.RUnlock()
	return confined.confinement
}

// credential is that of a user by name, or by UID:GID. It is of no further groups.
func credential(name string) (*syscall.Credential, error) {
	uid, gid, numbers := strings.Cut(name, ":")
	if !numbers {
		u, err := user.Lookup(name)
		if err != nil {
			return nil, err
		}
		uid, gid = u.Uid, u.Gid
	}
	u, errUser := strconv.ParseUint(uid, 10, 31)
	g, errGroup := strconv.ParseUint(gid, 10, 31)
	if errUser != nil || errGroup != nil {
		return nil, fmt.Errorf("must be a name or UID:GID")
	}
	return &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}, nil
}
