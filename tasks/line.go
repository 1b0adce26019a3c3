package tasks

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FromLine makes the JSON payload of a text line: the line becomes the field
// tagged `weir:"line"`. A line that starts with { is a JSON payload already and
// comes back as it is. FromLine only builds the JSON, Check validates it.
// Errors: *InvalidError for a line that cannot become the field; a plain error
// for a type with no such field.
func (t *Type) FromLine(line string) ([]byte, error) {
	if len(line) > t.policy.MaxPayload {
		return nil, overCap(len(line), t.policy.MaxPayload)
	}
	if strings.HasPrefix(strings.TrimLeft(line, " \t"), "{") {
		return []byte(line), nil
	}
	f := t.shape.line
	if f == nil {
		return nil, fmt.Errorf("type %s takes no plain lines; give JSON objects (--format ndjson)", t.name)
	}
	value, err := f.fromText(line)
	if err != nil {
		return nil, err
	}
	return appendMember([]byte{'{'}, f.name, value, '}'), nil
}

// FromFields makes the JSON payload of a CSV row under its header. Names are
// the payload's JSON fields; an empty cell leaves its field out; lists and
// objects are written as JSON in their cell. FromFields only builds the JSON,
// Check validates it. Errors: *InvalidError.
func (t *Type) FromFields(names, values []string) ([]byte, error) {
	if len(names) != len(values) {
		return nil, invalidf("", "row has %d values for %d columns", len(values), len(names))
	}
	seen := make(map[string]bool, len(names))
	payload := []byte{'{'}
	for i, name := range names {
		f, err := t.shape.field(name)
		if err != nil {
			return nil, invalidf(name, "%v", err)
		}
		if seen[name] {
			return nil, invalidf(name, "given twice")
		}
		seen[name] = true
		if values[i] == "" {
			continue
		}
		value, err := f.fromText(values[i])
		if err != nil {
			return nil, err
		}
		if len(payload) > 1 {
			payload = append(payload, ',')
		}
		payload = appendMember(payload, name, value)
		if len(payload) > t.policy.MaxPayload {
			return nil, overCap(len(payload), t.policy.MaxPayload)
		}
	}
	return append(payload, '}'), nil
}

func appendMember(dst []byte, name string, value []byte, end ...byte) []byte {
	dst, _ = jsontext.AppendQuote(dst, name) // a struct's own name, always valid
	dst = append(dst, ':')
	dst = append(dst, value...)
	return append(dst, end...)
}

// fromText writes a piece of text as the JSON value of the field.
func (f field) fromText(text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, invalidf(f.name, "must be valid UTF-8")
	}
	if err := noNUL(f.name, text); err != nil {
		return nil, err
	}
	switch k := f.typ.Kind(); {
	case k == reflect.String || isText(f.typ):
		return jsontext.AppendQuote(nil, text)
	case k == reflect.Bool:
		b, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return nil, invalidf(f.name, "must be true or false")
		}
		return strconv.AppendBool(nil, b), nil
	case k >= reflect.Int && k <= reflect.Uintptr:
		return f.integer(strings.TrimSpace(text))
	case k == reflect.Float32 || k == reflect.Float64:
		return f.number(strings.TrimSpace(text))
	}
	value := jsontext.Value(text)
	if err := value.Compact(); err != nil {
		return nil, invalidf(f.name, "must be written as JSON")
	}
	return value, nil
}

// integer takes any size: whether it fits the field is Check's to say, in the
// same words as for JSON. Only the digits are put as JSON wants them.
func (f field) integer(text string) ([]byte, error) {
	digits := strings.TrimLeft(text, "+-")
	if len(text)-len(digits) > 1 || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return nil, invalidf(f.name, "must be an integer")
	}
	digits = strings.TrimLeft(digits[:len(digits)-1], "0") + digits[len(digits)-1:]
	if strings.HasPrefix(text, "-") && digits != "0" {
		digits = "-" + digits
	}
	return []byte(digits), nil
}

func (f field) number(text string) ([]byte, error) {
	n, err := strconv.ParseFloat(text, 64)
	if math.IsInf(n, 0) && err != nil {
		return nil, invalidf(f.name, "%s is too large", shorten(text, 40))
	}
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return nil, invalidf(f.name, "must be a number")
	}
	return json.Marshal(n)
}
