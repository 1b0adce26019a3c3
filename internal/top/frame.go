package top

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/report"
	"github.com/weir-tasks/weir/internal/story"
)

var (
	head   = lipgloss.NewStyle().Bold(true)
	chosen = lipgloss.NewStyle().Reverse(true)
	bad    = lipgloss.NewStyle().Foreground(lipgloss.Red)
	dim    = lipgloss.NewStyle().Faint(true)
)

// around is how many lines of the screen are not the list's: title, what it is of, column
// titles, state and keys.
const around = 5

// batchLines is how many lines come before a batch's dead letters.
const batchLines = 9

// rows is how many lines there are for a list.
func (m *Model) rows() int { return max(1, m.height-around) }

func (m *Model) style(s lipgloss.Style, text string) string {
	if m.plain {
		return text
	}
	return s.Render(text)
}

// scrolls says that what is looked at is no list, and may have more lines than the screen.
func (m *Model) scrolls() bool { return m.at.view == "task" || m.at.view == "redis" }

// space is how many lines there are for what scrolls.
func (m *Model) space() int { return max(1, m.height-1-m.feet()) }

// feet is how many lines are below all else: state and keys.
func (m *Model) feet() int {
	if m.plain {
		return 1
	}
	return 2
}

// frame is the screen: never more lines or columns than it has.
func (m *Model) frame() string {
	content := m.content()
	if m.scrolls() {
		content = content[max(0, min(m.at.row, len(content)-m.space())):]
	}
	lines := append([]string{m.title()}, content...)
	foot := []string{m.state(), m.style(dim, m.keys())}[:m.feet()]
	if most := max(0, m.height-len(foot)); len(lines) > most {
		lines = lines[:most]
	}
	for !m.plain && len(lines) < m.height-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines, foot...)
	lines = lines[:min(len(lines), max(1, m.height))]
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, m.width, "…")
	}
	return strings.Join(lines, "\n")
}

func (m *Model) title() string {
	text := "weir top "
	for i, v := range Views {
		tab := fmt.Sprintf(" %d %s ", i+1, v)
		if v == m.at.view {
			tab = m.style(chosen, tab)
		}
		text += tab
	}
	return text
}

// state says what the screen is of, or why it is old.
func (m *Model) state() string {
	switch {
	case m.typing == "filter":
		return "filter: " + m.typed + "_"
	case m.typing == "task":
		return "number of the task: " + m.typed + "_"
	case m.trouble != nil:
		text := "no news: " + clean(m.trouble.Error())
		if errors.Is(m.trouble, batch.ErrNotFound) || errors.Is(m.trouble, story.ErrNoTask) {
			text = "gone, or never there: " + clean(m.trouble.Error()) + "; esc goes back"
		}
		if m.here() && !m.now.asOf.IsZero() {
			text = "as of " + m.now.asOf.Format(time.TimeOnly) + ", " + text
		}
		return m.style(bad, text)
	case !m.here() || m.now.asOf.IsZero():
		return "reading"
	}
	text := "as of " + m.now.asOf.Format(time.TimeOnly)
	if all := len(m.content()); m.scrolls() && all > m.space() {
		text += fmt.Sprintf(", lines %d to %d of %d", m.at.row+1, min(m.at.row+m.space(), all), all)
	}
	if p := m.pages(); p > 1 {
		text += fmt.Sprintf(", page %d of %d", m.at.page+1, p)
	}
	if m.at.filter != "" {
		text += ", filter " + clean(m.at.filter)
	}
	if o := m.at.order(); o != "" {
		text += ", " + o
	}
	return text
}

func (m *Model) keys() string {
	keys := "q quit  1-4 tab view  / filter  up down pgup pgdn"
	switch m.at.view {
	case "batches":
		keys += "  s state  enter batch"
	case "batch":
		keys += "  t task  enter story  esc back"
	case "task":
		keys += "  esc back"
	case "lanes":
		keys += "  s sort"
	}
	return keys
}

func (m *Model) content() []string {
	s := &m.now
	if !m.here() {
		return []string{""} // not read yet
	}
	switch {
	case s.batches != nil:
		return m.batches()
	case s.batch != nil:
		return m.batch()
	case s.story != nil:
		return m.story()
	case s.lanes != nil:
		return m.lanes()
	case s.workers != nil:
		return m.workers()
	case s.redis != nil:
		return m.redis()
	}
	return []string{""}
}

// column is one of a table: right is for numbers; a width of 0 takes the rest of the line.
type column struct {
	title string
	width int
	right bool
}

// table is column titles and rows, the chosen one marked.
func (m *Model) table(columns []column, rows [][]string) []string {
	used := 0
	for _, c := range columns {
		used += c.width + 1
	}
	line := func(cells []string) string {
		var b strings.Builder
		for i, c := range columns {
			w := c.width
			if w == 0 {
				w = max(8, m.width-used)
			}
			text := ansi.Truncate(cells[i], w, "…")
			pad := strings.Repeat(" ", max(0, w-ansi.StringWidth(text)))
			if c.right {
				text = pad + text
			} else {
				text += pad
			}
			b.WriteString(text + " ")
		}
		return b.String()
	}
	var titles []string
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	lines := []string{m.style(head, line(titles))}
	for i, cells := range rows {
		text := line(cells)
		if i == m.at.row {
			text = m.style(chosen, text)
		}
		lines = append(lines, text)
	}
	return lines
}

func (m *Model) batches() []string {
	v := m.now.batches
	var rows [][]string
	for _, b := range v.Rows {
		done := b.OK + b.Failed + b.Cancelled
		of := count(b.Read) + "+"
		share := "-"
		if b.N >= 0 {
			of, share = count(b.N), percent(done, b.N)
		}
		rows = append(rows, []string{clean(b.Batch), b.State, share, count(done) + "/" + of, per(b.Rate), eta(b.ETA), count(b.Failed)})
	}
	lines := []string{fmt.Sprintf("%d batches: %d running, %d paused, %d with failures; %d shown by the filter", v.Total, v.Counts["running"], v.Counts["paused"], v.Counts["failed"], v.Matching)}
	return append(lines, m.table([]column{{"BATCH", 0, false}, {"STATE", 9, false}, {"DONE", 5, true}, {"TASKS", 17, true}, {"RATE", 9, true}, {"DONE IN", 9, true}, {"FAILED", 8, true}}, rows)...)
}

func (m *Model) batch() []string {
	b := m.now.batch
	done := b.OK + b.Failed + b.Cancelled
	of := "how many there will be is not known"
	if b.N != nil {
		of = percent(done, *b.N) + " of " + count(*b.N)
	}
	lines := []string{
		m.style(head, clean(b.Batch)) + fmt.Sprintf(" %s, %s, lane %s", b.Shown, clean(b.Type), clean(or(b.Lane, "of each task"))),
		fmt.Sprintf("%s done, %s; rate %s, done in %s", count(done), of, per(b.Rate), eta(b.ETA)),
		"",
		fmt.Sprintf("read %s = ok %s + failed %s + cancelled %s", count(b.Read), count(b.OK), count(b.Failed), count(b.Cancelled)),
		fmt.Sprintf("     + pending %s + scheduled %s + retry %s + active %s + missing %s", count(b.Pending), count(b.Scheduled), count(b.Retry), count(b.Active), count(b.Missing)),
		"a second: " + spark(b.Series["rate"], max(10, m.width-12)),
		"",
	}
	if b.ETAHow != "" {
		lines[2] = "done in: " + clean(b.ETAHow)
	}
	for _, c := range b.Failures.Classes {
		lines[6] += fmt.Sprintf("%s %s  ", clean(string(c.Class)), count(int64(c.Count)))
	}
	var rows [][]string
	if f := m.now.failures; f != nil {
		for _, o := range f.Rows {
			rows = append(rows, []string{fmt.Sprint(o.Seq), clean(string(o.Class)), fmt.Sprint(o.Attempts), clean(o.Error)})
		}
	}
	return append(lines, m.table([]column{{"FAILED", 10, true}, {"CLASS", 10, false}, {"TRIES", 5, true}, {"ERROR", 0, false}}, rows)...)
}

// story is wrapped: it is read, not compared.
func (m *Model) story() []string {
	var lines []string
	for _, l := range m.now.story.Lines() {
		lines = append(lines, strings.Split(ansi.Wrap(l, max(20, m.width), " "), "\n")...)
	}
	return lines
}

func (m *Model) lanes() []string {
	v := m.now.lanes
	var rows [][]string
	for _, l := range v.Rows {
		limit := "-"
		if l.Governed {
			limit = fmt.Sprint(l.Limit)
		}
		latency := "-"
		if l.Latency != nil {
			latency = fmt.Sprintf("%.3g ms", *l.Latency)
		}
		rows = append(rows, []string{clean(l.Lane), l.State, limit, fmt.Sprint(l.Queues), count(l.Active), count(l.Pending), per(l.Done), latency, clean(l.Waits)})
	}
	lines := []string{fmt.Sprintf("%d lanes: %d busy, %d wait for something; %d shown by the filter", v.Total, v.Counts["busy"], v.Counts["waiting"], v.Matching)}
	if m.at.row < len(v.Rows) && v.Rows[m.at.row].Waits != "" { // whole: its column may be narrow
		l := v.Rows[m.at.row]
		lines[0] = clean(l.Lane) + " waits for: " + clean(l.Waits)
	}
	lane := min(30, max(12, m.width/5))
	return append(lines, m.table([]column{{"LANE", lane, false}, {"STATE", 7, false}, {"LIMIT", 5, true}, {"QUEUES", 6, true}, {"RUN", 5, true}, {"WAIT", 7, true}, {"ENDED", 7, true}, {"LATENCY", 8, true}, {"WAITS FOR", 0, false}}, rows)...)
}

func (m *Model) workers() []string {
	v := m.now.workers
	var rows [][]string
	for _, w := range v.Rows {
		what := ""
		if len(w.Tasks) > 0 {
			what = fmt.Sprintf("%s %s", eta(&w.Tasks[0].For), clean(w.Tasks[0].ID))
		}
		if w.Stopping {
			what = "stopping " + what
		}
		rows = append(rows, []string{clean(w.Worker), fmt.Sprint(w.Slots), fmt.Sprint(w.Running), fmt.Sprint(w.Stuck), fmt.Sprintf("%.1f s", w.Skew), what})
	}
	lines := []string{fmt.Sprintf("%d workers, %d slots, %d tasks run, %d stuck", v.Total, v.Slots, v.Running, v.Stuck)}
	return append(lines, m.table([]column{{"WORKER", min(30, max(16, m.width/3)), false}, {"SLOTS", 5, true}, {"RUN", 5, true}, {"STUCK", 5, true}, {"CLOCK", 8, true}, {"LONGEST", 0, false}}, rows)...)
}

func (m *Model) redis() []string {
	v := m.now.redis
	lines := []string{""}
	for _, n := range v.Nodes {
		limit := "no limit"
		if n.MaxMemory > 0 {
			limit = fmt.Sprintf("%d%% of %s", n.FullPercent, bytes(n.MaxMemory))
		}
		kept := "no append-only file"
		if n.AOF {
			kept = "append-only file " + n.AOFStatus + ", fsync " + n.Fsync
		}
		lines = append(lines, m.style(head, clean(n.Addr))+" "+clean(n.Version),
			fmt.Sprintf("  memory %s, %s, %s", bytes(n.UsedMemory), limit, n.Policy),
			fmt.Sprintf("  %s commands a second, %s clients, %s", count(n.OpsPerSec), count(n.Clients), clean(kept)))
	}
	lines = append(lines, "", "commands a second: "+spark(v.Series["ops"], max(10, m.width-20)), "")
	for _, p := range v.Problems {
		lines = append(lines, m.style(bad, clean(p.What)))
		if p.Remedy != "" {
			lines = append(lines, "  "+clean(p.Remedy))
		}
	}
	return lines
}

// clean makes text from elsewhere fit for the screen.
func clean(s string) string { return report.Clean(s, 500) }

func count(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func percent(part, all int64) string {
	if all <= 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", 100*part/all)
}

func per(rate *float64) string {
	if rate == nil {
		return "-"
	}
	return fmt.Sprintf("%.4g/s", *rate)
}

// eta is seconds in words.
func eta(s *float64) string {
	if s == nil {
		return "-"
	}
	if *s > 1e9 {
		return "years"
	}
	d := time.Duration(*s * float64(time.Second)).Round(time.Second)
	if d >= time.Hour {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.String()
}

func bytes(n int64) string {
	v, unit := float64(n), 0
	for v >= 1024 && unit < 4 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.4g %s", v, []string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// spark is a small plot of the last values.
func spark(values []*float64, width int) string {
	values = values[max(0, len(values)-width):]
	most := 0.0
	for _, v := range values {
		if v != nil {
			most = max(most, *v)
		}
	}
	var b strings.Builder
	for _, v := range values {
		switch {
		case v == nil:
			b.WriteByte(' ')
		case most == 0:
			b.WriteRune('▁')
		default:
			b.WriteRune([]rune("▁▂▃▄▅▆▇█")[int(math.Round(7**v/most))])
		}
	}
	if most > 0 {
		fmt.Fprintf(&b, " at most %.4g", most)
	}
	return b.String()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
