package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
)

// curve is how a drain's rate and cost grow with something.
type curve struct {
	over string
	at   []int64
	of   func(x int64) (workers int, l load)
}

// perPoint is how many tasks each point of a curve drains, at share 1; more than fit into
// its window.
const perPoint = 60_000

var curves = []curve{
	{"worker processes", []int64{1, 2, 4, 8}, func(x int64) (int, load) { return int(x), load{Type: "noop"} }},
	{"lanes", []int64{1, 10, 100, 1000}, func(x int64) (int, load) { return 1, load{Type: "spread", Lanes: x, Window: 20_000} }},
	{"window", []int64{1e3, 1e4, 1e5, 1e6}, func(x int64) (int, load) { return 1, load{Type: "noop", Window: x} }},
	{"bytes of payload", []int64{100, 10_000, 64_000}, func(x int64) (int, load) {
		return 1, load{Type: "noop", Pad: x, Window: 2000}
	}},
}

// draw measures all curves and writes them as CSV: what over, where, tasks/s, and what CPU
// time each task costs workers and Redis, in microseconds.
func (b *bench) draw(out io.Writer) error {
	w := csv.NewWriter(out)
	_ = w.Write([]string{"over", "x", "tasks/s", "us/task"}) // Flush tells
	for _, c := range curves {
		for _, x := range c.at {
			s, err := b.point(c, x)
			if err != nil {
				return fmt.Errorf("%s %d: %w", c.over, x, err)
			}
			fmt.Fprintf(os.Stderr, "%s %d: %.0f tasks/s, CPU for each %.1f us\n", c.over, x, s[rate], s[workerCPU]+s[redisCPU])
			_ = w.Write([]string{c.over, strconv.FormatInt(x, 10), fmt.Sprintf("%.0f", s[rate]), fmt.Sprintf("%.2f", s[workerCPU]+s[redisCPU])})
		}
	}
	w.Flush()
	return w.Error()
}

// point is the median of a point's turns.
func (b *bench) point(c curve, x int64) (sample, error) {
	workers, l := c.of(x)
	n := max(1, int64(float64(max(perPoint, 6*l.Window/5))*b.share))
	if l.Pad > 1000 {
		n = max(1, n/4)
	}
	of := make(map[string][]float64)
	for range b.turns {
		s, err := b.once(drainBy(workers, l), n)
		if err != nil {
			return nil, err
		}
		for name, value := range s {
			of[name] = append(of[name], value)
		}
	}
	s := sample{}
	for name, values := range of {
		s[name] = median(values)
	}
	return s, nil
}
