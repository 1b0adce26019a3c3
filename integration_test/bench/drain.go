package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// slots is each worker's concurrency, where a row has no other.
	slots = 100

	senders = 64 // goroutines that enqueue, of raw asynq

	batchName = "bench"
)

// load is a batch to be enqueued.
type load struct {
	Type   string
	N      int64
	MS     int64 // that each task takes
	Pad    int64 // bytes in each payload, beside the rest
	Lanes  int64 // of a type that spreads
	Window int64 // all if 0
}

func (l load) String() string {
	text, _ := json.Marshal(l)
	return string(text)
}

// leftOurs and leftRaw are how many tasks have not ended.
func (b *bench) leftOurs(n int64) (int64, error) {
	ok, err := b.rdb.HGet(context.Background(), "weir:{"+batchName+"}:batch", "ok").Int64()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return n - ok, err
}

func (b *bench) leftRaw(int64) (int64, error) {
	ctx := context.Background()
	pipe := b.rdb.Pipeline()
	pending, active := pipe.LLen(ctx, "asynq:{default}:pending"), pipe.LLen(ctx, "asynq:{default}:active")
	_, err := pipe.Exec(ctx)
	return pending.Val() + active.Val(), err
}

// drain is how n tasks end from the moment when so many have until the last, and what
// they cost. The workers' start is not in the rate.
func (b *bench) drain(n, after int64, left func(int64) (int64, error), workers int, role string, args ...any) (sample, error) {
	before, err := b.redisUse()
	if err != nil {
		return nil, err
	}
	var all []*process
	for range workers {
		p, err := b.start(role, args...)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	var began time.Time
	var from int64
	for {
		l, err := left(n)
		if err != nil {
			return nil, err
		}
		if began.IsZero() && l <= n-after {
			began, from = time.Now(), l
		}
		if l == 0 {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	s := sample{rate: float64(from) / time.Since(began).Seconds()}
	use, err := b.redisUse()
	if err != nil {
		return nil, err
	}
	s[redisCPU] = each(use.cpu-before.cpu, n)
	s[roundTrips] = float64(use.reads-before.reads) / float64(n)
	for _, p := range all {
		s[memory] = max(s[memory], p.memory())
	}
	for _, p := range all {
		cpu, err := p.stop()
		if err != nil {
			return nil, err
		}
		s[workerCPU] += each(cpu, n)
	}
	return s, nil
}

// each is the time for each of n tasks, in microseconds.
func each(d time.Duration, n int64) float64 { return float64(d.Microseconds()) / float64(n) }

func drainOurs(typ string) func(*bench, int64) (sample, error) { return drainBy(1, load{Type: typ}) }

// drainBy drains a batch by so many workers.
func drainBy(workers int, l load) func(*bench, int64) (sample, error) {
	return func(b *bench, n int64) (sample, error) {
		l := l
		l.N = n
		if l.Window > 0 {
			return b.drainFed(workers, l)
		}
		if err := b.run("weir-enqueue", l); err != nil {
			return nil, err
		}
		return b.drain(n, n/10, b.leftOurs, workers, "weir-worker", slots)
	}
}

// drainSteady drains a batch, whose second half counts: a new lane's limit has grown by then.
func drainSteady(typ string) func(*bench, int64) (sample, error) {
	return func(b *bench, n int64) (sample, error) {
		if err := b.run("weir-enqueue", load{Type: typ, N: n}); err != nil {
			return nil, err
		}
		return b.drain(n, n/2, b.leftOurs, 1, "weir-worker", slots)
	}
}

// drainFed drains a batch that is fed meanwhile.
func (b *bench) drainFed(workers int, l load) (sample, error) {
	feeder, err := b.start("weir-enqueue", l)
	if err != nil {
		return nil, err
	}
	s, err := b.drain(l.N, l.N/10, b.leftOurs, workers, "weir-worker", slots)
	return s, errors.Join(err, feeder.wait())
}

func drainRaw(b *bench, n int64) (sample, error) {
	if err := b.run("asynq-enqueue", n, 0, senders); err != nil {
		return nil, err
	}
	return b.drain(n, n/10, b.leftRaw, 1, "asynq-worker", slots)
}

// enqueueOurs has the producer enqueue a file of n lines.
func enqueueOurs(b *bench, n int64) (sample, error) {
	var lines bytes.Buffer
	for i := range n {
		fmt.Fprintf(&lines, "{\"n\":%d}\n", i%90)
	}
	file := filepath.Join(b.dir, "lines")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		return nil, err
	}
	began := time.Now()
	cmd := b.producer("enqueue", "square", file, "--format=ndjson", "--quiet", "--window", strconv.FormatInt(n, 10))
	p, err := startCommand(cmd)
	if err == nil {
		err = p.wait()
	}
	return sample{rate: float64(n) / time.Since(began).Seconds()}, err
}

// enqueueRaw enqueues one of so many tasks only: it takes that much longer.
func enqueueRaw(part int64, goroutines int) func(*bench, int64) (sample, error) {
	return func(b *bench, n int64) (sample, error) {
		n = max(1, n/part)
		began := time.Now()
		err := b.run("asynq-enqueue", n, 0, goroutines)
		return sample{rate: float64(n) / time.Since(began).Seconds()}, err
	}
}

// wide is how many tasks are in flight at once, of n.
func wide(n int64) int64 { return max(1, n/6) }

func wideOurs(b *bench, n int64) (sample, error) {
	if err := b.run("weir-enqueue", load{Type: "noop", N: n, MS: 1000}); err != nil {
		return nil, err
	}
	return b.drain(n, wide(n), b.leftOurs, 1, "weir-worker", wide(n))
}

func wideRaw(b *bench, n int64) (sample, error) {
	if err := b.run("asynq-enqueue", n, 1000, senders); err != nil {
		return nil, err
	}
	return b.drain(n, wide(n), b.leftRaw, 1, "asynq-worker", wide(n))
}

// articleOurs is the time from the first enqueue to the last outcome, with two workers.
func articleOurs(b *bench, n int64) (sample, error) {
	return article(b, n, "weir-worker", func() error {
		return b.run("weir-enqueue", load{Type: "noop", N: n, MS: 1000})
	}, b.leftOurs)
}

func articleRaw(b *bench, n int64) (sample, error) {
	return article(b, n, "asynq-worker", func() error { return b.run("asynq-enqueue", n, 1000, senders) }, b.leftRaw)
}

func article(b *bench, n int64, role string, enqueue func() error, left func(int64) (int64, error)) (sample, error) {
	var workers []*process
	for range 2 {
		w, err := b.start(role, 25)
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
	}
	time.Sleep(2 * time.Second) // idle
	began := time.Now()
	err := enqueue()
	if err == nil {
		err = until(5*time.Minute, func() bool { l, err := left(n); return l == 0 && err == nil })
	}
	s := sample{took: time.Since(began).Seconds()}
	for _, w := range workers {
		_, stopErr := w.stop()
		err = errors.Join(err, stopErr)
	}
	return s, err
}

// endToEnd is `producer run`, from its start to its end, with two workers that wait for it.
func endToEnd(b *bench, n int64) (sample, error) {
	var workers []*process
	for range 2 {
		w, err := b.start("weir-worker", slots)
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
	}
	time.Sleep(2 * time.Second) // until they wait
	before, err := b.redisUse()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	cmd := b.producer("run", "square", "--repeat", strconv.FormatInt(n, 10), "--payload", `{"n":7}`,
		"--quiet", "--batch", batchName, "--out", filepath.Join(b.dir, "outcomes"))
	run, err := startCommand(cmd)
	if err != nil {
		return nil, err
	}
	defer os.Remove(filepath.Join(b.dir, "outcomes"))
	s := sample{}
	for ended := false; !ended; {
		s[memory] = max(s[memory], run.memory())
		ended = until(200*time.Millisecond, run.ended) == nil
	}
	if err := run.wait(); err != nil {
		return nil, err
	}
	s[rate] = float64(n) / time.Since(began).Seconds()
	use, err := b.redisUse()
	if err != nil {
		return nil, err
	}
	s[redisCPU], s[producer] = each(use.cpu-before.cpu, n), each(run.cpu(), n)
	for _, w := range workers {
		cpu, err := w.stop()
		if err != nil {
			return nil, err
		}
		s[workerCPU] += each(cpu, n)
	}
	return s, nil
}

func tenth(of func(*bench, int64) (sample, error)) func(*bench, int64) (sample, error) {
	return func(b *bench, n int64) (sample, error) { return of(b, max(1, n/10)) }
}
