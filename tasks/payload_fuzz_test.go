package tasks

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// What a payload of http asks for is one request on the wire, to the host of its URL, with no
// header but those it names; other types take what comes or say what is wrong with it.
func FuzzPayloads(f *testing.F) {
	for _, data := range []string{
		`{"url":"http://h/"}`, `{"url":"https://u:p@h:8443/a?b=c#d","method":"POST","headers":{"A":"b","Host":"other"},"body":"x"}`, `{"url":"http://h/","headers":{"a":"b\r\nc: d"}}`,
		`{"url":"http://h/","method":"GET /x HTTP/1.1\r\n\r\nGET"}`, `{"url":"http://h/\r\nx: y"}`, `{"url":"http://h/%0d%0ax: y"}`, `{"url":"http://h","headers":{"Transfer-Encoding":"chunked","Content-Length":"7"},"body":"0\r\n\r\n"}`,
		`{"url":"http://h h/"}`, `{"url":"http://[::1]a/"}`, `{"url":"http://h/","headers":{"Host":"a b"}}`, `{"url":"http://h/","expect":["2xx","200-299","404"],"max_body":1}`, `{"url":"http://h/","headers":{"Trailer":"x","Connection":"close"}}`,
		`{"host":"h","count":2}`, `{"host":"a b"}`, `{"command":"true","args":["\u0000"]}`, `{"command":"true","env":{"LD_PRELOAD":"x","A=B":"c"}}`, `{"task_number":1,"seconds":1e9}`, `{"n":-1}`, `{`,
	} {
		f.Add([]byte(data))
	}
	names := []string{"exec", "factorial", "fibonacci", "http", "ping", "sleep", "square"}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range names {
			typ, ok := Lookup(name)
			if !ok {
				t.Fatalf("there is no type %s", name)
			}
			err := typ.Check(data)
			var invalid *InvalidError
			if err != nil && (!errors.As(err, &invalid) || len(err.Error()) > 1000) {
				t.Errorf("%s %q: %v", name, data, err)
			}
			if name == "http" && err == nil && !bytes.Contains(data, []byte(`"$`)) {
				oneRequest(t, typ, data)
			}
		}
	})
}

// oneRequest fails where a payload that passes is anything else on the wire.
func oneRequest(t *testing.T, typ *Type, data []byte) {
	p, err := decode[HTTPPayload](typ, data)
	if err != nil {
		t.Fatalf("%q passes and is not decoded: %v", data, err)
	}
	req, err := newHTTPRequest(t.Context(), p)
	if err != nil {
		return
	}
	var wire bytes.Buffer
	if req.Write(&wire) != nil {
		return
	}
	in := bufio.NewReader(&wire)
	got, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%q is no request on the wire: %v", data, err)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil || string(body) != p.Body || got.Method != p.Method {
		t.Errorf("%q sends %s with the body %q, %v", data, got.Method, body, err)
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("%q sends more than one request: %q", data, rest)
	}
	asked := map[string]bool{"User-Agent": true, "Content-Length": true, "Connection": true}
	for name := range p.Headers {
		asked[http.CanonicalHeaderKey(name)] = true
	}
	for name, values := range got.Header {
		if !asked[name] || len(values) != 1 {
			t.Errorf("%q sends the header %s: %q", data, name, values)
		}
	}
}

// A text by a secret's name is never shown, whatever is around it and wherever it is cut off.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"", "x", `"`, `\`, "\x00", "\xff", `":"`, "\u2028", "}{", `\u0022`, "://u:p@h"} {
		f.Add(s, s, uint16(20))
	}
	f.Fuzz(func(t *testing.T, before, after string, cut uint16) {
		if len(before)+len(after) > 1000 {
			return
		}
		const secret = "canary-12345"
		for _, member := range []string{`"Authorization":"Bearer ` + secret, `"x-api-key" : "` + secret, `"url":"https://user:` + secret + `@host/`} {
			quoted, err := encodePayload(map[string]string{"a": before, "b": after})
			if err != nil {
				return // not text
			}
			payload := append(bytes.TrimSuffix(quoted, []byte("}")), `,`+member+`","z":1}`...)
			if strings.Contains(before+after, "canary") {
				return
			}
			whole := Redact(bytes.Clone(payload))
			if bytes.Contains(whole, []byte(secret)) {
				t.Errorf("%q is shown as %q", payload, whole)
			}
			// Where the text is cut off before its secret's end, less than the whole is there to be seen.
			short := payload[:min(len(payload), int(cut))]
			if shown := Redact(bytes.Clone(short)); bytes.Contains(shown, []byte(secret)) {
				t.Errorf("%q is shown as %q", short, shown)
			}
		}
	})
}
