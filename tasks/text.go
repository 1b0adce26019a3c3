package tasks

import (
	"strings"
	"unicode/utf8"
)

// trimCut takes the beginning of a character off the end of b, if b was cut
// (of more than one byte, and not the whole of it there).
func trimCut(b []byte, cut bool) []byte {
	if !cut {
		return b
	}
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if start := len(b) - back; utf8.RuneStart(b[start]) {
			if !utf8.FullRune(b[start:]) {
				return b[:start]
			}
			break
		}
	}
	return b
}

// noNUL refuses text that ends too early for whatever is written in C.
func noNUL(field, text string) error {
	if strings.ContainsRune(text, 0) {
		return invalidf(field, "contains a NUL byte")
	}
	return nil
}
