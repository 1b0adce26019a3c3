package integration_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	cdpnetwork "github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is a Chromium that looks at the web UI, and what it complained of.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu    sync.Mutex
	wrong []string // errors on its console, and requests to other hosts
	ends  bool     // the UI does: that it is gone is no error
}

// newBrowser starts one. Everything wrong fails the test at its end.
func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	profile, err := os.MkdirTemp("", "weir-browser-")
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1360, 900),
		chromedp.UserDataDir(profile))
	if path := os.Getenv("WEIR_TEST_CHROMIUM"); path != "" {
		options = append(options, chromedp.ExecPath(path))
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...) // t's ends before the cleanup
	// What Chromium tells that chromedp does not know is no error.
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	b := &browser{t: t, ctx: ctx, base: base}
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for it
		cancel()
		stop()
		eventually(t, long, func() bool { return os.RemoveAll(profile) == nil }, "no process of the browser writes to its profile")
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, what := range b.wrong {
			t.Error("in the browser: " + what)
		}
	})
	chromedp.ListenTarget(ctx, b.hear)
	b.run(runtime.Enable(), cdpnetwork.Enable(), log.Enable())
	return b
}

func (b *browser) hear(event any) {
	wrong := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		wrong = e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			wrong = fmt.Sprint("console: ", e.Args)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError {
			wrong = e.Entry.Text + " " + e.Entry.URL
		}
	case *cdpnetwork.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && !strings.HasPrefix(e.Request.URL, b.base+"/") {
			wrong = "a request to " + e.Request.URL
		}
	}
	if wrong != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.ends && strings.Contains(wrong, "net::ERR_") && strings.Contains(wrong, b.base) {
			return
		}
		b.wrong = append(b.wrong, wrong)
	}
}

// uiEnds says that the UI may end from now on.
func (b *browser) uiEnds() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ends = true
}

// run does actions, within half a minute.
func (b *browser) run(actions ...chromedp.Action) {
	b.t.Helper()
	if err := b.try(30*time.Second, actions...); err != nil {
		var page string
		_ = b.try(5*time.Second, chromedp.Text("body", &page))
		b.t.Fatalf("%v; the page is\n%s", err, tail(page, 3000))
	}
}

// try is run with an error instead. The first action begins the browser, which must not
// end with this.
func (b *browser) try(d time.Duration, actions ...chromedp.Action) error {
	if chromedp.FromContext(b.ctx).Target == nil {
		return chromedp.Run(b.ctx, actions...)
	}
	ctx, cancel := context.WithTimeout(b.ctx, d)
	defer cancel()
	return chromedp.Run(ctx, actions...)
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.base + path))
}

// says waits until an element has a text.
func (b *browser) says(selector, text string) {
	b.t.Helper()
	expression := fmt.Sprintf("[...document.querySelectorAll(%q)].some(e => e.textContent.includes(%q))", selector, text)
	b.run(chromedp.Poll(expression, nil, chromedp.WithPollingInterval(50*time.Millisecond)))
}

// click clicks the one visible button or link of this name.
func (b *browser) click(selector, name string) {
	b.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll(%q)].find(e => (e.getAttribute('aria-label') || e.textContent).trim() === %q && e.offsetParent !== null)", selector, name)
	b.run(chromedp.Poll(find+" !== undefined", nil), chromedp.Evaluate(find+".click()", nil))
}

// fill puts a value into a field as typing would.
func (b *browser) fill(selector, value string) {
	b.t.Helper()
	b.run(chromedp.WaitVisible(selector), chromedp.Evaluate(fmt.Sprintf(`{
		const field = document.querySelector(%q);
		field.value = %q;
		for (const event of ["input", "change"]) field.dispatchEvent(new Event(event, {bubbles: true}));
	}`, selector, value), nil))
}

// press presses and releases keys as a keyboard does: characters, kb.Tab and the like.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.run(chromedp.KeyEvent(k))
	}
}

// back is shift and tab.
func (b *browser) back() {
	b.t.Helper()
	b.run(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(input.ModifierShift)))
}

// eval is what an expression is, or what the promise that it is becomes.
func eval[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	b.run(chromedp.Evaluate(expression, &value, awaited))
	return value
}

func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

// becomes waits until an expression is true.
func (b *browser) becomes(expression, what string) {
	b.t.Helper()
	if err := b.try(30*time.Second, chromedp.Poll(expression, nil, chromedp.WithPollingInterval(20*time.Millisecond))); err != nil {
		b.t.Fatalf("%s: %v; focus is on %s; the page is\n%s", what, err, eval[string](b, "document.activeElement.outerHTML.slice(0, 300)"), tail(eval[string](b, "document.body.innerText"), 3000))
	}
}

// freshNews waits until news have come so many times. What takes long is read every 15 s.
func (b *browser) freshNews(n int) {
	b.t.Helper()
	err := b.try(long, chromedp.Evaluate(fmt.Sprintf(`new Promise((done) => {
		const news = document.getElementById("news");
		let left = %d;
		const watch = new MutationObserver(() => {
			if (/^(live|as of)/.test(news.textContent) && --left <= 0) watch.disconnect(), done(true);
		});
		watch.observe(news, {childList: true, characterData: true, subtree: true});
	})`, n), nil, awaited))
	if err != nil {
		b.t.Fatalf("news: %v", err)
	}
}

// holdBack makes the page's requests wait whose method and path begin so, until letGo.
func (b *browser) holdBack(begin string) {
	b.t.Helper()
	b.run(chromedp.Evaluate(fmt.Sprintf(`{
		const real = window.fetch;
		window.held = [];
		window.letGo = () => { window.fetch = real; window.held.forEach((go) => go()); };
		window.fetch = async (path, options) => {
			if (((options.method || "GET") + " " + path).startsWith(%q)) await new Promise((go) => window.held.push(go));
			return real(path, options);
		};
	}`, begin), nil))
}

func (b *browser) letGo() {
	b.t.Helper()
	b.run(chromedp.Evaluate("window.letGo()", nil))
}

// shot takes a screenshot, where WEIR_TEST_SHOTS names a folder for them.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("WEIR_TEST_SHOTS")
	if dir == "" {
		return
	}
	for _, look := range []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1360}, {"dark", "dark", 1360}, {"narrow", "light", 420}} {
		var image []byte
		b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}),
			emulation.SetDeviceMetricsOverride(look.width, 860, 1, false), chromedp.Sleep(700*time.Millisecond), chromedp.CaptureScreenshot(&image))
		if err := os.WriteFile(filepath.Join(dir, name+"-"+look.name+".png"), image, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	b.run(emulation.SetDeviceMetricsOverride(1360, 860, 1, false))
}

// quietly does something that the browser logs as an error, and takes that back.
func (b *browser) quietly(text string, do func()) {
	b.t.Helper()
	do()
	eventually(b.t, long, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for i, what := range b.wrong {
			if strings.Contains(what, text) {
				b.wrong = append(b.wrong[:i], b.wrong[i+1:]...)
				return true
			}
		}
		return false
	}, "the browser logs "+text)
}
