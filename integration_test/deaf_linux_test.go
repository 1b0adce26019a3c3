package integration_test

import (
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// deafAddress is one that never answers: its backlog is full, and Linux then drops
// what asks for more.
func deafAddress(t *testing.T) (host, port string) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	host, port = "127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port)
	for range 20 {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 300*time.Millisecond)
		if err != nil {
			return host, port
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("a listener that accepts nothing has taken 20 connections")
	return "", ""
}
