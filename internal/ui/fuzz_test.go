package ui

import (
	"net/http"
	"strings"
	"testing"
)

// Whatever is in a file of logins, and whatever a browser sends: let in are those who send
// what is a whole line of it, and no error has a line in it.
func FuzzLogins(f *testing.F) {
	for _, c := range [][2]string{
		{"me:correct horse battery", "Basic bWU6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5"}, {"0123456789abcdef", "Bearer 0123456789abcdef"},
		{"me:short", "Basic bWU6c2hvcnQ="}, {":nobodynobodynobody", "Basic Om5vYm9keW5vYm9keW5vYm9keQ=="}, {"0123456789abcdef", "bearer  0123456789abcdef"},
		{"me:pass:word:with:colons", "Basic bWU6cGFzczp3b3JkOndpdGg6Y29sb25z"}, {"\x00", "Bearer "}, {"", ""}, {"a:\xff\xfe\xfd\xff\xfe\xfd\xff\xfe\xfd\xff\xfe\xfd", "Basic !!"},
	} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, line, header string) {
		var l Logins
		if err := l.add(line); err != nil {
			if len(line) >= minSecret && strings.Contains(err.Error(), line) {
				t.Errorf("the error has the line %q: %v", line, err)
			}
			line = "" // nobody gets in
		}
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		name, password, basic := r.BasicAuth()
		scheme, token, _ := strings.Cut(header, " ")
		want := line != "" && (basic && strings.Contains(line, ":") && name+":"+password == line ||
			strings.EqualFold(scheme, "Bearer") && !strings.Contains(line, ":") && token == line)
		if got := l.know(r); got != want {
			t.Errorf("%q with %q: %v, want %v", header, line, got, want)
		}
	})
}
