package integration_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// heard is a node of the tree that Chromium gives to screen readers. The types of cdproto
// refuse what a newer Chromium has beside.
type heard struct {
	Ignored    bool    `json:"ignored"`
	Role       axValue `json:"role"`
	Name       axValue `json:"name"`
	Value      axValue `json:"value"`
	Properties []struct {
		Name  string  `json:"name"`
		Value axValue `json:"value"`
	} `json:"properties"`
}

type axValue struct {
	Value any `json:"value"`
}

func (v axValue) String() string {
	if v.Value == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(v.Value))
}

// property is one of a node, "" where it has none of that name.
func (h *heard) property(name string) string {
	for _, p := range h.Properties {
		if p.Name == name {
			return p.Value.String()
		}
	}
	return ""
}

// hears is all that a screen reader is told of a page.
func (b *browser) hears() []*heard {
	b.t.Helper()
	var tree struct {
		Nodes []*heard `json:"nodes"`
	}
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		return cdp.Execute(ctx, "Accessibility.getFullAXTree", nil, &tree)
	}))
	return slices.DeleteFunc(tree.Nodes, func(h *heard) bool { return h.Ignored })
}

// of are the nodes of a role, where want is not negative so many.
func of(t *testing.T, all []*heard, path, role string, want int) (found []*heard) {
	t.Helper()
	for _, h := range all {
		if h.Role.String() == role {
			found = append(found, h)
		}
	}
	if want >= 0 && len(found) != want {
		t.Errorf("%s: %d nodes are %s, want %d", path, len(found), role, want)
	}
	return found
}

// A screen reader finds on each page its language, title, heading and landmarks, and a name
// for all that can be operated; tables have headers, progress has a value, plots tell their
// figures, and what is current or sorted is marked.
func TestTheWebUIIsToldToScreenReaders(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t)
	b := newBrowser(t, somethingOfAll(t, s))
	titles := make(map[string]string)
	for _, p := range allPages {
		b.shows(p.path, p.has, p.text)
		all := b.hears()
		if lang := eval[string](b, "document.documentElement.lang"); lang != "en" {
			t.Errorf("%s: its language is %q", p.path, lang)
		}
		title := eval[string](b, "document.title")
		if other := titles[title]; other != "" || !strings.HasSuffix(title, " - weir") {
			t.Errorf("%s: its title is %q, as that of %q", p.path, title, other)
		}
		titles[title] = p.path
		of(t, all, p.path, "main", 1)
		of(t, all, p.path, "banner", 1)
		if navs := of(t, all, p.path, "navigation", -1); !slices.ContainsFunc(navs, func(h *heard) bool { return h.Name.String() == "Pages" }) {
			t.Errorf("%s: no navigation is named Pages", p.path)
		}
		heads := slices.DeleteFunc(of(t, all, p.path, "heading", -1), func(h *heard) bool { return h.property("level") != "1" })
		if len(heads) != 1 || heads[0].Name.String() == "" {
			t.Errorf("%s: %d headings of the first level", p.path, len(heads))
		}
		for _, h := range all {
			role, name := h.Role.String(), h.Name.String()
			named := h.property("focusable") == "true" && role != "RootWebArea" && role != "main" ||
				slices.Contains([]string{"image", "img", "progressbar", "table", "region", "navigation", "dialog"}, role)
			if named && name == "" {
				t.Errorf("%s: a %s has no name: %+v", p.path, role, *h)
			}
		}
		rows := eval[int](b, `[...document.querySelectorAll("tbody tr")].filter((e) => e.checkVisibility()).length`)
		tables := of(t, all, p.path, "table", -1)
		if columns := of(t, all, p.path, "columnheader", -1); len(columns) < 3*len(tables) {
			t.Errorf("%s: %d titles of columns in %d tables", p.path, len(columns), len(tables))
		}
		of(t, all, p.path, "rowheader", rows)
		for _, h := range of(t, all, p.path, "progressbar", -1) {
			unknown := h.Name.String() == "Progress of long" // the tree has no place for why
			if (h.Value.String() == "") != unknown || !strings.HasPrefix(h.Name.String(), "Progress of ") {
				t.Errorf("%s: progress %q of %q", p.path, h.Value, h.Name)
			}
		}
		if silent := eval[int](b, `document.querySelectorAll("[role=progressbar]:not([aria-valuenow]):not([aria-valuetext])").length`); silent > 0 {
			t.Errorf("%s: %d bars do not tell that progress is not known", p.path, silent)
		}
		for _, h := range append(of(t, all, p.path, "alert", 1), of(t, all, p.path, "status", 2)...) { // there before they have a text
			if want := map[string]string{"alert": "assertive", "status": "polite"}[h.Role.String()]; h.property("live") != want {
				t.Errorf("%s: a %s is not %s", p.path, h.Role, want)
			}
		}
		if silent := eval[[]string](b, `[...document.querySelectorAll("figure")].filter((f) => {
			const told = f.querySelector("svg").getAttribute("aria-label");
			return ![...f.querySelectorAll(".key")].every((k) => /\d|–/.test(k.textContent) && told.includes(k.textContent));
		}).map((f) => f.textContent)`); len(silent) > 0 {
			t.Errorf("%s: plots do not tell their figures: %q", p.path, silent)
		}
		if current := eval[int](b, `document.querySelectorAll("nav [aria-current=page]").length`); current != 1 {
			t.Errorf("%s: %d parts are marked as the current one", p.path, current)
		}
		if sorted := eval[int](b, `document.querySelectorAll("[aria-sort]").length`); (p.path == "/" || p.path == "/lanes") != (sorted == 1) {
			t.Errorf("%s: %d columns are marked as sorted by", p.path, sorted)
		}
	}

	// The value of a progress bar is what the page shows.
	b.open("/batches/broken")
	b.says(".percent", "100% of 6")
	if bars := of(t, b.hears(), "broken", "progressbar", 1); len(bars) == 1 && (bars[0].Name.String() != "Progress of broken" || bars[0].Value.String() != "100") {
		t.Errorf("its progress is %q of %q", bars[0].Value, bars[0].Name)
	}
	b.open("/batches/long")
	b.says("h1", "running")
	b.click("button", "Cancel…")
	dialogs := of(t, b.hears(), "the dialog", "dialog", 1)
	if len(dialogs) == 1 && (dialogs[0].Name.String() != "Cancel long?" || dialogs[0].property("modal") != "true") {
		t.Errorf("the dialog is %+v", *dialogs[0])
	}
}

// What changes is announced once, politely; ticks of figures are not.
func TestTheWebUIAnnouncesChangesAndNothingElse(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t)
	rdb := s.Client()
	b := newBrowser(t, somethingOfAll(t, s))
	listen := `(window.spoken = []), new MutationObserver((all) => all.forEach((m) => {
		const region = (m.target.parentElement?.closest("[role=status], [role=alert], [aria-live]") || m.target.closest?.("[role=status], [role=alert], [aria-live]"));
		if (region?.textContent) window.spoken.push(region.textContent);
	})).observe(document.body, {childList: true, characterData: true, subtree: true})`
	spoken := func() []string { // but that a busy machine was late with the news
		return slices.DeleteFunc(eval[[]string](b, "window.spoken"), func(s string) bool {
			return s == "live again" || s == "no news any more: what is shown is old"
		})
	}
	for _, p := range allPages {
		if p.path == "/batches/broken/tasks/2" { // whose news have ended
			continue
		}
		b.shows(p.path, p.has, p.text)
		b.run(chromedp.Evaluate(listen, nil))
		b.freshNews(2)
		if said := spoken(); len(said) != 0 {
			t.Errorf("%s: news are announced: %q", p.path, said)
		}
	}

	b.open("/batches/long")
	b.says("h1", "running")
	b.run(chromedp.Evaluate(listen, nil))
	if err := batch.NewLedger(rdb).SetPaused(t.Context(), "long", true); err != nil {
		t.Fatal(err)
	}
	b.says("#heard", "long is paused")
	b.freshNews(2)
	if said := spoken(); !slices.Equal(said, []string{"long is paused"}) {
		t.Errorf("that the batch is paused is announced so: %q", said)
	}
	b.open("/lanes/sleep")
	b.says(".facts", "/s")
	b.run(chromedp.Evaluate(listen, nil))
	producer(t, s.URL(), "lane", "sleep", "--pause").exits(t, 0)
	b.says("#heard", "sleep is held")
	b.open("/lanes")
	b.says("tbody tr", "sleep")
	b.fill("#q", "nothing like it")
	b.says("#heard", "0 of 1 lane")
	b.run(chromedp.Evaluate(listen, nil))
	b.fill("#q", "nor like this")
	b.becomes(`window.spoken.includes("0 of 1 lane")`, "that as many are found is announced again")

	// What is looked for is announced, though news of another failure come meanwhile.
	ledger := batch.NewLedger(rdb)
	if _, err := ledger.Create(t.Context(), "failing", batch.Options{Type: "sleep", KeepMS: 60_000}); err != nil {
		t.Fatal(err)
	}
	fails := func(seq int64) {
		t.Helper()
		o := &batch.Outcome{Seq: seq, State: batch.Failed, Class: batch.Timeout, Error: "too slow", Attempts: 1}
		if _, err := ledger.Record(t.Context(), "failing", o, 0, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	fails(0)
	b.open("/batches/failing")
	b.says("#failures .pager", "1 failure")
	b.holdBack("GET /api/batches/failing/failures")
	b.fill("#text", "slow")
	b.becomes("window.held.length === 1", "they are asked for")
	fails(1)
	b.becomes(`document.querySelector("#failures tbody td").textContent === "2"`, "news of another failure come")
	b.letGo()
	b.says("#heard", "of 2 failures")
}

// legible is what of a page's texts has too little contrast, or tells something by colour
// alone. Colours are composed of all that lies behind a text.
const legible = `(() => {
  const wrong = new Set();
  const rgba = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const faded = (e) => { let o = 1; for (; e; e = e.parentElement) o *= getComputedStyle(e).opacity; return o; };
  const check = (what, colour, e, least) => {
    const ground = behind(e), c = rgba(colour);
    c[3] *= faded(e);
    const is = contrast(over(c, ground), ground);
    if (is < least) wrong.add(what + " has a contrast of " + is.toFixed(2));
  };
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walker.nextNode()); ) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.checkVisibility() || e.matches(":disabled, option")) continue;
    texts++;
    check(e.tagName + "." + (e.getAttribute("class") || "") + " " + n.textContent.trim().slice(0, 30), e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color, e, 4.5);
  }
  for (const e of document.querySelectorAll("input")) if (e.placeholder) check("placeholder " + e.placeholder, getComputedStyle(e, "::placeholder").color, e, 4.5);
  for (const e of document.querySelectorAll("input, select, button:not(.sort)")) {
    if (e.checkVisibility() && !e.disabled) check("the border of " + e.tagName + " " + (e.id || e.textContent), getComputedStyle(e).borderTopColor, e.parentElement, 3);
  }
  for (const e of document.querySelectorAll("svg path")) check("a line " + e.getAttribute("class"), getComputedStyle(e).stroke, e.closest("figure, td"), 3);
  for (const e of document.querySelectorAll(".state")) if (!e.textContent.trim()) wrong.add("a state without a word");
  for (const f of document.querySelectorAll("figure")) {
    const dashes = [...f.querySelectorAll("path")].map((l) => getComputedStyle(l).strokeDasharray);
    if (new Set(dashes).size < dashes.length) wrong.add("lines of " + f.querySelector("b").textContent + " differ by colour alone");
  }
  for (const a of document.querySelectorAll("main a")) {
    const beside = [...a.parentElement.childNodes].some((n) => n !== a && n.textContent.trim());
    if (beside && a.checkVisibility() && a.textContent && !a.closest("th") && getComputedStyle(a).textDecorationLine !== "underline") wrong.add("link " + a.textContent + " is one by colour alone");
  }
  return { texts, wrong: [...wrong] };
})()`

// Texts have a contrast of 4.5 at least, borders of controls and lines of plots of 3, in
// light and in dark, and no colour is alone in what it tells.
func TestTheWebUIIsLegible(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t)
	b := newBrowser(t, somethingOfAll(t, s))
	check := func(where string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
			found := eval[struct {
				Texts int      `json:"texts"`
				Wrong []string `json:"wrong"`
			}](b, legible)
			for _, what := range found.Wrong {
				t.Errorf("%s, %s: %s", where, scheme, what)
			}
			if found.Texts < 15 {
				t.Errorf("%s, %s: %d texts were looked at", where, scheme, found.Texts)
			}
		}
	}
	for _, p := range allPages {
		b.shows(p.path, p.has, p.text)
		check(p.path)
	}
	b.open("/lanes/sleep")
	b.fill("#set-min", "9")
	b.fill("#set-max", "7")
	b.quietly("400 (Bad Request)", func() {
		b.click("button", "Save")
		b.says("#trouble", "above max 7")
	})
	check("an error")
	b.open("/batches/long")
	b.click("button", "Pause")
	b.says("#said", "is paused")
	b.click("button", "Cancel…")
	check("a dialog")
}
