package tasks

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// This file says in plain words what the JSON library found wrong. Its own
// messages name Go types, which mean nothing to whoever wrote the payload.

// asInvalid explains an error of json.Unmarshal or json.Marshal.
func asInvalid(err error) *InvalidError {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		return invalidf(dotted(semantic.JSONPointer), "%s", semanticReason(semantic))
	}
	return asSyntaxError(err, nil)
}

func semanticReason(e *json.SemanticError) string {
	if errors.Is(e.Err, json.ErrUnknownName) {
		return "unknown field"
	}
	value := shorten(string(e.JSONValue), 40)
	if errors.Is(e.Err, strconv.ErrRange) {
		if strings.HasPrefix(value, "-") {
			return value + " is too small"
		}
		return value + " is too large"
	}
	if e.GoType == nil {
		return "has the wrong type"
	}
	kind := e.GoType.Kind()
	if kind >= reflect.Uint && kind <= reflect.Uintptr && strings.HasPrefix(value, "-") {
		return "must be 0 or greater"
	}
	if word := kindWord(e.GoType); word != "" && !fits(e.GoType, e.JSONKind) {
		return word
	}
	// The right kind of JSON but not to the taste of the type's own decoder.
	if e.Err != nil {
		return "is not valid: " + shorten(e.Err.Error(), 100)
	}
	if word := kindWord(e.GoType); word != "" {
		return word
	}
	return "has the wrong type"
}

// fits reports whether JSON of that kind is how a value of t is written, so
// that only t's own decoder can have refused it.
func fits(t reflect.Type, kind jsontext.Kind) bool {
	switch t.Kind() {
	case reflect.String:
		return kind == '"'
	case reflect.Struct, reflect.Map:
		return kind == '{' && !isText(t) || kind == '"' && isText(t)
	case reflect.Slice, reflect.Array:
		return kind == '[' && !isText(t) || kind == '"'
	}
	return false
}

// kindWord completes the sentence for a value of the wrong type, "" if t may be
// written in more than one way.
func kindWord(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if isText(t) {
		return "must be a string"
	}
	switch k := t.Kind(); {
	case k >= reflect.Int && k <= reflect.Uintptr:
		return "must be an integer"
	case k == reflect.Float32 || k == reflect.Float64:
		return "must be a number"
	case k == reflect.String:
		return "must be a string"
	case k == reflect.Bool:
		return "must be true or false"
	case k == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return "must be a base64 string"
	case k == reflect.Slice || k == reflect.Array:
		return "must be a list"
	case k == reflect.Map || k == reflect.Struct:
		return "must be an object"
	}
	return ""
}

// asSyntaxError explains bytes that are not the JSON we take; data, if known,
// is the whole payload.
func asSyntaxError(err error, data []byte) *InvalidError {
	var syntax *jsontext.SyntacticError
	switch {
	case err == io.EOF:
		return invalidf("", "is empty, must be a JSON object")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalidf("", "is not JSON: it ends too early")
	case !errors.As(err, &syntax):
		return invalidf("", "is not JSON: %v", err)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return invalidf(dotted(syntax.JSONPointer), "given twice")
	case strings.Contains(syntax.Err.Error(), "invalid UTF-8"): // the library keeps this error to itself
		return invalidf(dotted(syntax.JSONPointer), "must be valid UTF-8")
	}
	field := dotted(syntax.JSONPointer)
	if at := syntax.ByteOffset; at >= 0 && at < int64(len(data)) {
		for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
			if bytes.HasPrefix(data[at:], []byte(word)) {
				return invalidf(field, "%s is not a number in JSON", word)
			}
		}
	}
	return invalidf(field, "is not JSON: %v at byte %d", syntax.Err, syntax.ByteOffset)
}

// dotted writes a JSON pointer the way people name fields: a.0.b.
func dotted(p jsontext.Pointer) string {
	var parts []string
	for part := range p.Tokens() {
		parts = append(parts, part)
	}
	return strings.Join(parts, ".")
}
