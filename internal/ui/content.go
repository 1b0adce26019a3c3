package ui

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/weir-tasks/weir/tasks"
)

// inline finds the scripts written into the page. asynqmon's two have no attributes.
var inline = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

// contentPolicy makes the CSP that lets mon's page work and nothing else. The
// page's inline scripts hold its settings, so that their hashes are known only
// when it has been rendered; asynqmon renders the same one each time.
func contentPolicy(mon http.Handler, root string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, root, nil)
	if err != nil {
		return "", fmt.Errorf("ui: root path %q: %w", root, err)
	}
	page := &pageBuffer{header: make(http.Header)}
	mon.ServeHTTP(page, r)
	if page.status != 0 && page.status != http.StatusOK {
		return "", fmt.Errorf("ui: render asynqmon's page at %q: status %d", root, page.status)
	}
	scripts := inline.FindAllSubmatch(page.Bytes(), -1)
	if len(scripts) == 0 {
		return "", errors.New("ui: asynqmon's page is not as expected: it has no inline script")
	}
	var script strings.Builder
	script.WriteString("script-src 'self'")
	for _, s := range scripts {
		sum := sha256.Sum256(s[1])
		fmt.Fprintf(&script, " 'sha256-%s'", base64.StdEncoding.EncodeToString(sum[:]))
	}
	return strings.Join([]string{
		"default-src 'none'",
		script.String(),
		"style-src 'self' 'unsafe-inline'", // its components write style elements
		"img-src 'self' data:",
		"font-src 'self'",
		"connect-src 'self'",
		"manifest-src 'self'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; "), nil
}

type pageBuffer struct {
	bytes.Buffer
	header http.Header
	status int
}

func (p *pageBuffer) Header() http.Header    { return p.header }
func (p *pageBuffer) WriteHeader(status int) { p.status = status }

// types are the ones that asynqmon leaves to sniffing, which takes them for text.
var types = map[string]string{
	".svg":  "image/svg+xml",
	".json": "application/json",
}

// typed gives answers the type that they have. With nosniff the browser no
// longer guesses, and asynqmon relied on that.
func typed(next http.Handler, root string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &typeWriter{ResponseWriter: w}
		switch {
		case strings.HasPrefix(r.URL.Path, root+"/api/"):
			w.Header().Set("Cache-Control", "no-store")
			t.ifNone = "application/json"
		case strings.HasPrefix(r.URL.Path, root+"/static/"): // named by their hash
			w.Header().Set("Cache-Control", "max-age=86400")
			t.notHTML = types[path.Ext(r.URL.Path)]
		default:
			w.Header().Set("Cache-Control", "no-cache")
			t.notHTML = types[path.Ext(r.URL.Path)]
		}
		next.ServeHTTP(t, r)
	})
}

// typeWriter corrects the content type before the header is sent.
type typeWriter struct {
	http.ResponseWriter
	ifNone  string // the type of an answer that names none
	notHTML string // the type of an answer other than the page, which stands in for what is not found
	sent    bool
}

func (t *typeWriter) WriteHeader(status int) {
	t.correct()
	t.ResponseWriter.WriteHeader(status)
}

func (t *typeWriter) Write(p []byte) (int, error) {
	t.correct()
	return t.ResponseWriter.Write(p)
}

func (t *typeWriter) correct() {
	if t.sent {
		return
	}
	t.sent = true
	h := t.Header()
	has := h.Get("Content-Type")
	switch {
	case has == "" && t.ifNone != "":
		h.Set("Content-Type", t.ifNone)
	case has != "" && t.notHTML != "" && !strings.HasPrefix(has, "text/html"):
		h.Set("Content-Type", t.notHTML)
	}
}

// showMax is as much of a payload as is of use on a screen. asynqmon sends the
// payloads of a whole page of tasks at once.
const showMax = 4 << 10

// show makes a payload or result text, redacted: whole, or cut at showMax with its size.
func show(_ string, data []byte) string {
	data = tasks.Redact(data)
	if len(data) <= showMax {
		if !utf8.Valid(data) {
			return fmt.Sprintf("%d bytes that are not text", len(data))
		}
		return string(data)
	}
	cut := data[:showMax]
	for range utf8.UTFMax - 1 { // the cut may have split a character
		if utf8.Valid(cut) {
			break
		}
		cut = cut[:len(cut)-1]
	}
	if !utf8.Valid(cut) {
		return fmt.Sprintf("%d bytes that are not text", len(data))
	}
	return fmt.Sprintf("%s… (%d bytes in all)", cut, len(data))
}
