package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// bench holds what all measurements need: a Redis, and where it lies.
type bench struct {
	turns int
	share float64
	dir   string
	redis *exec.Cmd
	addr  string
	rdb   *redis.Client
	done  []result
}

func newBench(turns int, share float64) (*bench, error) {
	b := &bench{turns: turns, share: share}
	var err error
	if b.dir, err = os.MkdirTemp("", "weir-bench-"); err != nil {
		return b, err
	}
	build := exec.Command("go", "build", "-o", b.dir+"/", "./producer")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return b, fmt.Errorf("build the producer, from the repository's top: %w", err)
	}
	return b, b.startRedis()
}

func (b *bench) close() {
	if b.rdb != nil {
		_ = b.redis.Process.Kill()
		_ = b.redis.Wait()
	}
	_ = os.RemoveAll(b.dir)
}

// startRedis starts a Redis without persistence.
func (b *bench) startRedis() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	b.addr = "127.0.0.1:" + port
	b.redis = exec.Command("redis-server", "--port", port, "--save", "", "--appendonly", "no", "--dir", b.dir, "--loglevel", "warning")
	if err := b.redis.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	b.rdb = redis.NewClient(&redis.Options{Addr: b.addr})
	return until(5*time.Second, func() bool { return b.rdb.Ping(context.Background()).Err() == nil })
}

func until(limit time.Duration, ok func() bool) error {
	for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > limit {
			return fmt.Errorf("not within %v", limit)
		}
	}
	return nil
}

// process is a role in a process of its own.
type process struct {
	cmd *exec.Cmd
}

func (b *bench) start(role string, args ...any) (*process, error) {
	return b.startOut(nil, role, args...)
}

// startOut is start; what the role says goes to out.
func (b *bench) startOut(out io.Writer, role string, args ...any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text := []string{roleArg, role, b.addr}
	for _, a := range args {
		text = append(text, fmt.Sprint(a))
	}
	cmd := exec.Command(self, text...)
	cmd.Stdout = out
	return startCommand(cmd)
}

func startCommand(cmd *exec.Cmd) (*process, error) {
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	return &process{cmd}, cmd.Start()
}

// run is start, and waiting for the end.
func (b *bench) run(role string, args ...any) error {
	p, err := b.start(role, args...)
	if err != nil {
		return err
	}
	return p.wait()
}

// producer is weir's own, on the Redis of the bench.
func (b *bench) producer(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(b.dir, "producer"), append([]string{"--redis=redis://" + b.addr, "--log-level=error"}, args...)...)
}

func (p *process) wait() error {
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(p.cmd.Args, " "), err)
	}
	return nil
}

// stop ends a role in order and tells what CPU time it used.
func (p *process) stop() (cpu time.Duration, err error) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.wait(); err != nil {
		return 0, err
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), nil
}

// redisCPU is what CPU time Redis has used so far.
func (b *bench) redisCPU() (time.Duration, error) {
	info, err := b.rdb.InfoMap(context.Background(), "cpu").Result()
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, field := range []string{"used_cpu_sys", "used_cpu_user"} {
		s, err := strconv.ParseFloat(info["CPU"][field], 64)
		if err != nil {
			return 0, fmt.Errorf("redis says of its %s: %w", field, err)
		}
		sum += s
	}
	return time.Duration(sum * float64(time.Second)), nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
