package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
)

// summary is what the final lines are made of, besides the tally.
type summary struct {
	batch, verdict string
	counts         Counts
	took           time.Duration
	before         int64 // outcomes there were before this report began
}

// verdictDone is the one that claims an outcome for every task.
const verdictDone = "done"

func (t *tally) summary(s summary) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	c := s.counts

	after := "after"
	if s.verdict == verdictDone {
		after = "in"
	}
	fmt.Fprintf(&b, "batch %s: %s %s %s\n", s.batch, s.verdict, after, took(s.took))

	equals := "="
	if c.Read != c.Done()+c.Waiting() {
		equals = "!="
	}
	fmt.Fprintf(&b, "  read %d %s ok %d + failed %d + cancelled %d", c.Read, equals, c.OK, c.Failed, c.Cancelled)
	if w := c.Waiting(); w != 0 {
		fmt.Fprintf(&b, " + waiting %d", w)
	}
	b.WriteByte('\n')
	for _, m := range t.mismatches(s) {
		fmt.Fprintf(&b, "  ACCOUNTING MISMATCH: %s\n", m)
	}

	rate := 0.0
	if secs := s.took.Seconds(); secs > 0 {
		rate = float64(max(0, c.Done()-s.before)) / secs
	}
	fmt.Fprintf(&b, "  rate %s, retries %d", perSecond(rate), c.Retries)
	switch n := len(t.workers); {
	case n >= maxWorkers:
		fmt.Fprintf(&b, ", workers %d or more", n)
	case n > 0:
		fmt.Fprintf(&b, ", workers %d", n)
	}
	b.WriteByte('\n')

	t.latencies(&b)
	t.failureLines(&b, c.Failed)
	return b.String()
}

// mismatches are the ways in which the numbers do not add up.
func (t *tally) mismatches(s summary) []string {
	var m []string
	c := s.counts
	if err := c.Check(); err != nil {
		m = append(m, err.Error())
	}
	if s.verdict == verdictDone && c.Total >= 0 && c.Done() != c.Total {
		m = append(m, fmt.Sprintf("%d tasks are done, but %d have an outcome", c.Total, c.Done()))
	}
	// Fewer seen than counted is a resumed batch. More is an outcome seen twice.
	for _, f := range []struct {
		state         batch.State
		seen, counted int64
	}{{batch.OK, t.ok, c.OK}, {batch.Failed, t.failed, c.Failed}, {batch.Cancelled, t.stopped, c.Cancelled}} {
		if f.seen > f.counted {
			m = append(m, fmt.Sprintf("%d %s outcomes were read, but %d are counted", f.seen, f.state, f.counted))
		}
	}
	return m
}

// latencies are the lines of percentiles, in columns; a line without a sample is
// left out.
func (t *tally) latencies(b *strings.Builder) {
	var rows [][]string
	if t.run.h.TotalCount() > 0 {
		rows = append(rows, append(t.run.cells("run ms"), fmt.Sprintf("max %.1f", float64(t.run.max)/1000)))
	}
	if t.start.h.TotalCount() > 0 {
		rows = append(rows, append(t.start.cells("start ms"), "(from enqueue to first start)"))
	}
	width := make([]int, 5)
	width[0] = len("start ms ")
	for _, row := range rows {
		for i, cell := range row[:4] {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += fmt.Sprintf("  %-*s", width[i], cell)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

func (l *latency) cells(name string) []string {
	cells := []string{name}
	for _, p := range []float64{50, 95, 99} {
		cells = append(cells, fmt.Sprintf("p%.0f %.1f", p, l.at(p)))
	}
	return cells
}

// failureLines lists the classes, the most frequent first, each with its sample.
func (t *tally) failureLines(b *strings.Builder, counted int64) {
	classes := make([]batch.Class, 0, len(t.failures))
	for class := range t.failures {
		classes = append(classes, class)
	}
	slices.SortFunc(classes, func(x, y batch.Class) int {
		return cmp.Or(cmp.Compare(t.failures[y].count, t.failures[x].count), cmp.Compare(x, y))
	})
	lead := "failed: "
	for _, class := range classes {
		f := t.failures[class]
		fmt.Fprintf(b, "  %s%s %d, e.g. seq %d", lead, class, f.count, f.seq)
		if f.text != "" {
			b.WriteString(": " + f.text)
		}
		b.WriteByte('\n')
		lead = "        "
	}
	if n := counted - t.failed; n > 0 {
		fmt.Fprintf(b, "  %s%d not read in this run\n", lead, n)
	}
}

// took is a duration as the summary shows it: tenths as long as they matter.
func took(d time.Duration) string {
	if d < time.Minute {
		// Down, so that 59.96s does not become 60.0s.
		return fmt.Sprintf("%d.%ds", d/time.Second, d%time.Second/(100*time.Millisecond))
	}
	return coarse(d)
}
