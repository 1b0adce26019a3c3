package integration_test

import "syscall"

// dieWithUs makes the kernel kill the process when the test's process dies, by
// SIGKILL too.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
