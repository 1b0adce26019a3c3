package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/weir-tasks/weir"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/ui"
)

func TestMain(m *testing.M) { conntest.Main(m) }

// screen is a screen on an embedded Redis.
type screen struct {
	*Model
	t *testing.T
	c *weir.Client
}

func newScreen(t *testing.T) *screen { t.Helper(); return screenOf(t, weir.Options{}) }

func screenOf(t *testing.T, o weir.Options) *screen {
	t.Helper()
	c, err := weir.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	look := ui.NewLook(c)
	t.Cleanup(func() { look.Close(); _ = c.Close() })
	return &screen{Model: New(t.Context(), look, "batches"), t: t, c: c}
}

// gets hands a message on, and what its commands bring but for ticks.
func (s *screen) gets(msg tea.Msg) {
	s.t.Helper()
	_, cmd := s.Update(msg)
	if cmd != nil {
		if got := cmd(); got != nil {
			s.gets(got)
		}
	}
}

// fresh reads anew: what is shared is read once a second.
func (s *screen) fresh() {
	look := ui.NewLook(s.c)
	s.t.Cleanup(look.Close)
	s.from = look
	s.again()
}

// again reads once more.
func (s *screen) again() {
	if cmd := s.read(); cmd != nil {
		s.gets(cmd())
	}
}

func (s *screen) presses(keys ...string) {
	s.t.Helper()
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "down": tea.KeyDown, "up": tea.KeyUp, "pgdown": tea.KeyPgDown, "pgup": tea.KeyPgUp, "tab": tea.KeyTab, "backspace": tea.KeyBackspace}
	for _, k := range keys {
		if code, ok := special[k]; ok {
			s.gets(tea.KeyPressMsg{Code: code})
			continue
		}
		s.gets(tea.KeyPressMsg{Code: []rune(k)[0], Text: k})
	}
}

// shows wants words on the screen, which is never larger than it may be, and has no other
// escape sequences than colours.
func (s *screen) shows(words ...string) string {
	s.t.Helper()
	frame := s.frame()
	lines := strings.Split(frame, "\n")
	if len(lines) > s.height {
		s.t.Errorf("%d lines on a screen of %d", len(lines), s.height)
	}
	for _, l := range lines {
		if w := ansi.StringWidth(l); w > s.width {
			s.t.Errorf("%d columns on a screen of %d: %q", w, s.width, l)
		}
	}
	text := ansi.Strip(frame)
	for _, w := range words {
		if !strings.Contains(text, w) {
			s.t.Errorf("no %q on the screen:\n%s", w, text)
		}
	}
	return text
}

func (s *screen) create(name string, failed ...string) {
	s.t.Helper()
	l := batch.NewLedger(s.c.Redis())
	if _, err := l.Create(s.t.Context(), name, batch.Options{Type: "sleep", Lane: "l", KeepMS: 60_000}); err != nil {
		s.t.Fatal(err)
	}
	for seq, text := range failed {
		o := &batch.Outcome{Seq: int64(seq), State: batch.Failed, Class: batch.Timeout, Error: text, Attempts: 2, Worker: "w"}
		if _, err := l.Record(s.t.Context(), name, o, 0, []byte(`{"n":1}`)); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := l.Checkpoint(s.t.Context(), name, 0, int64(len(failed)), ""); err != nil {
		s.t.Fatal(err)
	}
}

func TestViewsAreSwitchedFilteredAndDrilledInto(t *testing.T) {
	s := newScreen(t)
	s.create("alpha", "too slow", "refused")
	s.create("beta")
	s.c.Redis().SAdd(t.Context(), queue.All, "one", "two")
	s.fresh()
	s.shows("2 batches: 2 running", "alpha", "beta", "as of ", "q quit")
	s.presses("/", "A", "l", "x", "backspace", "p")
	s.shows("filter: Alp_")
	s.presses("enter")
	if text := s.shows("alpha", "filter Alp"); strings.Contains(text, "beta") {
		t.Errorf("not filtered:\n%s", text)
	}
	s.presses("enter")
	s.shows("alpha running, sleep, lane l", "failed 2", "done in: not known: no producer tells")
	conntest.Eventually(t, 10*time.Second, "its dead letters are there", func(context.Context) bool {
		s.again() // they are counted in the background
		text := ansi.Strip(s.frame())
		return strings.Contains(text, "refused") && strings.Contains(text, "timeout 2")
	})
	s.presses("down", "enter")
	s.shows("task 1 of batch alpha: failed", "timeout: refused", "It failed for good after 2 attempts")
	s.presses("esc", "t", "0", "enter")
	s.shows("task 0 of batch alpha: failed", "too slow")
	s.presses("esc", "t", "9", "enter")
	s.shows("task 9 of batch alpha: not enqueued yet")
	s.presses("esc", "esc")
	s.shows("alpha", "filter Alp")
	s.presses("esc")
	s.shows("beta")
	s.presses("s", "s")
	s.shows("failed")
	s.presses("2")
	s.shows("2 lanes", "one", "two", "LATENCY")
	s.presses("tab")
	s.shows("0 workers")
	s.presses("tab")
	s.shows("no limit")
	if _, cmd := s.Update(tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd == nil || cmd() != (tea.QuitMsg{}) {
		t.Error("q does not quit")
	}
	s.presses("/", "q")
	s.shows("filter: q_") // typed, not obeyed
	if _, cmd := s.Update(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}); cmd == nil || cmd() != (tea.QuitMsg{}) {
		t.Error("ctrl+c does not quit")
	}
}

// Of a thousand lanes and a thousand batches a screen has as many as fit, whatever its size,
// and is drawn at once.
func TestAThousandLanesFitOnTheScreen(t *testing.T) {
	s := screenOf(t, weir.Options{URL: conntest.Server(t).URL()}) // an embedded one takes its time for them
	pipe := s.c.Redis().Pipeline()
	for i := range 1000 {
		pipe.SAdd(t.Context(), queue.All, fmt.Sprintf("lane-%04d", i))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.presses("2")
	for _, size := range [][2]int{{80, 24}, {200, 60}, {40, 10}, {20, 5}, {5, 2}, {1, 1}} {
		s.gets(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		s.shows()
		if s.now.lanes == nil {
			t.Fatalf("%v: %s", size, s.frame())
		}
		if n := len(s.now.lanes.Rows); n > max(1, size[1]) {
			t.Errorf("%v: %d rows were read", size, n)
		}
	}
	s.gets(tea.WindowSizeMsg{Width: 80, Height: 24})
	s.shows("1000 lanes", "lane-0000", "lane-0018", "page 1 of 53")
	s.presses("pgdown")
	s.shows("lane-0019", "page 2 of 53")
	s.presses("pgup", "pgup")
	s.shows("lane-0000")
	began := time.Now()
	for range 100 {
		s.frame()
	}
	if took := time.Since(began) / 100; took > 100*time.Millisecond { // the sum is seconds
		t.Errorf("a frame takes %v", took)
	}
}

// How many queues a lane has is on the screen, those of a time when it was spread over more
// among them.
func TestTheQueuesOfALaneAreShown(t *testing.T) {
	s := newScreen(t)
	if err := queue.Publish(t.Context(), s.c.Redis(), queue.Shards("spread", 12)...); err != nil {
		t.Fatal(err)
	}
	if err := lane.SetShards(t.Context(), s.c.Redis(), "spread", 3); err != nil {
		t.Fatal(err)
	}
	s.presses("2")
	for _, line := range strings.Split(s.shows("QUEUES", "spread"), "\n") {
		if cells := strings.Fields(line); len(cells) > 3 && cells[0] == "spread" {
			if cells[3] != "12" {
				t.Errorf("the lane of 12 queues: %q", line)
			}
			return
		}
	}
	t.Error("the lane is not on the screen")
}

func TestHostileTextIsNotObeyed(t *testing.T) {
	s := newScreen(t)
	hostile := "\x1b[2J\x1b]0;owned\a\u009b31m\u202egnp\r\nsecond\x00"
	s.create("b", hostile)
	s.c.Redis().SAdd(t.Context(), queue.All, "lane"+hostile)
	check := func() {
		t.Helper()
		for _, r := range ansi.Strip(s.frame()) {
			if r != '\n' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e') {
				t.Errorf("%q is on the screen:\n%q", r, s.frame())
			}
		}
		if strings.Contains(s.frame(), "\x1b]") || strings.Contains(s.frame(), "\x1b[2J") {
			t.Errorf("%q", s.frame())
		}
	}
	s.presses("2")
	s.shows("lane?[2J")
	check()
	s.presses("1", "enter", "t", "0", "enter")
	s.shows("?[2J?]0;owned??31m?gnp second?")
	check()
	s.gets(tea.PasteMsg{Content: hostile})
	check()
}

// A Redis that is away leaves the last picture, and is told.
func TestTroubleIsShownBesideTheLastPicture(t *testing.T) {
	s := newScreen(t)
	s.create("alpha")
	s.fresh()
	s.shows("alpha")
	s.gets(seen{of: s.at, err: errors.New("redis is away\x1b[2J")})
	s.shows("alpha", "as of ", "no news: redis is away?[2J")
	s.presses("/") // which reads nothing
	s.presses("esc")
	s.fresh()
	if text := s.shows("alpha"); strings.Contains(text, "no news") {
		t.Errorf("still:\n%s", text)
	}
}

// Enter is about the row that was chosen, wherever the list has it by now. Where it is gone
// that is said, and esc leads back.
func TestEnterIsAboutTheRowThatWasChosen(t *testing.T) {
	s := newScreen(t)
	for _, name := range []string{"alpha", "beta", "gamma"} {
		s.create(name, "no")
	}
	s.fresh()
	rows := s.names()
	remove := func(name string) { s.c.Redis().Del(t.Context(), "weir:{"+name+"}:batch") }
	s.presses("down")
	remove(rows[0])
	s.fresh()
	if text := s.shows("2 batches"); strings.Contains(text, rows[0]) || s.at.row != 0 {
		t.Errorf("row %d is chosen of:\n%s", s.at.row, text)
	}
	s.presses("enter")
	s.shows(rows[1] + " running")
	s.presses("esc")
	s.fresh()

	remove(rows[1]) // the list on the screen still has it
	look := ui.NewLook(s.c)
	t.Cleanup(look.Close)
	s.from = look
	s.presses("enter")
	if text := s.shows("gone, or never there: ", "no such batch; esc goes back"); strings.Contains(text, "as of") {
		t.Errorf("of what?\n%s", text)
	}
	s.presses("enter", "down", "t", "0", "enter") // a task of it is no more there
	s.shows("gone, or never there: ")
	s.presses("esc", "esc")
	s.fresh()
	if text := s.shows("1 batches", rows[2], "as of "); s.at.row != 0 || strings.Contains(text, "gone") {
		t.Errorf("row %d is chosen of:\n%s", s.at.row, text)
	}
	s.presses("enter")
	s.shows(rows[2] + " running")

	s.presses("t", "0", "enter")
	s.shows("task 0 of batch " + rows[2])
	s.presses("esc", "t", "7", "enter", "esc", "t", "0", "enter")
	_, cmd := s.goTo(place{view: "task", name: rows[2], seq: 7}) // which has not been read yet
	if text := s.shows("reading"); strings.Contains(text, "task 0") {
		t.Errorf("another task's story:\n%s", text)
	}
	s.gets(cmd())
	s.shows("task 7 of batch " + rows[2])
	remove(rows[2])
	s.fresh()
	s.shows("as of ", "gone, or never there: ") // beside the last picture
}

// What has more lines than the screen is scrolled, and no further than to its end.
func TestALongStoryIsScrolled(t *testing.T) {
	s := newScreen(t)
	s.create("b", strings.Repeat("word ", 300)+"end of the error")
	s.gets(tea.WindowSizeMsg{Width: 50, Height: 12})
	s.presses("enter", "t", "0", "enter")
	all := len(s.content())
	const space = 12 - 3
	if text := s.shows("task 0 of batch b", fmt.Sprintf("lines 1 to %d of %d", space, all)); strings.Contains(text, "end of the error") {
		t.Fatalf("it fits:\n%s", text)
	}
	s.presses("up", "pgup")
	s.shows("task 0 of batch b")
	s.presses("down")
	s.shows(fmt.Sprintf("lines 2 to %d of %d", space+1, all))
	s.presses("pgdown")
	s.shows(fmt.Sprintf("lines %d to %d of %d", space+2, 2*space+1, all))
	s.fresh() // which happens each second
	s.shows(fmt.Sprintf("lines %d to %d of %d", space+2, 2*space+1, all))
	for range all {
		s.presses("pgdown", "down")
	}
	end := fmt.Sprintf("lines %d to %d of %d", all-space+1, all, all)
	s.shows("end of the error", "payload", end)
	s.presses("up")
	s.shows(fmt.Sprintf("lines %d to %d of %d", all-space, all-1, all)) // not after as many as were too many down
	s.gets(tea.WindowSizeMsg{Width: 200, Height: 60})
	if text := s.shows("task 0 of batch b", "end of the error", "payload"); strings.Contains(text, "lines") {
		t.Errorf("all of it is there:\n%s", text)
	}
	for _, size := range [][2]int{{20, 4}, {5, 2}, {1, 1}} {
		s.gets(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		s.presses("pgdown", "down")
		s.shows()
	}
}

func TestOnePictureForScripts(t *testing.T) {
	s := newScreen(t)
	s.create("alpha")
	for _, view := range Views {
		frame, err := Once(t.Context(), s.from, view, 100, 20)
		if err != nil || strings.ContainsRune(frame, '\x1b') || strings.Count(frame, "\n") > 20 {
			t.Errorf("%s: %v: %q", view, err, frame)
		}
		if view == "batches" && !strings.Contains(frame, "alpha") {
			t.Error(frame)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Once(ended, s.from, "batches", 80, 24); err == nil {
		t.Error("no error where nothing could be read")
	}
}
