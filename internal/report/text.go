package report

import (
	"strings"
	"unicode"
)

const (
	maxSample = 200  // runes of an error sample
	maxNote   = 2000 // runes of one line of a note
)

// Clean makes text of unknown origin fit to print: one line, at most limit runes,
// white space as single blanks, whatever does not print (control characters,
// escape sequences, direction overrides) as question marks.
func Clean(s string, limit int) string {
	var b strings.Builder
	n, blank := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) {
			blank = n > 0
			continue
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		if blank {
			b.WriteByte(' ')
			n, blank = n+1, false
		}
		b.WriteRune(r)
		n++
		if n > limit {
			runes := []rune(b.String())
			return string(runes[:limit-1]) + "…"
		}
	}
	return b.String()
}
