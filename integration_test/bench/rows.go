package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// row is one line of the table: what of ours is measured beside what of raw asynq.
type row struct {
	name   string
	unit   string
	n      int64 // tasks, at share 1
	ours   func(b *bench, n int64) (float64, error)
	raw    func(b *bench, n int64) (float64, error)
	less   bool   // is better
	beside string // what raw is, if not raw asynq
	goal   string
}

const (
	// slots is each worker's concurrency, where a row has no other.
	slots = 100

	senders = 64 // goroutines that enqueue, of raw asynq

	batchName = "bench"
)

var rows = []row{
	{name: "drain, one worker", unit: "tasks/s", n: 200_000, goal: ">= 3.5x",
		ours: func(b *bench, n int64) (float64, error) { return drainOurs(b, "noop", n) }, raw: drainRaw},
	{name: "drain, with a governor", unit: "tasks/s", n: 200_000, goal: ">= 0.97x", beside: "weir without",
		ours: func(b *bench, n int64) (float64, error) { return drainOurs(b, "governed", n) },
		raw:  func(b *bench, n int64) (float64, error) { return drainOurs(b, "noop", n) }},
	{name: "enqueue, 64 goroutines of asynq's", unit: "tasks/s", n: 1_000_000, goal: ">= 1.8x", ours: enqueueOurs,
		raw: func(b *bench, n int64) (float64, error) { return enqueueRaw(b, n/4, senders) }},
	{name: "enqueue, one goroutine of asynq's", unit: "tasks/s", n: 1_000_000, goal: ">= 8x", ours: enqueueOurs,
		raw: func(b *bench, n int64) (float64, error) { return enqueueRaw(b, n/20, 1) }},
	{name: "pickup, idle worker, p50", unit: "ms", n: 100, less: true, goal: ">= 700x",
		ours: func(b *bench, n int64) (float64, error) { return pickup(b, n, "weir", 0.5) },
		raw:  func(b *bench, n int64) (float64, error) { return pickup(b, n, "asynq", 0.5) }},
	{name: "pickup, idle worker, p99", unit: "ms", n: 100, less: true, goal: "<= 3 ms",
		ours: func(b *bench, n int64) (float64, error) { return pickup(b, n, "weir", 0.99) },
		raw:  func(b *bench, n int64) (float64, error) { return pickup(b, n, "asynq", 0.99) }},
	{name: "10,000 at once of 1 s each", unit: "tasks/s", n: 60_000, goal: ">= 9,500/s", ours: wideOurs, raw: wideRaw},
	{name: "1,000 of 1 s by 50 consumers", unit: "s", n: 1000, less: true, goal: "<= 20.04 s", ours: articleOurs, raw: articleRaw},
}

type result struct {
	row
	oursAt, rawAt, ratio float64
}

func (b *bench) measure(r row) error {
	n := max(1, int64(float64(r.n)*b.share))
	var ours, raws, ratios []float64
	for range b.turns {
		raw, err := b.once(r.raw, n)
		if err != nil {
			return fmt.Errorf("%s: %w", r.against(), err)
		}
		our, err := b.once(r.ours, n)
		if err != nil {
			return fmt.Errorf("weir: %w", err)
		}
		ratio := our / raw
		if r.less {
			ratio = raw / our
		}
		ours, raws, ratios = append(ours, our), append(raws, raw), append(ratios, ratio)
		fmt.Fprintf(os.Stderr, "%s: weir %.4g %s, %s %.4g, %.2fx\n", r.name, our, r.unit, r.against(), raw, ratio)
	}
	b.done = append(b.done, result{r, median(ours), median(raws), median(ratios)})
	return nil
}

func (r row) against() string {
	if r.beside != "" {
		return r.beside
	}
	return "raw asynq"
}

// once measures on an empty Redis.
func (b *bench) once(do func(*bench, int64) (float64, error), n int64) (float64, error) {
	if err := b.rdb.FlushAll(context.Background()).Err(); err != nil {
		return 0, err
	}
	return do(b, n)
}

func (b *bench) table() string {
	var s strings.Builder
	s.WriteString("| what | weir | beside | ratio | goal |\n|---|---|---|---|---|\n")
	for _, r := range b.done {
		fmt.Fprintf(&s, "| %s | %.4g %s | %s %.4g | %.2fx | %s |\n", r.name, r.oursAt, r.unit, r.against(), r.rawAt, r.ratio, r.goal)
	}
	return s.String()
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

// rate is that at which n tasks end from the moment when so many have until the last, and
// what CPU time they cost.
func (b *bench) rate(n, after int64, left func(int64) (int64, error), role string, args ...any) (float64, error) {
	before, err := b.redisCPU()
	if err != nil {
		return 0, err
	}
	p, err := b.start(role, args...)
	if err != nil {
		return 0, err
	}
	var began time.Time // a worker's start is not measured
	var from int64
	for {
		l, err := left(n)
		if err != nil {
			return 0, err
		}
		if began.IsZero() && l <= n-after {
			began, from = time.Now(), l
		}
		if l == 0 {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	rate := float64(from) / time.Since(began).Seconds()
	redis, err := b.redisCPU()
	if err != nil {
		return 0, err
	}
	worker, err := p.stop()
	micros := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
	fmt.Fprintf(os.Stderr, "  %s: %.0f/s, CPU for each task: worker %.1f us, Redis %.1f us\n", role, rate, micros(worker), micros(redis-before))
	return rate, err
}

func drainOurs(b *bench, typ string, n int64) (float64, error) {
	if err := b.run("weir-enqueue", typ, batchName, n, 0); err != nil {
		return 0, err
	}
	return b.rate(n, n/10, b.leftOurs, "weir-worker", slots)
}

func drainRaw(b *bench, n int64) (float64, error) {
	if err := b.run("asynq-enqueue", n, 0, senders); err != nil {
		return 0, err
	}
	return b.rate(n, n/10, b.leftRaw, "asynq-worker", slots)
}

// enqueueOurs has the producer enqueue a file of n lines.
func enqueueOurs(b *bench, n int64) (float64, error) {
	var lines bytes.Buffer
	for i := range n {
		fmt.Fprintf(&lines, "{\"n\":%d}\n", i%90)
	}
	file := filepath.Join(b.dir, "lines")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		return 0, err
	}
	began := time.Now()
	cmd := b.producer("enqueue", "square", file, "--format=ndjson", "--quiet", "--window", strconv.FormatInt(n, 10))
	p, err := startCommand(cmd)
	if err == nil {
		err = p.wait()
	}
	return float64(n) / time.Since(began).Seconds(), err
}

func enqueueRaw(b *bench, n int64, goroutines int) (float64, error) {
	began := time.Now()
	err := b.run("asynq-enqueue", n, 0, goroutines)
	return float64(n) / time.Since(began).Seconds(), err
}

// pickup is a quantile of the time from enqueue to the start of the handler, in ms.
func pickup(b *bench, n int64, system string, quantile float64) (float64, error) {
	var said bytes.Buffer
	worker, err := b.startOut(&said, system+"-worker", 10)
	if err != nil {
		return 0, err
	}
	time.Sleep(time.Second) // idle
	if err := b.run(system+"-drip", n); err != nil {
		return 0, err
	}
	left := b.leftRaw
	if system == "weir" {
		left = func(int64) (int64, error) { return 0, nil }
	}
	err = until(time.Minute, func() bool { l, err := left(n); return l == 0 && err == nil })
	if _, stopErr := worker.stop(); err != nil || stopErr != nil {
		return 0, errors.Join(err, stopErr)
	}
	var waits []float64
	for lines := bufio.NewScanner(&said); lines.Scan(); {
		ns, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return 0, err
		}
		waits = append(waits, float64(ns)/1e6)
	}
	if len(waits) == 0 {
		return 0, errors.New("no task was run")
	}
	slices.Sort(waits)
	return waits[min(len(waits)-1, int(quantile*float64(len(waits))))], nil
}

// wide is how many tasks are in flight at once, of n.
func wide(n int64) int64 { return n / 6 }

func wideOurs(b *bench, n int64) (float64, error) {
	if err := b.run("weir-enqueue", "noop", batchName, n, 1000); err != nil {
		return 0, err
	}
	return b.rate(n, wide(n), b.leftOurs, "weir-worker", wide(n))
}

func wideRaw(b *bench, n int64) (float64, error) {
	if err := b.run("asynq-enqueue", n, 1000, senders); err != nil {
		return 0, err
	}
	return b.rate(n, wide(n), b.leftRaw, "asynq-worker", wide(n))
}

// articleOurs is the time from the first enqueue to the last outcome, with two workers.
func articleOurs(b *bench, n int64) (float64, error) {
	return article(b, n, "weir-worker", func() error {
		return b.run("weir-enqueue", "noop", batchName, n, 1000)
	}, b.leftOurs)
}

func articleRaw(b *bench, n int64) (float64, error) {
	return article(b, n, "asynq-worker", func() error { return b.run("asynq-enqueue", n, 1000, senders) }, b.leftRaw)
}

func article(b *bench, n int64, role string, enqueue func() error, left func(int64) (int64, error)) (float64, error) {
	var workers []*process
	for range 2 {
		w, err := b.start(role, 25)
		if err != nil {
			return 0, err
		}
		workers = append(workers, w)
	}
	time.Sleep(2 * time.Second) // idle
	began := time.Now()
	err := enqueue()
	if err == nil {
		err = until(5*time.Minute, func() bool { l, err := left(n); return l == 0 && err == nil })
	}
	took := time.Since(began)
	for _, w := range workers {
		_, stopErr := w.stop()
		err = errors.Join(err, stopErr)
	}
	return took.Seconds(), err
}
