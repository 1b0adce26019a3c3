package ui

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/weir-tasks/weir/internal/secret"
)

// minSecret is the fewest characters of a password or token.
const minSecret = 12

// Logins are the passwords and tokens of those who may use the UI.
type Logins struct {
	basic  [][sha256.Size]byte // of "name:password"
	bearer [][sha256.Size]byte
}

// ReadLogins reads a file of logins, one a line: NAME:PASSWORD for a browser, or a token,
// without a colon, for "Authorization: Bearer". Empty lines and those that begin with #
// do not count. It fails for a file that others may read or write, and for passwords and
// tokens of less than 12 characters. No error has one in it.
func ReadLogins(path string) (*Logins, error) {
	text, err := secret.Read(path)
	if err != nil {
		return nil, fmt.Errorf("read logins: %w", err)
	}
	var l Logins
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := l.add(line); err != nil {
			return nil, fmt.Errorf("read logins: %s:%d: %w", path, n, err)
		}
	}
	if len(l.basic)+len(l.bearer) == 0 {
		return nil, fmt.Errorf("read logins: %s has none: write a line NAME:PASSWORD", path)
	}
	return &l, nil
}

func (l *Logins) add(line string) error {
	if strings.ContainsFunc(line, unicode.IsControl) {
		return errors.New("has a control character")
	}
	name, password, basic := strings.Cut(line, ":")
	switch {
	case !basic && strings.ContainsAny(line, " \t"):
		return errors.New("must be NAME:PASSWORD, or a token without spaces")
	case basic && name == "":
		return errors.New("has no name before the colon")
	case basic && len(password) < minSecret, !basic && len(line) < minSecret:
		return fmt.Errorf("has a secret of less than %d characters; `head -c 18 /dev/urandom | base64` makes a good one", minSecret)
	}
	if basic {
		l.basic = append(l.basic, sha256.Sum256([]byte(line)))
	} else {
		l.bearer = append(l.bearer, sha256.Sum256([]byte(line)))
	}
	return nil
}

// guard lets those through who know a password or token.
func (l *Logins) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.know(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="weir", charset="UTF-8"`)
			http.Error(w, "this needs a name and a password, or a bearer token, of the file given with --login", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// know takes as long whatever is wrong with what was sent.
func (l *Logins) know(r *http.Request) bool {
	name, password, _ := r.BasicAuth()
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		token = ""
	}
	return among(l.basic, name+":"+password)|among(l.bearer, token) == 1
}

func among(sums [][sha256.Size]byte, secret string) (found int) {
	sum := sha256.Sum256([]byte(secret))
	for i := range sums {
		found |= subtle.ConstantTimeCompare(sums[i][:], sum[:])
	}
	return found
}
