package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/lane"
)

const (
	// masters are those of the Cluster, and shards the queues of its lane.
	masters, shards = 3, 12

	clusterSlots = 16384
)

// onCluster measures on a Cluster, empty at first, with the lane of all tasks spread over
// its shards.
func onCluster(do func(*bench, int64) (sample, error)) func(*bench, int64) (sample, error) {
	return func(b *bench, n int64) (s sample, err error) {
		c, err := b.startCluster()
		if err == nil {
			err = lane.SetShards(c.ctx, c.rdb, "noop", shards)
		}
		if err == nil {
			s, err = do(c, n)
		}
		c.stopServers()
		return s, err
	}
}

// startCluster is a bench on a Cluster of its own.
func (b *bench) startCluster() (*bench, error) {
	c := *b
	c.servers = nil
	var addrs []string
	for i := range masters {
		dir := filepath.Join(b.dir, fmt.Sprint("master", i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &c, err
		}
		s, err := startServer(dir, "--cluster-enabled", "yes", "--cluster-config-file", fmt.Sprintf("nodes-%d.conf", time.Now().UnixNano()))
		if err != nil {
			return &c, err
		}
		c.servers = append(c.servers, s)
		addrs = append(addrs, s.addr)
	}
	for i, s := range c.servers {
		err := errors.Join(
			s.rdb.Do(c.ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(),
			s.rdb.Do(c.ctx, "CLUSTER", "ADDSLOTSRANGE", clusterSlots*i/masters, clusterSlots*(i+1)/masters-1).Err(),
		)
		if err != nil {
			return &c, err
		}
		host, port, _ := net.SplitHostPort(s.addr)
		if err := c.servers[0].rdb.Do(c.ctx, "CLUSTER", "MEET", host, port).Err(); i > 0 && err != nil {
			return &c, err
		}
	}
	c.rdb = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	c.url = "redis-cluster://" + strings.Join(addrs, ",")
	return &c, until(20*time.Second, c.formed)
}

// formed says that each master knows all of them.
func (b *bench) formed() bool {
	for _, s := range b.servers {
		info := s.rdb.ClusterInfo(b.ctx).Val()
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_size:%d\r", masters)) {
			return false
		}
	}
	return true
}

// What is measured of masters.
const (
	mostTasks = "tasks on the fullest master, above the mean"
	mostCPU   = "CPU of the busiest master, above the mean"
)

// spreadOver is how alike masters are: by the tasks of a lane when all are enqueued, and by
// what it costs them to drain it. All else of a batch is on one of them.
func spreadOver(b *bench, n int64) (sample, error) {
	if err := b.run("weir-enqueue", load{Type: "noop", N: n}); err != nil {
		return nil, err
	}
	before, has := make([]float64, len(b.servers)), make([]float64, len(b.servers))
	for i, s := range b.servers {
		keys, err := s.rdb.DBSize(b.ctx).Result() // nearly all are tasks
		if err != nil {
			return nil, err
		}
		use, err := s.use(b.ctx)
		if err != nil {
			return nil, err
		}
		has[i], before[i] = float64(keys), use.cpu.Seconds()
	}
	if _, err := b.drain(n, n/10, b.leftOurs, 1, "weir-worker", slots); err != nil {
		return nil, err
	}
	took := make([]float64, len(b.servers))
	for i, s := range b.servers {
		use, err := s.use(b.ctx)
		if err != nil {
			return nil, err
		}
		took[i] = use.cpu.Seconds() - before[i]
	}
	return sample{mostTasks: aboveMean(has), mostCPU: aboveMean(took)}, nil
}

// aboveMean is by how many percent the most is above the mean.
func aboveMean(values []float64) float64 {
	most, sum := 0.0, 0.0
	for _, v := range values {
		most, sum = max(most, v), sum+v
	}
	return 100 * (most*float64(len(values))/sum - 1)
}

// server is one redis-server, without persistence.
type server struct {
	cmd  *exec.Cmd
	addr string
	rdb  *redis.Client
}

func startServer(dir string, args ...string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{addr: "127.0.0.1:" + port}
	args = append([]string{"--port", port, "--save", "", "--appendonly", "no", "--dir", dir, "--loglevel", "warning"}, args...)
	s.cmd = exec.Command("redis-server", args...)
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	s.rdb = redis.NewClient(&redis.Options{Addr: s.addr})
	return s, until(5*time.Second, func() bool { return s.rdb.Ping(context.Background()).Err() == nil })
}

// freePort is one that leaves room for a Cluster's bus, 10,000 above it.
func freePort() (string, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if port < 55_000 {
			return fmt.Sprint(port), nil
		}
	}
}

func (s *server) stop() {
	_ = s.rdb.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}
