package cli

import (
	"github.com/weir-tasks/weir/tasks"
)

// Commands are the flags of what exec tasks run, and how.
type Commands struct {
	AllowExec map[string]string `help:"Let exec tasks run this command under this name; may be repeated." placeholder:"NAME=/PATH" mapsep:";"`
	ExecUser  string            `help:"Run them as this user, a name or UID:GID; for a worker that runs as root." placeholder:"USER"`
	ExecLimit map[string]string `help:"Bound each of their processes: cpu=SECONDS, memory=SIZE, file-size=SIZE, files=N, processes=N; may be repeated." placeholder:"WHAT=N" mapsep:";"`
}

// Allow lets this process' exec tasks run them.
func (c *Commands) Allow() error {
	for name, path := range c.AllowExec {
		if err := tasks.AllowExec(name, path); err != nil {
			return UsageError("--allow-exec %s=%s: %w", name, path, err)
		}
	}
	if err := tasks.ConfineExec(c.ExecUser, c.ExecLimit); err != nil {
		return UsageError("--exec-user, --exec-limit: %w", err)
	}
	return nil
}
