package invariant

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// task names a task of any batch.
type task struct {
	batch string
	seq   int64
}

// executions is what the handlers' own log tells.
type executions struct {
	starts    map[string][]uint16 // by batch and seq
	succeeded map[string][]bool
	total     int64
	strange   []string
	most      map[int]int     // by pid: handlers at once
	began     map[int]int64   // by pid: the first start
	faults    map[int][]int64 // by pid: when it was hit
	hit       map[hit]struct{}
	again     map[task][]run // all starts of tasks that were hit
	firsts    []int64        // times of starts, sorted, one a millisecond at most
}

// hit is a task that ran in a process when a fault hit it.
type hit struct {
	task
	pid int
	at  int64
}

type run struct {
	at  int64
	pid int
}

type entry struct {
	event string
	at    int64
	task
	attempt, pid int
	result       string
}

func parseEntry(text []byte) (e entry, err error) {
	f := bytes.Fields(text)
	if len(f) < 6 {
		return e, fmt.Errorf("%q has %d fields", text, len(f))
	}
	e.event, e.batch = string(f[0]), string(f[2])
	var errs [4]error
	e.at, errs[0] = strconv.ParseInt(string(f[1]), 10, 64)
	e.seq, errs[1] = strconv.ParseInt(string(f[3]), 10, 64)
	e.attempt, errs[2] = strconv.Atoi(string(f[4]))
	e.pid, errs[3] = strconv.Atoi(string(f[5]))
	for _, err := range errs {
		if err != nil {
			return e, fmt.Errorf("%q: %w", text, err)
		}
	}
	if e.event == "end" && len(f) == 7 {
		e.result = string(f[6])
	}
	return e, nil
}

// readExecutions reads the logs of all processes. sizes are the batches' N.
func readExecutions(files []string, sizes map[string]int64, journal []Event) (*executions, error) {
	x := &executions{
		starts: make(map[string][]uint16), succeeded: make(map[string][]bool),
		most: make(map[int]int), began: make(map[int]int64),
		faults: make(map[int][]int64), hit: make(map[hit]struct{}), again: make(map[task][]run),
	}
	for name, n := range sizes {
		x.starts[name], x.succeeded[name] = make([]uint16, max(n, 0)), make([]bool, max(n, 0))
	}
	for _, e := range journal {
		if e.Kind == Fault && e.PID != 0 {
			x.faults[e.PID] = append(x.faults[e.PID], e.At)
		}
	}
	for _, file := range files {
		if err := x.read(file); err != nil {
			return nil, err
		}
	}
	for h := range x.hit {
		x.again[h.task] = nil
	}
	for _, file := range files {
		if err := x.readAgain(file); err != nil {
			return nil, err
		}
	}
	slices.Sort(x.firsts)
	x.firsts = slices.Compact(x.firsts)
	return x, nil
}

// read is the first pass over a process's log.
func (x *executions) read(file string) error {
	open := make(map[task]int64) // when it started
	faults := []int64(nil)
	pid, running := 0, 0
	note := func(at int64) { // which tasks the faults before at have hit
		for len(faults) > 0 && faults[0] <= at {
			for t, since := range open {
				if since <= faults[0] {
					x.hit[hit{t, pid, faults[0]}] = struct{}{}
				}
			}
			faults = faults[1:]
		}
	}
	last := int64(0)
	err := eachLine(file, func(text []byte) error {
		e, err := parseEntry(text)
		if err != nil {
			return err
		}
		if pid == 0 {
			pid, faults, x.began[e.pid] = e.pid, slices.Sorted(slices.Values(x.faults[e.pid])), e.at
		}
		note(e.at)
		last = max(last, e.at)
		if e.seq < 0 || e.seq >= int64(len(x.starts[e.batch])) {
			x.strange = append(x.strange, string(text))
			return nil
		}
		switch e.event {
		case "start":
			x.total++
			x.starts[e.batch][e.seq]++
			open[e.task] = e.at
			running++
			x.most[pid] = max(x.most[pid], running)
			x.firsts = append(x.firsts, e.at/1e6)
		case "end":
			delete(open, e.task)
			running--
			if e.result == "ok" {
				x.succeeded[e.batch][e.seq] = true
			}
		default:
			x.strange = append(x.strange, string(text))
		}
		return nil
	})
	note(1<<63 - 1)
	if len(x.firsts) > 1<<22 {
		slices.Sort(x.firsts)
		x.firsts = slices.Compact(x.firsts)
	}
	return err
}

// readAgain is the second pass: when the tasks that were hit ran.
func (x *executions) readAgain(file string) error {
	if len(x.again) == 0 {
		return nil
	}
	return eachLine(file, func(text []byte) error {
		e, err := parseEntry(text)
		if err != nil {
			return err
		}
		if runs, was := x.again[e.task]; was && e.event == "start" {
			x.again[e.task] = append(runs, run{e.at, e.pid})
		}
		return nil
	})
}

// firstAfter is when the first execution after a moment started, in nanoseconds; 0
// if none did.
func (x *executions) firstAfter(at int64) int64 {
	i, _ := slices.BinarySearch(x.firsts, at/1e6+1)
	if i == len(x.firsts) {
		return 0
	}
	return x.firsts[i] * 1e6
}
