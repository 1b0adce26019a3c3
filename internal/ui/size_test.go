package ui

import (
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestTheBodyOfAnActionIsBounded: one that is as large as may be, and one byte more.
func TestTheBodyOfAnActionIsBounded(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Actions = true })
	s.post("/api/lanes/sleep", `{"max":1}`+strings.Repeat(" ", maxBody-9), 200)
	if a := s.post("/api/lanes/sleep", `{"max":1}`+strings.Repeat(" ", maxBody-8), 400); !strings.Contains(a.Error, "too large") {
		t.Errorf("it is refused with %+v", a)
	}
	if a := s.post("/api/lanes/sleep", `{"max":1}{"max":2}`, 400); !strings.Contains(a.Error, "more than one") {
		t.Errorf("two are refused with %+v", a)
	}
}

// TestTheHeadOfARequestIsBounded: Go takes 4 KiB more than it is told.
func TestTheHeadOfARequestIsBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- Serve(t.Context(), ln, http.NotFoundHandler()) }()
	for size, want := range map[int]int{60 << 10: 404, 70 << 10: 431} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X", strings.Repeat("v", size))
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("a head of %d bytes: %s", size, res.Status)
		}
	}
	t.Cleanup(func() { <-stopped })
}
