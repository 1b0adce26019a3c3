package ui

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	password = "correct-horse"
	token    = "0123456789ab"
)

func loginFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "logins")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNothingIsShownWithoutALogin(t *testing.T) {
	logins, err := ReadLogins(loginFile(t, "# who\n\nann:"+password+"\r\nbob:with:colons:in it\n"+token+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(o *Options) { o.Logins, o.Writable = logins, true })
	basic := func(pair string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	}
	for _, header := range []string{basic("ann:" + password), basic("bob:with:colons:in it"), "Authorization: Bearer " + token, "Authorization: bearer " + token} {
		if res, body := s.do("GET", "/api/about", header); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s: %s", header, res.Status, body)
		}
	}
	for _, header := range []string{
		"X-None: ", "Authorization: ", "Authorization: Basic", "Authorization: Basic %%%", "Authorization: Bearer", "Authorization: Bearer ",
		basic(""), basic(":"), basic("ann"), basic("ann:"), basic("ann:" + password + "x"), basic("Ann:" + password), basic("bob:" + password),
		basic(token), basic(token + ":"), basic(":" + token), "Authorization: Bearer ann:" + password,
		"Authorization: Token " + token, "Authorization: " + token, "Cookie: Authorization=Bearer " + token,
	} {
		for _, path := range []string{"/", "/api/about", "/api/live", "/static/app.js", "/asynq/", "/asynq/api/queues"} {
			res, body := s.do("GET", path, header)
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: %s", path, header, res.Status)
			}
			if strings.Contains(body, queue) || strings.Contains(body, "<") {
				t.Errorf("%s with %q shows %.80q", path, header, body)
			}
		}
	}
	if res, _ := s.do("POST", "/asynq/api/queues/"+queue+"/pending_tasks:archive_all"); res.StatusCode != http.StatusUnauthorized || s.pending() != 2 {
		t.Errorf("an action without a login: %s, %d tasks pending", res.Status, s.pending())
	}
	if res, _ := s.do("GET", "/healthz"); res.StatusCode != http.StatusOK {
		t.Errorf("a probe: %s", res.Status)
	}
}

// A browser sends a login that it knows also for what another site's page asks.
func TestALoginIsNoWayRoundTheOtherGuards(t *testing.T) {
	logins, err := ReadLogins(loginFile(t, token))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(o *Options) { o.Logins, o.Writable = logins, true })
	known := "Authorization: Bearer " + token
	for _, header := range []string{"Origin: http://evil.example", "Host: evil.example"} {
		if res, _ := s.do("POST", "/asynq/api/queues/"+queue+"/pending_tasks:archive_all", known, header); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", header, res.Status)
		}
	}
	if s.pending() != 2 {
		t.Errorf("%d tasks pending, want 2", s.pending())
	}
}

func TestReadLoginsRefusesWhatIsNoLogin(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "has none",
		"# ann:" + password:        "has none",
		"ann:short":                ":1: has a secret of less than 12 characters",
		"\n" + token[1:]:           ":2: has a secret of less than 12 characters",
		":" + password:             ":1: has no name",
		password + " x":            ":1: must be NAME:PASSWORD",
		"ann:" + password + "\x00": ":1: has a control character",
	} {
		_, err := ReadLogins(loginFile(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
		if err != nil && (strings.Contains(err.Error(), password) || strings.Contains(err.Error(), token[1:])) {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
	open := loginFile(t, "ann:"+password)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLogins(open); err == nil || !strings.Contains(err.Error(), "others may read") {
		t.Errorf("got %v", err)
	}
}
