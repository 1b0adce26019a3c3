package logs

import (
	"encoding/json"
	"strings"
)

const (
	// hidden stands where a text of a payload was.
	hidden = "***"

	// shortest is the shortest text that is looked for: shorter ones are in everything.
	shortest = 4

	// longest is how much of a payload is read for that. Of a larger one no text of its
	// handler is shown.
	longest = 64 << 10
)

// Hide takes the texts of a task's payload out of what its handler has said, as in a panic,
// as far as they are there as they are.
func Hide(text string, payload []byte) string {
	if len(payload) > longest {
		return hidden
	}
	var v any
	if json.Unmarshal(payload, &v) != nil {
		return strings.ReplaceAll(text, string(payload), hidden)
	}
	each(v, func(s string) {
		text = strings.ReplaceAll(text, s, hidden)
	})
	return text
}

// each calls do for the texts in a JSON value, and the words in them: of headers, and of
// lines, handlers show parts.
func each(v any, do func(string)) {
	switch v := v.(type) {
	case string:
		if len(v) < shortest {
			return
		}
		do(v)
		for _, word := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;=&?@/:\"'", r) }) {
			if len(word) >= 2*shortest {
				do(word)
			}
		}
	case []any:
		for _, in := range v {
			each(in, do)
		}
	case map[string]any:
		for _, in := range v {
			each(in, do)
		}
	}
}
