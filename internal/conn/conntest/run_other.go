//go:build !linux

package conntest

import "os/exec"

// run starts a server and waits for it. A test process that is killed leaves
// the server behind; on Linux it does not.
func run(cmd *exec.Cmd, started chan<- error, gone chan<- struct{}) {
	defer close(gone)
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait()
	}
}
