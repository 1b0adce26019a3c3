package report

import (
	"io"

	"golang.org/x/term"
)

const (
	eraseLine = "\r\x1b[K"
	eraseRest = "\x1b[K"
)

// screen is the writer with at most one bar on its last line. Every change is a
// single Write, so that nothing flickers and other processes on the same terminal
// cannot come between. Callers hold Report.mu.
type screen struct {
	out io.Writer
	bar string // what is drawn, "" if nothing
	mid bool   // other output has left the cursor in the middle of a line
	buf []byte
}

// draw puts a bar where the old one is.
func (s *screen) draw(bar string) {
	s.bar = bar
	if !s.mid {
		s.write("\r", bar, eraseRest)
	}
}

// erase removes the bar for good.
func (s *screen) erase() {
	if s.bar != "" && !s.mid {
		s.write(eraseLine)
	}
	s.bar = ""
}

// print writes text and a line break, above the bar.
func (s *screen) print(text string) {
	switch {
	case s.mid: // on a line of its own, not in the middle of somebody's
		s.mid = false
		s.write("\n", text, "\n", s.bar)
	case s.bar != "":
		s.write(eraseLine, text, "\n", s.bar)
	default:
		s.write(text, "\n")
	}
}

func (s *screen) write(parts ...string) {
	s.buf = s.buf[:0]
	for _, p := range parts {
		s.buf = append(s.buf, p...)
	}
	_, _ = s.out.Write(s.buf)
}

// beside is other output on the screen's terminal.
type beside struct {
	r *Report
	w io.Writer
}

func (b *beside) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return b.w.Write(p)
	}
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	s := b.r.screen
	if s.bar != "" && !s.mid {
		s.write(eraseLine)
	}
	n, err := b.w.Write(p)
	if n > 0 {
		s.mid = p[n-1] != '\n'
	}
	if s.bar != "" && !s.mid {
		s.write("\r", s.bar, eraseRest)
	}
	return n, err
}

// columns is the terminal's width, asked for at every draw because windows are
// resized; 80 if unknown.
func columns(w io.Writer) int {
	if f, ok := w.(interface{ Fd() uintptr }); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}
