package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
)

// Options say where a report goes and in which form.
type Options struct {
	Out      io.Writer        // stderr; nil is like Quiet
	Terminal bool             // Out is a terminal: draw a bar. Its width is asked of Out, if that has a file descriptor
	Quiet    bool             // print nothing at all, not even the summary
	Batch    string           // the batch's name
	Now      func() time.Time // nil: time.Now
	Every    time.Duration    // between plain lines; 0: 5s
}

// Report shows one batch.
type Report struct {
	o     Options
	start time.Time
	tally *tally

	// mu guards what follows. It is held while writing, and so is never taken by
	// Outcome.
	mu     sync.Mutex
	screen *screen
	speed  speed
	lined  time.Time // the last plain line, at first the start
	frame  int       // of the spinner
	closed bool      // the summary is out: no more bars

	// before is how many outcomes the batch had before this report began (a resumed
	// batch), known from the first counts. The average rate leaves them out.
	before      int64
	beforeKnown bool
}

// New starts a report and its clock: the summary's duration counts from here.
func New(o Options) *Report {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every <= 0 {
		o.Every = 5 * time.Second
	}
	if o.Out == nil {
		o.Out, o.Quiet = io.Discard, true
	}
	o.Batch = Clean(o.Batch, 64)
	now := o.Now()
	return &Report{o: o, start: now, lined: now, tally: newTally(), screen: &screen{out: o.Out}}
}

// Outcome takes note of an outcome that was read: how long it ran, its retries,
// worker and class of failure. wait is the time from enqueue to first start, less
// than 0 if unknown. Nothing of o is kept. It is cheap (a mutex, two histogram
// records, no allocation unless o failed) and never waits for the terminal.
func (r *Report) Outcome(o *batch.Outcome, wait time.Duration) {
	if r.o.Quiet {
		return
	}
	r.tally.add(o, wait)
}

// Update shows how far the batch is; call it a few times a second. On a terminal
// it redraws the bar, otherwise it prints a line if the last one is Every ago.
func (r *Report) Update(c Counts) {
	if r.o.Quiet {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	now := r.o.Now()
	c = r.observe(c)
	r.speed.add(now, c.Done())
	if r.o.Terminal {
		r.frame++
		r.screen.draw(barLine(c, &r.speed, r.frame, columns(r.o.Out)))
		return
	}
	if now.Sub(r.lined) >= r.o.Every {
		r.lined = now
		r.screen.print(fmt.Sprintf("batch %s: %s", r.o.Batch, plainLine(c, &r.speed)))
	}
}

// Note prints a line for people, above the bar if there is one. Line breaks in it
// are kept, other control characters are not.
func (r *Report) Note(format string, args ...any) {
	if r.o.Quiet {
		return
	}
	lines := strings.Split(strings.TrimRight(fmt.Sprintf(format, args...), "\r\n"), "\n")
	for i, l := range lines {
		lines[i] = Clean(l, maxNote)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.screen.print(strings.Join(lines, "\n"))
}

// Summary clears the bar and prints the final lines; Update does nothing from then
// on. Take c after the last call of Outcome: more outcomes seen than c counts is
// reported as a mismatch. The verdict is a word such as "done", "cancelled" or
// "interrupted"; "done" claims that every task has its outcome, and is held to it.
func (r *Report) Summary(c Counts, verdict string) {
	if r.o.Quiet {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	c = r.observe(c)
	s := summary{
		batch:   r.o.Batch,
		verdict: Clean(verdict, maxSample),
		counts:  c,
		took:    r.o.Now().Sub(r.start),
		before:  r.before,
	}
	r.screen.erase()
	r.screen.print(strings.TrimSuffix(r.tally.summary(s), "\n"))
}

// Beside returns a writer for other output that may reach the same terminal, such
// as outcomes on stdout (if that is a terminal too) or a log on stderr: the bar
// makes way for each Write and comes back after it, once the output is at the start
// of a line. Without a bar it returns w itself.
func (r *Report) Beside(w io.Writer) io.Writer {
	if r.o.Quiet || !r.o.Terminal {
		return w
	}
	return &beside{r: r, w: w}
}

// observe completes counts with what the outcomes have told.
func (r *Report) observe(c Counts) Counts {
	seen, retries := r.tally.progress()
	if !r.beforeKnown {
		r.before, r.beforeKnown = max(0, c.Done()-seen), true
	}
	// The caller may count retries of unfinished tasks, or none at all.
	c.Retries = max(c.Retries, retries)
	return c
}
