package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// scrubbed stands where a secret was. It is no longer than the shortest that is looked
	// for, so that nothing grows.
	scrubbed = "***"

	// minSecret is the shortest text that is taken for a secret: shorter ones are in
	// everything.
	minSecret = 4

	// minPiece is the shortest piece of a secret that is taken for one, in errors, which
	// are cut.
	minPiece = 8
)

// scrubber takes what a payload's references stood for out of what a handler returns. A
// nil one has nothing to take out.
type scrubber struct{ secrets []string }

func (s *scrubber) add(text string) {
	if len(text) >= minSecret {
		s.secrets = append(s.secrets, text)
	}
}

type scrubberKey struct{}

// withScrubber tells the handler which texts are secret.
func withScrubber(ctx context.Context, s *scrubber) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, scrubberKey{}, s)
}

// hasSecret says that a text has what the payload of this attempt refers to.
func hasSecret(ctx context.Context, text string) bool {
	s, _ := ctx.Value(scrubberKey{}).(*scrubber)
	return s != nil && s.whole(text) != text
}

// whole is a text without the secrets that are in it from end to end.
func (s *scrubber) whole(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, scrubbed)
	}
	return text
}

// pieces is a text without the secrets and pieces of them: of a message one may have been
// cut off, or quoted in part.
func (s *scrubber) pieces(text string) string {
	text = s.whole(text)
	var out strings.Builder
	for i := 0; i < len(text); {
		n := s.pieceAt(text[i:])
		if n == 0 {
			out.WriteByte(text[i])
			i++
			continue
		}
		out.WriteString(scrubbed)
		i += n
	}
	return out.String()
}

// pieceAt is the length of the piece of a secret that a text begins with.
func (s *scrubber) pieceAt(text string) int {
	if len(text) < minPiece {
		return 0
	}
	for _, secret := range s.secrets {
		n := minPiece
		for n <= len(text) && strings.Contains(secret, text[:n]) {
			n++
		}
		if n > minPiece {
			return n - 1
		}
	}
	return 0
}

// error is a handler's error with another text.
func (s *scrubber) error(err error) error {
	if s == nil || err == nil {
		return err
	}
	if text := s.pieces(err.Error()); text != err.Error() {
		return &scrubbedError{text, err}
	}
	return err
}

// withoutReason is what a payload that does not fit says when its references have been
// resolved: the reason may quote them.
func withoutReason(err error, s *scrubber) error {
	var invalid *InvalidError
	if s == nil || !errors.As(err, &invalid) {
		return s.error(err)
	}
	return &InvalidError{Field: s.pieces(invalid.Field), Reason: "does not fit with what the payload refers to"}
}

// scrubbedError has all of an error but its text.
type scrubbedError struct {
	text string
	err  error
}

func (e *scrubbedError) Error() string { return e.text }
func (e *scrubbedError) Unwrap() error { return e.err }

// panicking passes a handler's panic on without secrets. It is deferred.
func (s *scrubber) panicking() {
	if s == nil {
		return
	}
	if v := recover(); v != nil {
		panic(s.pieces(fmt.Sprint(v)))
	}
}

// result is a result without secrets in its texts; names and numbers stay.
func (s *scrubber) result(data []byte) ([]byte, error) {
	if s == nil || len(s.secrets) == 0 {
		return data, nil
	}
	var out bytes.Buffer
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	enc := jsontext.NewEncoder(&out)
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			break // the end: it was encoded just now
		}
		if _, n := dec.StackIndex(dec.StackDepth()); tok.Kind() == '"' && !(enclosed(dec) == '{' && n%2 == 1) {
			tok = jsontext.String(s.whole(tok.String()))
		}
		if err := enc.WriteToken(tok); err != nil {
			return nil, err
		}
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// enclosed is what the value just read is in.
func enclosed(dec *jsontext.Decoder) jsontext.Kind {
	kind, _ := dec.StackIndex(dec.StackDepth())
	return kind
}
