package main

import (
	"context"
	"fmt"
	"io"
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

// bench holds what all measurements need: a Redis, or a Cluster, and where it lies.
type bench struct {
	ctx     context.Context
	turns   int
	share   float64
	dir     string
	servers []*server
	url     string
	rdb     redis.UniversalClient
	done    []result
}

func newBench(turns int, share float64) (*bench, error) {
	b := &bench{ctx: context.Background(), turns: turns, share: share}
	var err error
	if b.dir, err = os.MkdirTemp("", "weir-bench-"); err != nil {
		return b, err
	}
	build := exec.Command("go", "build", "-o", b.dir+"/", "./producer")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return b, fmt.Errorf("build the producer, from the repository's top: %w", err)
	}
	s, err := startServer(b.dir)
	if err != nil {
		return b, err
	}
	b.servers, b.url, b.rdb = []*server{s}, "redis://"+s.addr, s.rdb
	return b, nil
}

func (b *bench) close() {
	b.stopServers()
	_ = os.RemoveAll(b.dir)
}

func (b *bench) stopServers() {
	for _, s := range b.servers {
		s.stop()
	}
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
	cmd  *exec.Cmd
	gone chan struct{}
	err  error
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
	text := []string{roleArg, role, b.url}
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
	p := &process{cmd: cmd, gone: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.err = cmd.Wait(); close(p.gone) }()
	return p, nil
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
	return exec.Command(filepath.Join(b.dir, "producer"), append([]string{"--redis=" + b.url, "--log-level=error"}, args...)...)
}

func (p *process) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

func (p *process) wait() error {
	if <-p.gone; p.err != nil {
		return fmt.Errorf("%s: %w", strings.Join(p.cmd.Args, " "), p.err)
	}
	return nil
}

// stop ends a role in order and tells what CPU time it used.
func (p *process) stop() (cpu time.Duration, err error) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.wait(); err != nil {
		return 0, err
	}
	return p.cpu(), nil
}

// cpu is what CPU time it has used, when it has ended.
func (p *process) cpu() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// memory is the most it had in memory so far, in MB; 0 where the system does not tell.
func (p *process) memory() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kb float64
	_, _ = fmt.Sscan(rest, &kb)
	return kb / 1024
}

// use is what Redis has used so far.
type use struct {
	cpu   time.Duration
	reads int64 // of its connections
}

func (b *bench) redisUse() (all use, err error) {
	for _, s := range b.servers {
		u, err := s.use(b.ctx)
		if err != nil {
			return all, err
		}
		all.cpu, all.reads = all.cpu+u.cpu, all.reads+u.reads
	}
	return all, nil
}

func (s *server) use(ctx context.Context) (u use, err error) {
	info, err := s.rdb.InfoMap(ctx, "cpu", "stats").Result()
	if err != nil {
		return u, err
	}
	var sum float64
	for _, field := range []string{"used_cpu_sys", "used_cpu_user"} {
		s, err := strconv.ParseFloat(info["CPU"][field], 64)
		if err != nil {
			return u, fmt.Errorf("redis says of its %s: %w", field, err)
		}
		sum += s
	}
	u.cpu = time.Duration(sum * float64(time.Second))
	u.reads, err = strconv.ParseInt(info["Stats"]["total_reads_processed"], 10, 64)
	return u, err
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
