package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// row is what is measured at once: ours, and beside it what raw asynq, or something else,
// does. It is one line of the table for each of its figures.
type row struct {
	name    string
	n       int64 // tasks, at share 1
	ours    func(b *bench, n int64) (sample, error)
	raw     func(b *bench, n int64) (sample, error) // nil if there is nothing like it
	beside  string                                  // what raw is, if not raw asynq
	few     bool                                    // three turns do: its goals are no ratios
	figures []figure
}

// sample is what one measurement found, by what it is of.
type sample map[string]float64

// figure is one thing that a row measures.
type figure struct {
	of, unit string
	less     bool // is better
	goal     string
}

// What samples are of.
const (
	rate       = "rate"
	took       = "time"
	p50        = "p50"
	p99        = "p99"
	workerCPU  = "CPU of the workers for each task"
	producer   = "CPU of the producer for each task"
	redisCPU   = "CPU of Redis for each task"
	roundTrips = "reads of Redis for each task"
	memory     = "memory"
)

const (
	perSecond = "tasks/s"
	micros    = "us"
	millis    = "ms"
	megabytes = "MB"
	percent   = "%"
)

// costs are the figures of a drain beside its rate.
var costs = []figure{
	{workerCPU, micros, true, ">= 1x"}, {redisCPU, micros, true, ">= 1x"}, {roundTrips, "", true, ">= 1x"},
}

var rows = []row{
	{name: "drain, one worker", n: 200_000, ours: drainOurs("noop"), raw: drainRaw,
		figures: append([]figure{{rate, perSecond, false, ">= 3.5x"}}, costs...)},
	{name: "drain", n: 60_000, ours: drainOurs("noop"), raw: flatOut, beside: "this Redis flat out",
		figures: []figure{{rate, perSecond, false, ">= 0.7x"}}},
	{name: "drain, with a governor, after slow start", n: 200_000, ours: drainSteady("governed"), raw: drainSteady("noop"), beside: "weir without",
		figures: []figure{{rate, perSecond, false, ">= 0.97x"}}},
	{name: "drain, a lane of 12 shards on a Cluster of 3 masters", n: 60_000, ours: onCluster(drainOurs("noop")), raw: drainOurs("noop"), beside: "weir on one Redis",
		figures: []figure{{redisCPU, micros, true, ">= 0.83x"}, {workerCPU, micros, true, ""}, {rate, perSecond, false, ""}}},
	{name: "a lane of 12 shards on a Cluster of 3 masters", n: 60_000, ours: onCluster(spreadOver), few: true,
		figures: []figure{{mostTasks, percent, true, "<= 10%"}, {mostCPU, percent, true, ""}}},
	{name: "enqueue, 64 goroutines of asynq's", n: 1_000_000, ours: enqueueOurs, raw: enqueueRaw(4, 64),
		figures: []figure{{rate, perSecond, false, ">= 1.8x"}}},
	{name: "enqueue, one goroutine of asynq's", n: 400_000, ours: enqueueOurs, raw: enqueueRaw(20, 1),
		figures: []figure{{rate, perSecond, false, ">= 8x"}}},
	{name: "pickup, idle worker", n: 120, ours: pickup("weir"), raw: pickup("asynq"),
		figures: []figure{{p50, millis, true, ">= 700x"}, {p99, millis, true, "<= 3 ms"}}},
	{name: "pickup at 80% of the drain rate", n: 60_000, ours: pickupLoaded("weir"), raw: pickupLoaded("asynq"),
		figures: []figure{{p50, millis, true, ""}, {p99, millis, true, ""}}},
	{name: "10,000 at once of 1 s each", n: 60_000, ours: wideOurs, raw: wideRaw, few: true,
		figures: []figure{{rate, perSecond, false, ">= 9,500/s"}, {memory, megabytes, true, "<= 120 MB"}}},
	{name: "1,000 of 1 s by 50 consumers", n: 1000, ours: articleOurs, raw: articleRaw, few: true,
		figures: []figure{{took, "s", true, "<= 20.04 s"}}},
	{name: "producer run, two workers, outcomes in a file", n: 1_000_000, ours: endToEnd, raw: tenth(endToEnd), beside: "a tenth of the tasks", few: true,
		figures: []figure{{rate, perSecond, false, ">= 25,000/s"}, {memory, megabytes, true, "<= 64 MB, flat"},
			{producer, micros, true, ""}, {workerCPU, micros, true, ""}, {redisCPU, micros, true, ""}}},
}

// result is a figure of a row, over its turns.
type result struct {
	row
	figure
	ours, raws, ratios []float64
}

func (b *bench) measure(r row) error {
	results := make([]*result, len(r.figures))
	for i, f := range r.figures {
		results[i] = &result{row: r, figure: f}
	}
	turns := b.turns
	if r.few {
		turns = min(turns, 3)
	}
	for range turns {
		if err := b.turn(r, results); err != nil {
			return err
		}
	}
	for _, res := range results {
		b.done = append(b.done, *res)
	}
	return nil
}

// turn measures once what a row is beside, and then weir.
func (b *bench) turn(r row, results []*result) error {
	n := max(1, int64(float64(r.n)*b.share))
	var raw sample
	var err error
	if r.raw != nil {
		if raw, err = b.once(r.raw, n); err != nil {
			return fmt.Errorf("%s: %w", r.against(), err)
		}
	}
	our, err := b.once(r.ours, n)
	if err != nil {
		return fmt.Errorf("weir: %w", err)
	}
	for _, res := range results {
		res.add(our, raw)
	}
	return nil
}

// add notes a turn, and tells of it.
func (r *result) add(our, raw sample) {
	o := our[r.of]
	r.ours = append(r.ours, o)
	line := fmt.Sprintf("%s, %s: weir %s %s", r.name, r.of, short(o), r.unit)
	if raw != nil {
		w := raw[r.of]
		ratio := o / w
		if r.less {
			ratio = w / o
		}
		r.raws, r.ratios = append(r.raws, w), append(r.ratios, ratio)
		line += fmt.Sprintf(", %s %s, %.2fx", r.against(), short(w), ratio)
	}
	fmt.Fprintln(os.Stderr, line)
}

func (r *row) against() string {
	if r.beside != "" {
		return r.beside
	}
	return "raw asynq"
}

// once measures on an empty Redis.
func (b *bench) once(do func(*bench, int64) (sample, error), n int64) (sample, error) {
	if err := b.rdb.FlushAll(context.Background()).Err(); err != nil {
		return nil, err
	}
	return do(b, n)
}

// short is a number with what people read of it.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func (b *bench) table() string {
	var s strings.Builder
	s.WriteString("| what | weir | beside | ratio | goal |\n|---|---|---|---|---|\n")
	for _, r := range b.done {
		fmt.Fprintf(&s, "| %s: %s | %s %s |", r.name, r.of, short(median(r.ours)), r.unit)
		if len(r.raws) > 0 {
			fmt.Fprintf(&s, " %s %s | %.2fx |", r.against(), short(median(r.raws)), median(r.ratios))
		} else {
			s.WriteString(" | |")
		}
		fmt.Fprintf(&s, " %s |\n", r.goal)
	}
	return s.String()
}
