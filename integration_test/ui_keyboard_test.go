package integration_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
)

// walking is run before a page's own scripts: it notes what listens to the pointer, what
// loses the focus, and how each element looks that has not got it.
const walking = `
window.walk = { listens: new Set(), lost: [], plain: new Map(), ids: [] };
{
  const add = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (kind, ...rest) {
    if (/^(click|dblclick|mousedown|mouseup|pointerdown|pointerup)$/.test(kind)) walk.listens.add(this);
    return add.call(this, kind, ...rest);
  };
  addEventListener("focusout", (e) => walk.lost.push(walk.name(e.target)), true);
}
walk.name = (e) => e === document.body ? "" : e.tagName.toLowerCase() + " " + (e.getAttribute("aria-label") || e.labels?.[0]?.firstChild.textContent || e.textContent).trim().slice(0, 60);
walk.look = (e) => { const s = getComputedStyle(e); return [s.outlineStyle, s.outlineWidth, s.outlineColor, s.boxShadow].join(); };
walk.seen = (e) => e.checkVisibility({ visibilityProperty: true });
// wanted is all that can be operated.
walk.wanted = () => {
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")].filter((e) => !e.disabled);
  return [...new Set([...all, ...[...walk.listens].filter((e) => e instanceof Element && e.isConnected)])].filter(walk.seen);
};
walk.start = () => { walk.wanted().forEach((e) => walk.plain.set(e, walk.look(e))); document.activeElement.blur(); };
// here is what has the focus, and what is wrong with how.
walk.here = () => {
  const e = document.activeElement;
  if (e === document.body) return { id: -1, name: "", wrong: "" };
  if (!walk.ids.includes(e)) walk.ids.push(e);
  const r = e.getBoundingClientRect();
  const wrong = [];
  if (!walk.seen(e)) wrong.push("it is not seen");
  if (r.bottom < 0 || r.top > innerHeight || r.right < 0 || r.left > innerWidth) wrong.push("it is not on the screen");
  if (walk.look(e) === walk.plain.get(e)) wrong.push("it looks as without the focus");
  return { id: walk.ids.indexOf(e), name: walk.name(e), wrong: wrong.join(", ") };
};
walk.missed = () => walk.wanted().filter((e) => !walk.ids.includes(e)).map(walk.name);
walk.order = () => walk.ids.every((e, i) => i === 0 || walk.ids[i - 1].compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING);
`

// focused is what has the focus.
type focused struct {
	ID    int    `json:"id"` // -1: nothing
	Name  string `json:"name"`
	Wrong string `json:"wrong"`
}

// newWalker is a browser that is used by the keyboard alone.
func newWalker(t *testing.T, base string) *browser {
	t.Helper()
	b := newBrowser(t, base)
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := cdppage.AddScriptToEvaluateOnNewDocument(walking).Do(ctx)
		return err
	}))
	return b
}

// tabTo presses tab until the element of a name has the focus.
func (b *browser) tabTo(name string) {
	b.t.Helper()
	for range 150 {
		b.press(kb.Tab)
		if b.at() == name {
			return
		}
	}
	b.t.Fatalf("tab does not lead to %q; the page is\n%s", name, eval[string](b, "document.body.innerText"))
}

// at is the name of what has the focus.
func (b *browser) at() string { return eval[string](b, "walk.name(document.activeElement)") }

// All that can be clicked on a page is reached by tab, in the order of the page, is seen to
// have the focus, and nothing holds it; shift and tab lead back the same way.
func TestEachPageOfTheWebUIIsWalkedByTab(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t)
	b := newWalker(t, somethingOfAll(t, s))
	for _, p := range allPages {
		b.shows(p.path, p.has, p.text)
		b.run(chromedp.Evaluate("walk.start()", nil))
		var way []focused
		for range 200 {
			b.press(kb.Tab)
			at := eval[focused](b, "walk.here()")
			if at.ID < len(way) { // at the end, or around
				break
			}
			way = append(way, at)
			if at.Wrong != "" {
				t.Errorf("%s: the focus is on %q: %s", p.path, at.Name, at.Wrong)
			}
		}
		t.Logf("%s: %d stops", p.path, len(way))
		if missed := eval[[]string](b, "walk.missed()"); len(missed) > 0 {
			t.Errorf("%s: tab does not lead to %q", p.path, missed)
		}
		if !eval[bool](b, "walk.order()") {
			t.Errorf("%s: tab goes another way than the page", p.path)
		}
		if len(way) < 6 || way[0].Name != "a Skip to content" {
			t.Fatalf("%s: %v", p.path, way)
		}
		b.run(chromedp.Evaluate("walk.ids.at(-1).focus()", nil))
		for i := len(way) - 2; i >= 0; i-- {
			b.back()
			if at := eval[focused](b, "walk.here()"); at.ID != i {
				t.Errorf("%s: shift and tab lead from %q to %q, not to %q", p.path, way[i+1].Name, at.Name, way[i].Name)
				break
			}
		}
		b.run(chromedp.Evaluate("walk.ids[0].focus()", nil))
		b.press(kb.Enter, kb.Tab)
		if !eval[bool](b, `document.getElementById("main").contains(document.activeElement)`) && p.path != "/redis" { // which has nothing to do
			t.Errorf("%s: the skip link leads to %q", p.path, b.at())
		}
	}
}

// A batch is paused, resumed and cancelled, lists are filtered, sorted and leafed through
// and a lane is set by keys alone. What they do is seen in Redis. All the while news come:
// they take neither the focus nor what was typed.
func TestTheWebUIIsOperatedByKeyboardAlone(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t)
	rdb := s.Client()
	ledger := batch.NewLedger(rdb)
	b := newWalker(t, somethingOfAll(t, s))
	phase := func(is func(*batch.Info) bool, what string) {
		t.Helper()
		eventually(t, long, func() bool { i, err := ledger.Info(t.Context(), "long"); return err == nil && is(i) }, what)
	}
	stays := func(name string) {
		t.Helper()
		b.becomes(fmt.Sprintf("walk.name(document.activeElement) === %q", name), "the focus is on "+name)
	}

	b.open("/")
	b.says("tbody tr", "long")
	b.tabTo("button Pause long")
	b.press(kb.Enter)
	phase(func(i *batch.Info) bool { return i.Paused }, "paused")
	stays("button Resume long") // Pause has gone
	b.press(" ")
	phase(func(i *batch.Info) bool { return !i.Paused }, "resumed")
	stays("button Pause long")

	// A dialog takes the focus, keeps it, and gives it back.
	b.tabTo("button Cancel long")
	b.press(kb.Enter)
	stays("button Back")
	for range 5 {
		b.press(kb.Tab)
		if at := b.at(); at != "" && !eval[bool](b, `document.activeElement.closest("dialog") !== null`) {
			t.Errorf("tab leads out of the dialog, to %q", at)
		}
	}
	b.press(kb.Escape)
	stays("button Cancel long")
	phase(func(i *batch.Info) bool { return i.Phase != batch.GivenUp }, "not cancelled")

	// What is typed into a filter stays, and so does the focus.
	b.run(chromedp.Evaluate("document.activeElement.blur()", nil))
	b.tabTo("input Filter")
	b.press("b", "r")
	b.becomes(`document.querySelectorAll("tbody tr").length === 1`, "the list is filtered")
	b.says("#heard", "1 of 2 batches")
	b.calm("input Filter", 2)
	if typed := eval[string](b, `document.getElementById("q").value`); typed != "br" {
		t.Errorf("%q is left of what was typed", typed)
	}
	b.press(kb.Backspace, kb.Backspace)
	b.becomes(`document.querySelectorAll("tbody tr").length === 2`, "the list is whole again")
	b.tabTo("select State")
	b.press("d")
	b.becomes(`document.querySelectorAll("tbody tr").length === 1 && location.search.includes("done")`, "a key chooses a state")
	b.calm("select State", 2)
	b.press("a")
	b.becomes(`document.querySelectorAll("tbody tr").length === 2`, "all states again")

	// Rows come, go and change places around the one with the focus.
	b.tabTo("button Batch")
	b.press(kb.Enter)
	b.becomes(`document.querySelector("[aria-sort=ascending]").textContent === "Batch"`, "sorted by name")
	b.calm("button Batch", 2)
	b.tabTo("a long")
	for _, name := range []string{"a-first", "z-last"} {
		if _, err := ledger.Create(t.Context(), name, batch.Options{Type: "sleep", KeepMS: 60_000}); err != nil {
			t.Fatal(err)
		}
	}
	lost := eval[int](b, "walk.lost.length")
	b.becomes(`document.querySelectorAll("tbody tr").length === 4`, "rows come")
	b.run(chromedp.Evaluate(`document.querySelector("thead th:nth-child(2) button").click()`, nil)) // the order of before: those that are over are last
	b.becomes(`document.querySelectorAll("tbody tr")[3].textContent.startsWith("broken")`, "rows change places")
	rdb.Del(t.Context(), "weir:{z-last}:batch")
	b.becomes(`document.querySelectorAll("tbody tr").length === 3`, "a row goes")
	if n := eval[int](b, "walk.lost.length"); n != lost || b.at() != "a long" {
		t.Errorf("the focus was lost %d times, and is on %q", n-lost, b.at())
	}
	b.back()
	for range 20 { // to the row before
		if b.at() == "a a-first" {
			break
		}
		b.back()
	}
	if b.at() != "a a-first" {
		t.Fatalf("the focus is on %q", b.at())
	}
	rdb.Del(t.Context(), "weir:{a-first}:batch")
	stays("a long") // the next row

	// A list is leafed through to its end.
	b.open("/?per=1")
	b.says(".pager", "page 1 of 2")
	b.tabTo("button Next")
	b.press(kb.Enter)
	b.says(".pager", "page 2 of 2")
	stays("button Previous")

	// What somebody types into a lane's form is sent; what others set meanwhile stays.
	conf := func(is func(governor.Config) bool, what string) {
		t.Helper()
		eventually(t, long, func() bool { c, err := governor.LoadConfig(t.Context(), rdb, "sleep"); return err == nil && is(c) }, what)
	}
	b.open("/lanes/sleep")
	b.says(".facts", "/s")
	b.tabTo("input Most in flight")
	b.press("7")
	producer(t, s.URL(), "lane", "sleep", "--rate=50/s", "--shards=3").exits(t, 0)
	b.becomes(`document.getElementById("set-rate").value === "50/s"`, "what somebody else sets is shown")
	b.says(".facts", "queues3")
	b.calm("input Most in flight", 2)
	if typed := eval[string](b, "document.activeElement.value"); typed != "7" {
		t.Errorf("%q is left of what was typed", typed)
	}
	b.holdBack("POST ")
	b.press(kb.Enter, kb.Tab, "3")
	b.becomes("window.held.length === 1", "it is being sent")
	b.letGo()
	conf(func(c governor.Config) bool { return c.Max == 7 && c.Rate == 50 }, "max is set, and the rate is the other's")
	b.says("#said", "sleep")
	b.calm("input Fewest in flight", 2)
	if typed := eval[string](b, "document.activeElement.value"); typed != "3" {
		t.Errorf("%q is left of what was typed while the form was sent", typed)
	}
	b.press(kb.Backspace) // as it was: it is the others' again
	eventually(t, long, func() bool {
		known, err := queue.Known(t.Context(), rdb)
		return err == nil && len(queue.ByLane(known)["sleep"]) == 3
	}, "its three queues are known")
	producer(t, s.URL(), "lane", "sleep", "--min=2", "--shards=2").exits(t, 0)
	b.becomes(`document.getElementById("set-min").value === "2"`, "what somebody else sets is shown where a field was put back")
	b.says(".facts", "queues2, still 3 known")
	b.tabTo("button Pause")
	b.press(" ")
	conf(func(c governor.Config) bool { return c.Paused && c.Max == 7 }, "the lane is held")
	stays("button Resume")
	b.press(" ")
	conf(func(c governor.Config) bool { return !c.Paused }, "the lane goes on")

	// An address that names a field leads there; it stays in the order, and the list what it is.
	b.open("/lanes?view=workers#q")
	b.says("tbody tr", "sleep")
	stays("input Filter")
	if order := eval[int](b, "document.activeElement.tabIndex"); order != 0 {
		t.Errorf("the filter has the tabindex %d", order)
	}

	// What a worker runs is opened, and stays open.
	b.open("/workers")
	b.says("summary", "longest")
	for range 20 {
		if b.press(kb.Tab); strings.HasPrefix(b.at(), "summary") {
			break
		}
	}
	b.press(kb.Enter)
	b.freshNews(2)
	if !eval[bool](b, `document.activeElement.tagName === "SUMMARY" && document.querySelector("details").open`) {
		t.Errorf("what the worker runs is shut, or the focus lost: it is on %q", b.at())
	}

	// The last one: its button goes with the batch.
	b.open("/batches/long")
	b.says(".facts", "/s")
	b.tabTo("button Cancel…")
	b.press(kb.Enter)
	b.tabTo("button Cancel the batch")
	b.press(kb.Enter)
	b.says("#heard", "long is cancelled")
	phase(func(i *batch.Info) bool { return i.Phase == batch.GivenUp && i.Complete() }, "cancelled")
	b.freshNews(2)
	if b.at() == "" {
		t.Error("the focus is lost with the button")
	}
}

// calm wants that news come so many times and the focus stays where it is, without having
// been elsewhere.
func (b *browser) calm(name string, news int) {
	b.t.Helper()
	lost := eval[[]string](b, "walk.lost")
	b.freshNews(news)
	if now := eval[[]string](b, "walk.lost"); len(now) != len(lost) || b.at() != name {
		b.t.Errorf("while news came the focus on %q was lost: %q, and is on %q", name, now[len(lost):], cmp.Or(b.at(), "nothing"))
	}
}
