package tasks

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

// HTTPResult is the answer to a request whose status was expected.
type HTTPResult struct {
	Status           int               `json:"status"`
	Headers          map[string]string `json:"headers,omitzero" doc:"those asked for in want_headers"`
	HeadersTruncated bool              `json:"headers_truncated,omitzero" doc:"there was more of them than is kept"`
	Body             string            `json:"body,omitzero"`
	BodyBase64       string            `json:"body_base64,omitzero" doc:"instead of body if it is no text: not UTF-8, or large and full of control characters"`
	Truncated        bool              `json:"truncated" doc:"the body had more than max_body, or than results may have"`
	Bytes            int64             `json:"bytes" doc:"size of the body, as far as known"`
	Proto            string            `json:"proto"`
	Timing           HTTPTiming        `json:"timing_ms"`
}

// maxWanted bounds the names and values of the headers that are kept, in bytes.
const maxWanted = 16 << 10

// readBody keeps up to limit bytes of the body and learns how large it is.
func (r *HTTPResult) readBody(resp *http.Response, limit int) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return err
	}
	r.Bytes = max(int64(len(body)), resp.ContentLength)
	if len(body) > limit {
		r.Truncated, body = true, body[:limit]
	}
	if text := trimCut(body, r.Truncated); isPlain(text) {
		r.Body = string(text)
	} else {
		r.BodyBase64 = base64.StdEncoding.EncodeToString(body)
	}
	return nil
}

// isPlain says that a body is UTF-8 and, as a text in JSON, not much more than twice as large:
// a control character takes six bytes there.
func isPlain(body []byte) bool {
	controls := 0
	for _, c := range body {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			controls++
		}
	}
	return utf8.Valid(body) && 5*controls <= max(len(body), 16<<10)
}

// pick returns the wanted headers that are there, in the order they are wanted, and whether
// some of them are cut or left out for their size.
func pick(h http.Header, wanted []string) (found map[string]string, cut bool) {
	room := maxWanted
	for _, name := range wanted {
		values := h.Values(name)
		if len(values) == 0 {
			continue
		}
		value := strings.Join(values, ", ")
		room -= len(name)
		if room < 0 {
			return found, true
		}
		if len(value) > room {
			value, cut = string(trimCut([]byte(value[:room]), true)), true
		}
		room -= len(value)
		if found == nil {
			found = make(map[string]string, len(wanted))
		}
		found[name] = value
	}
	return found, cut
}

// length is in bytes of the body, as it is written, and one for the headers, which are the last to go.
func (r HTTPResult) length() int { return 1 + len(r.Body) + len(r.BodyBase64) }

func (r HTTPResult) cut(n int) any {
	r.Truncated = true
	if n == 0 {
		r.HeadersTruncated = r.HeadersTruncated || r.Headers != nil
		r.Headers = nil
		n++
	}
	r.BodyBase64 = r.BodyBase64[:min(n-1, len(r.BodyBase64))/4*4]
	kept := min(n-1, len(r.Body))
	r.Body = string(trimCut([]byte(r.Body[:kept]), kept < len(r.Body)))
	return r
}
