package conntest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/conn"
)

// RealServer is a redis-server process of one test. Its methods are for the
// test's goroutines, one at a time.
type RealServer struct {
	t    testing.TB
	bin  string
	dir  string
	port int
	bus  int // of a cluster's node, else 0
	args []string

	cmd  *exec.Cmd
	log  *bytes.Buffer
	gone chan struct{} // closed when the process has been waited for
}

// Server starts a redis-server without persistence and with noeviction; args
// ("--appendonly", "yes") come behind these and win. It returns when the server
// answers, over its plain port: a test of TLS adds --tls-port beside it.
func Server(t testing.TB, args ...string) *RealServer {
	t.Helper()
	s := newServer(t, args)
	s.args = append([]string{"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"}, args...)
	s.startAnywhere()
	return s
}

func newServer(t testing.TB, args []string) *RealServer {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is not in PATH: apt-get install -y redis-server (macOS: brew install redis)")
	}
	s := &RealServer{t: t, bin: bin, dir: t.TempDir(), args: args}
	t.Cleanup(s.Kill)
	return s
}

// startAnywhere tries again when another process took a free port first.
func (s *RealServer) startAnywhere() {
	s.t.Helper()
	var err error
	for range 3 {
		s.port = FreePort(s.t)
		if slices.Contains(s.args, "--cluster-enabled") {
			s.bus = FreePort(s.t) // not port + 10000, which may be above 65535
		}
		if err = s.start(); err == nil {
			return
		}
		s.Kill()
	}
	s.t.Fatalf("start redis-server: %v\n%s", err, s.log)
}

func (s *RealServer) start() error {
	s.log = new(bytes.Buffer)
	args := s.args
	var file []string
	if len(args) > 0 && !strings.HasPrefix(args[0], "--") {
		file, args = args[:1], args[1:] // a config file goes first
	}
	args = append(append(file, "--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir), args...)
	if s.bus != 0 {
		args = append(args, "--cluster-port", strconv.Itoa(s.bus))
	}
	s.cmd = exec.Command(s.bin, args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.gone = make(chan struct{})
	started := make(chan error)
	go run(s.cmd, started, s.gone)
	if err := <-started; err != nil {
		return err
	}
	return s.waitReady()
}

// waitReady until it answers at all: also "NOAUTH" and "LOADING" are answers of
// a server that is there, but only the first is one to start a test with.
func (s *RealServer) waitReady() error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
		select {
		case <-s.gone:
			return fmt.Errorf("it ended: %v", s.cmd.ProcessState)
		default:
		}
		if reply := inlinePing(s.Addr()); strings.HasPrefix(reply, "+PONG") ||
			strings.HasPrefix(reply, "-") && !strings.HasPrefix(reply, "-LOADING") {
			return nil
		}
	}
	return fmt.Errorf("no answer at %s for 10 s", s.Addr())
}

// inlinePing needs no client, whose pool would log each refused dial.
func inlinePing(addr string) string {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err = c.Write([]byte("PING\r\n")); err != nil {
		return ""
	}
	b := make([]byte, 64)
	n, _ := c.Read(b)
	return string(b[:n])
}

// Addr is 127.0.0.1:port.
func (s *RealServer) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Dir is where its files are.
func (s *RealServer) Dir() string { return s.dir }

// PID of the running process.
func (s *RealServer) PID() int { return s.cmd.Process.Pid }

// URL of the server, with the password where args have a --requirepass.
func (s *RealServer) URL() string {
	u := url.URL{Scheme: "redis", Host: s.Addr()}
	for i, a := range s.args[:max(0, len(s.args)-1)] {
		if a == "--requirepass" {
			u.User = url.UserPassword("", s.args[i+1])
		}
	}
	return u.String()
}

// Client makes a client as weir makes them; it is closed when the test ends.
func (s *RealServer) Client() redis.UniversalClient { return client(s.t, s.URL()) }

func client(t testing.TB, rawURL string) redis.UniversalClient {
	t.Helper()
	c, err := conn.Open(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Kill sends SIGKILL and waits for the end. Killing a dead one is fine.
func (s *RealServer) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.gone
}

// Restart starts it again, after a Kill or instead of one, with the same port,
// files and arguments.
func (s *RealServer) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.Kill() // and with it ends whoever writes the log
		s.t.Fatalf("restart redis-server: %v\n%s", err, s.log)
	}
}

// Freeze stops it as if its machine hung: connections stay, answers do not come.
func (s *RealServer) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (s *RealServer) Thaw() { s.signal(syscall.SIGCONT) }

func (s *RealServer) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("send %v to redis-server: %v", sig, err)
	}
}

// FreePort is a port of 127.0.0.1 that nobody listens on, and that is the test's until its
// end: no other test gets it, of whatever process, and systems give ports above these to
// clients. Who has the UDP port of that number has it.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.IntN(22_000)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		claim, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			t.Cleanup(func() { _ = claim.Close() })
			return port
		}
		_ = claim.Close()
	}
	t.Fatal("none of a thousand ports of 127.0.0.1 is free")
	return 0
}

// Eventually waits until f is true, at most d.
func Eventually(t testing.TB, d time.Duration, what string, f func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for !f(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", d, what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
