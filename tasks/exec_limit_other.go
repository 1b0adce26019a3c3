//go:build !linux

package tasks

import (
	"errors"
	"os/exec"
	"syscall"
)

// try says that only on Linux there are limits.
func (c confinement) try() error {
	if len(c.limits) > 0 {
		return errors.New("limits need Linux")
	}
	return nil
}

// start starts a command as its user.
func (c confinement) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.as}
	return cmd.Start()
}
