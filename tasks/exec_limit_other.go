//go:build !linux

package tasks

import (
	"errors"
	"os/exec"
	"syscall"
)

// start starts a command as its user. Only on Linux there are limits.
func (c confinement) start(cmd *exec.Cmd) error {
	if len(c.limits) > 0 {
		return errors.New("limits of commands need Linux")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.as}
	return cmd.Start()
}
