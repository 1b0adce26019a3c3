//go:build !linux

package integration_test

import "syscall"

// dieWithUs does nothing: a test process that is killed leaves its commands behind.
func dieWithUs(*syscall.SysProcAttr) {}
