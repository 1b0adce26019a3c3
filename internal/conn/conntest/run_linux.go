package conntest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// run starts a server and waits for it. The kernel kills the server when the
// test process dies, by SIGKILL too. That is tied to the thread that started
// it: the goroutine keeps its thread until the server is gone.
func run(cmd *exec.Cmd, started chan<- error, gone chan<- struct{}) {
	defer close(gone)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait()
	}
}
