package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/schollz/progressbar/v3"
)

const (
	barMin, barMax = 5, 40 // cells of the bar itself
	barFrame       = 10    // what progressbar puts around it: "  24% [" and "]  "
)

var spinner = []string{"|", "/", "-", `\`}

// barLine is the bar as one line of at most cols-1 columns: a full line would make
// some terminals wrap, and every redraw would then leave a line behind. What does
// not fit is left out, the bar first and then the numbers from the right.
//
// progressbar only renders here. Its own rate and ETA follow the wall clock and
// average since the start, and it syncs the terminal at every write; so each line
// is a fresh bar, made without a writer or a ticker.
func barLine(c Counts, s *speed, frame, cols int) string {
	parts, room := barParts(c, s), cols-1
	if c.Total <= 0 {
		return cut(render(-1, 0, 0, fit(parts, room-2), spinner[frame%len(spinner)]), room)
	}
	done := min(max(c.Done(), 0), c.Total)
	text := strings.Join(parts, " ")
	if w := room - barFrame - len(text); w >= barMin {
		// In steps, lest the bar change its length with every digit beside it.
		return render(c.Total, done, min(w-w%barMin, barMax), text, "")
	}
	lead := fmt.Sprintf("%4d%% ", done*100/c.Total)
	return cut(lead+fit(parts, room-len(lead)), room)
}

// barParts are the numbers, the ones that may be left out last.
func barParts(c Counts, s *speed) []string {
	var parts []string
	if c.Total >= 0 {
		parts = append(parts, fmt.Sprintf("%d/%d", c.Done(), c.Total))
	} else {
		parts = append(parts, fmt.Sprintf("%d done", c.Done()), fmt.Sprintf("%d read", c.Read))
	}
	if v, ok := s.perSecond(); ok {
		parts = append(parts, perSecond(v))
	}
	if d, ok := s.eta(c); ok {
		parts = append(parts, "eta "+coarse(d))
	}
	parts = append(parts, fmt.Sprintf("ok %d", c.OK), fmt.Sprintf("failed %d", c.Failed))
	if c.Cancelled > 0 {
		parts = append(parts, fmt.Sprintf("cancelled %d", c.Cancelled))
	}
	return append(parts, fmt.Sprintf("in flight %d", c.Active), fmt.Sprintf("retries %d", c.Retries))
}

// render is one line by progressbar; a total of -1 makes it a spinner.
func render(total, done int64, width int, text, spin string) string {
	options := []progressbar.Option{
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionSetWidth(max(width, 1)),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine
		progressbar.OptionSpinnerCustom([]string{spin}),
		progressbar.OptionSetDescription(text),
	}
	if total > 0 {
		options = append(options, progressbar.OptionShowDescriptionAtLineEnd())
	}
	b := progressbar.NewOptions64(total, options...)
	if total > 0 {
		_ = b.Set64(done) // cannot exceed total
	}
	_ = b.RenderBlank()
	return strings.TrimRight(strings.TrimPrefix(b.String(), "\r"), " ")
}

// fit joins as many parts as fit in room columns. They are ASCII.
func fit(parts []string, room int) string {
	text := ""
	for i, p := range parts {
		if i > 0 {
			p = " " + p
		}
		if len(text)+len(p) > room {
			break
		}
		text += p
	}
	return text
}

// cut is for windows narrower than anything one can show in them.
func cut(line string, room int) string { return line[:min(len(line), max(room, 0))] }
