package tasks

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// InvalidError says what is wrong with a payload, in words for the person who
// wrote it. It names the first wrong field and no Go types.
type InvalidError struct {
	Field  string // dotted path, as "headers.accept" or "args.0"; "" for the payload as a whole
	Reason string // completes the sentence: `must be 0 or greater`
}

func (e *InvalidError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return fmt.Sprintf("field %q: %s", e.Field, e.Reason)
}

// invalidf makes an InvalidError.
func invalidf(field, format string, args ...any) *InvalidError {
	return &InvalidError{Field: shorten(field, 100), Reason: fmt.Sprintf(format, args...)}
}

// shorten cuts s to at most n bytes of valid text: messages quote input that
// may be of any size and any bytes.
func shorten(s string, n int) string {
	if len(s) > n {
		cut := n
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
