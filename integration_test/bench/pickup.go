package main

import (
	"bufio"
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"
)

// pickup is the time from enqueue to the start of the handler, of tasks that come to an
// idle worker now and then.
func pickup(system string) func(*bench, int64) (sample, error) {
	return func(b *bench, n int64) (sample, error) {
		return b.waits(system, 10, func() error { return b.run(system+"-drip", n, drip.Microseconds(), 1) })
	}
}

// pickupLoaded is the same where tasks come at 80% of the rate at which they can be
// worked off.
func pickupLoaded(system string) func(*bench, int64) (sample, error) {
	return func(b *bench, n int64) (sample, error) {
		measure := map[string]func(*bench, int64) (sample, error){"weir": drainOurs("noop"), "asynq": drainRaw}[system]
		s, err := b.once(measure, n)
		if err != nil {
			return nil, err
		}
		if err := b.rdb.FlushAll(b.ctx).Err(); err != nil {
			return nil, err
		}
		const together = 20 // tasks, so that the sleeps between them are not too short
		each := time.Duration(together * float64(time.Second) / (0.8 * s[rate]))
		return b.waits(system, slots, func() error { return b.run(system+"-drip", n/2, each.Microseconds(), together) })
	}
}

// waits is what the tasks that drip makes tell of their waits.
func (b *bench) waits(system string, slots int, drip func() error) (sample, error) {
	var said bytes.Buffer
	worker, err := b.startOut(&said, system+"-worker", slots)
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Second) // idle
	if err := drip(); err != nil {
		return nil, err
	}
	if system == "asynq" { // weir's drip waits for the outcomes
		err = until(time.Minute, func() bool { l, err := b.leftRaw(0); return l == 0 && err == nil })
	}
	if _, stopErr := worker.stop(); err != nil || stopErr != nil {
		return nil, errors.Join(err, stopErr)
	}
	var waits []float64
	for lines := bufio.NewScanner(&said); lines.Scan(); {
		ns, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return nil, err
		}
		waits = append(waits, float64(ns)/1e6)
	}
	if len(waits) == 0 {
		return nil, errors.New("no task was run")
	}
	slices.Sort(waits)
	quantile := func(q float64) float64 { return waits[min(len(waits)-1, int(q*float64(len(waits))))] }
	return sample{p50: quantile(0.5), p99: quantile(0.99)}, nil
}
