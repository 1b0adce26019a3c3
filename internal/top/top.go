// Package top shows in a terminal what the web UI shows: batches, lanes, workers and Redis,
// as they are now, read by the same functions and as seldom.
//
// A frame is never larger than the screen, however much there is: lists are read by the
// page. What comes from tasks is shown as text of one line, without anything that a
// terminal obeys. While Redis is away the last picture stays, with when it was so and why
// there is no newer one.
package top

import (
	"context"
	"slices"
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/weir-tasks/weir/internal/story"
	"github.com/weir-tasks/weir/internal/ui"
)

// Source is what is shown: a *ui.Look.
type Source interface {
	Batches(context.Context, ui.Filter) (*ui.Batches, time.Time, error)
	Batch(ctx context.Context, name string) (*ui.Batch, time.Time, error)
	Failures(ctx context.Context, name string, f ui.Filter) (*ui.Failures, error)
	Lanes(context.Context, ui.Filter) (*ui.Lanes, time.Time, error)
	Workers(context.Context, ui.Filter) (*ui.Workers, time.Time, error)
	Redis(context.Context) (*ui.Redis, time.Time, error)
	Story(ctx context.Context, name string, seq int64) (*story.Story, error)
}

const (
	every  = time.Second
	readIn = 10 * time.Second
)

// Views are those that can be begun with.
var Views = []string{"batches", "lanes", "workers", "redis"}

// place is what is looked at.
type place struct {
	view   string // one of Views, "batch" or "task"
	name   string // of a batch
	seq    int64  // of a task
	filter string
	sort   int // of sorts, or states
	page   int
	row    int // that is chosen; of what is no list, the first line that is shown
}

// orders are those of a view, by the key s.
var orders = map[string][]string{
	"lanes":   {"name", "pending", "in_flight", "oldest"},
	"batches": {"all", "running", "failed", "paused", "done"},
}

// order is the one that is chosen.
func (p *place) order() string {
	if all := orders[p.view]; len(all) > 0 {
		return all[p.sort%len(all)]
	}
	return ""
}

// seen is what was read for a place.
type seen struct {
	of       place
	batches  *ui.Batches
	batch    *ui.Batch
	failures *ui.Failures
	lanes    *ui.Lanes
	workers  *ui.Workers
	redis    *ui.Redis
	story    *story.Story
	asOf     time.Time
	err      error
}

// Model is the screen. It is bubbletea's.
type Model struct {
	from          Source
	ctx           context.Context // of its reads: bubbletea's commands have none
	width, height int
	at            place
	before        []place // where esc goes back to
	now           seen
	trouble       error // why now is old
	typing        string
	typed         string
	reading       bool
	plain         bool
}

// New is a screen that begins with a view.
func New(ctx context.Context, from Source, view string) *Model {
	return &Model{from: from, ctx: ctx, width: 80, height: 24, at: place{view: view}}
}

type tickMsg struct{}

func tick() tea.Cmd { return tea.Tick(every, func(time.Time) tea.Msg { return tickMsg{} }) }

// Init is bubbletea's.
func (m *Model) Init() tea.Cmd { return tea.Batch(m.read(), tick()) }

// read reads what is looked at, unless that is being done.
func (m *Model) read() tea.Cmd {
	if m.reading {
		return nil
	}
	m.reading = true
	at, rows := m.at, m.rows()
	return func() tea.Msg { return m.look(at, rows) }
}

// look reads a place, rows of it where it is a list.
func (m *Model) look(at place, rows int) seen {
	ctx, cancel := context.WithTimeout(m.ctx, readIn)
	defer cancel()
	s := seen{of: at, asOf: time.Now()}
	f := ui.Filter{"q": {at.filter}, "page": {strconv.Itoa(at.page)}, "per": {strconv.Itoa(max(1, rows))}}
	switch at.view {
	case "batches":
		if o := at.order(); o != "all" {
			f.Set("state", o)
		}
		s.batches, s.asOf, s.err = m.from.Batches(ctx, f)
	case "batch":
		if s.batch, s.asOf, s.err = m.from.Batch(ctx, at.name); s.err == nil {
			f.Set("per", strconv.Itoa(max(1, rows-batchLines)))
			s.failures, s.err = m.from.Failures(ctx, at.name, f)
		}
	case "task":
		s.story, s.err = m.from.Story(ctx, at.name, at.seq)
	case "lanes":
		f.Set("sort", at.order())
		s.lanes, s.asOf, s.err = m.from.Lanes(ctx, f)
	case "workers":
		s.workers, s.asOf, s.err = m.from.Workers(ctx, f)
	case "redis":
		s.redis, s.asOf, s.err = m.from.Redis(ctx)
	}
	return s
}

// Update is bubbletea's.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		return m, m.read()
	case tickMsg:
		return m, tea.Batch(m.read(), tick())
	case seen:
		m.take(msg)
		if msg.of != m.at && !sameBut(msg.of, m.at) { // the user has gone elsewhere since
			return m, m.read()
		}
	case tea.KeyPressMsg:
		return m.press(msg)
	}
	return m, nil
}

// sameBut says that two places show the same list, whichever row is chosen.
func sameBut(a, b place) bool { a.row = b.row; return a == b }

// take takes what was read over. What was chosen stays so, wherever in the list it is now.
func (m *Model) take(s seen) {
	m.reading = false
	if !sameBut(s.of, m.at) {
		return
	}
	if m.trouble = s.err; s.err != nil {
		return
	}
	before := m.names()
	listed := sameBut(m.now.of, m.at) && m.at.row < len(before)
	m.now = s
	if after := m.names(); listed && (m.at.row >= len(after) || after[m.at.row] != before[m.at.row]) {
		if i := slices.Index(after, before[m.at.row]); i >= 0 {
			m.at.row = i
		}
	}
	m.choose(m.at.row)
}

// names are those of the rows of the list on the screen.
func (m *Model) names() (names []string) {
	switch {
	case m.now.batches != nil:
		for _, b := range m.now.batches.Rows {
			names = append(names, b.Batch)
		}
	case m.now.failures != nil:
		for _, o := range m.now.failures.Rows {
			names = append(names, strconv.FormatInt(o.Seq, 10))
		}
	case m.now.lanes != nil:
		for _, l := range m.now.lanes.Rows {
			names = append(names, l.Lane)
		}
	case m.now.workers != nil:
		for _, w := range m.now.workers.Rows {
			names = append(names, w.Worker)
		}
	}
	return names
}

// here says that what was read last is of what is looked at now, if perhaps of another page.
func (m *Model) here() bool {
	of, at := m.now.of, m.at
	return of.view == at.view && of.name == at.name && of.seq == at.seq
}

// choose chooses a row, or the nearest that there is.
func (m *Model) choose(row int) {
	last := len(m.names()) - 1
	if m.scrolls() {
		last = len(m.content()) - m.space()
	}
	m.at.row = max(0, min(row, last))
}

func (m *Model) pages() int {
	switch {
	case m.now.batches != nil:
		return m.now.batches.Pages
	case m.now.failures != nil:
		return m.now.failures.Pages
	case m.now.lanes != nil:
		return m.now.lanes.Pages
	case m.now.workers != nil:
		return m.now.workers.Pages
	}
	return 1
}

// goTo looks at another place.
func (m *Model) goTo(p place) (tea.Model, tea.Cmd) {
	if m.at = p; !m.here() {
		m.trouble = nil
	}
	return m, m.read()
}

// press obeys a key.
func (m *Model) press(k tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	key := k.String()
	if key == "ctrl+c" {
		return m, tea.Quit
	}
	if m.typing != "" {
		return m.typeKey(k, key)
	}
	switch key {
	case "q":
		return m, tea.Quit
	case "1", "2", "3", "4":
		m.before = nil
		return m.goTo(place{view: Views[key[0]-'1']})
	case "tab":
		m.before = nil
		for i, v := range Views {
			if v == m.at.view {
				return m.goTo(place{view: Views[(i+1)%len(Views)]})
			}
		}
		return m.goTo(place{view: Views[0]})
	case "up", "k":
		m.choose(m.at.row - 1)
	case "down", "j":
		m.choose(m.at.row + 1)
	case "pgup", "b":
		return m.leaf(-1)
	case "pgdown", "space", " ":
		return m.leaf(1)
	case "s":
		p := m.at
		p.sort, p.page, p.row = p.sort+1, 0, 0
		return m.goTo(p)
	case "/":
		m.typing, m.typed = "filter", m.at.filter
	case "t":
		if m.at.view == "batch" {
			m.typing, m.typed = "task", ""
		}
	case "enter":
		return m.into()
	case "esc", "backspace", "left":
		return m.back()
	}
	return m, nil
}

// leaf goes to another page.
func (m *Model) leaf(by int) (tea.Model, tea.Cmd) {
	if m.scrolls() {
		m.choose(m.at.row + by*m.space())
		return m, nil
	}
	p := m.at
	p.page, p.row = max(0, min(p.page+by, m.pages()-1)), 0
	return m.goTo(p)
}

// into looks closer at what is chosen.
func (m *Model) into() (tea.Model, tea.Cmd) {
	to := place{name: m.at.name}
	switch {
	case !m.here() || m.at.row >= len(m.names()):
		return m, nil
	case m.at.view == "batches" && m.now.batches != nil:
		to.view, to.name = "batch", m.now.batches.Rows[m.at.row].Batch
	case m.at.view == "batch" && m.now.failures != nil:
		to.view, to.seq = "task", m.now.failures.Rows[m.at.row].Seq
	default:
		return m, nil
	}
	m.before = append(m.before, m.at)
	return m.goTo(to)
}

func (m *Model) back() (tea.Model, tea.Cmd) {
	if m.at.filter != "" {
		p := m.at
		p.filter, p.page, p.row = "", 0, 0
		return m.goTo(p)
	}
	if n := len(m.before); n > 0 {
		p := m.before[n-1]
		m.before = m.before[:n-1]
		return m.goTo(p)
	}
	return m, nil
}

// typedMost is the most that can be typed.
const typedMost = 60

// typeKey takes a key of what is being typed.
func (m *Model) typeKey(k tea.KeyPressMsg, key string) (tea.Model, tea.Cmd) {
	switch key {
	case "esc":
		m.typing = ""
	case "backspace":
		if r := []rune(m.typed); len(r) > 0 {
			m.typed = string(r[:len(r)-1])
		}
	case "enter":
		what := m.typing
		m.typing = ""
		p := m.at
		if what == "filter" {
			p.filter, p.page, p.row = m.typed, 0, 0
			return m.goTo(p)
		}
		seq, err := strconv.ParseInt(m.typed, 10, 64)
		if err != nil {
			return m, nil
		}
		m.before = append(m.before, m.at)
		return m.goTo(place{view: "task", name: p.name, seq: seq})
	default:
		if text := k.Key().Text; len(m.typed)+len(text) <= typedMost {
			m.typed += text
		}
	}
	return m, nil
}

// View is bubbletea's.
func (m *Model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	v.WindowTitle = "weir top"
	return v
}

// Once is a frame without colours, of so many columns and lines: of what is read now, and
// again a moment later, since a rate wants two looks.
func Once(ctx context.Context, from Source, view string, width, height int) (string, error) {
	m := New(ctx, from, view)
	m.width, m.height, m.plain = width, height, true
	for range 2 {
		s := m.look(m.at, m.rows())
		if s.err != nil {
			return "", s.err
		}
		m.take(s)
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(every):
		}
	}
	return m.frame() + "\n", nil
}
