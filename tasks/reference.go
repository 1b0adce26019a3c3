package tasks

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/weir-tasks/weir/internal/secret"
)

// A reference stands in a payload for a text that only the worker has:
//
//	{"$env": "NAME"}          a variable of its environment
//	{"$file": "/run/secrets/x"}  a file
//
// Whoever makes the payload checks it with placeholder in its place.
const (
	placeholder = "reference"

	envRef  = "$env"
	fileRef = "$file"
)

// mayRefer says that a payload is worth looking for references.
func mayRefer(data []byte) bool {
	return bytes.Contains(data, []byte(`"`+envRef+`"`)) || bytes.Contains(data, []byte(`"`+fileRef+`"`))
}

// withPlaceholders is a payload without its references.
func withPlaceholders(t *Type, data []byte) ([]byte, error) {
	if !mayRefer(data) {
		return data, nil
	}
	return substitute(t, data, func(string, string, string) (string, error) { return placeholder, nil })
}

// dereference is a payload with what its references stand for, and these texts; nil where it
// has none. What is not allowed, or not there, is rejected.
func dereference(ctx context.Context, t *Type, data []byte) ([]byte, *scrubber, error) {
	if !mayRefer(data) {
		return data, nil, nil
	}
	store := meansOf(ctx).Secrets
	if store == nil {
		store = new(secret.Store)
	}
	s := &scrubber{}
	resolved, err := substitute(t, data, func(field, kind, name string) (text string, err error) {
		if kind == envRef {
			text, err = store.Env(name)
		} else {
			text, err = store.File(name)
		}
		if err != nil {
			return "", Rejected(fmt.Errorf("field %q: %s %q %w", shorten(field, 100), kind, shorten(name, 200), err))
		}
		s.add(text)
		return text, nil
	})
	return resolved, s, err
}

// substitute replaces a payload's references. The result may be no larger than the type's
// payloads; it is not built beyond.
func substitute(t *Type, data []byte, value func(field, kind, name string) (string, error)) ([]byte, error) {
	if len(data) > t.policy.MaxPayload {
		return nil, overCap(len(data), t.policy.MaxPayload)
	}
	if _, err := scan(data); err != nil { // what follows is JSON, then, and not deep
		return nil, err
	}
	s := &substitution{value: value, most: t.policy.MaxPayload}
	err := s.add("", data)
	return s.out, err
}

type substitution struct {
	value func(field, kind, name string) (string, error)
	most  int
	out   []byte
}

// add adds one value, which has no syntax error.
func (s *substitution) add(field string, v jsontext.Value) error {
	kind := v.Kind()
	if kind != '{' && kind != '[' {
		s.out = append(s.out, v...)
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v))
	open, err := dec.ReadToken()
	if err != nil {
		return err
	}
	begin := len(s.out)
	s.out = append(s.out, open.String()...)
	for i := 0; dec.PeekKind() != '}' && dec.PeekKind() != ']'; i++ {
		if i > 0 {
			s.out = append(s.out, ',')
		}
		part := strconv.Itoa(i)
		if kind == '{' {
			name, err := dec.ReadToken()
			if err != nil {
				return err
			}
			part = name.String()
			s.out, _ = jsontext.AppendQuote(s.out, part) // it came out of JSON
			s.out = append(s.out, ':')
		}
		member, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if i == 0 && kind == '{' && (part == envRef || part == fileRef) {
			if member.Kind() != '"' || dec.PeekKind() != '}' {
				return invalidf(field, `a reference is {%q: "..."} and nothing beside`, part)
			}
			s.out = s.out[:begin]
			return s.refer(field, part, member)
		}
		if err := s.add(strings.TrimPrefix(field+"."+part, "."), member); err != nil {
			return err
		}
	}
	end, err := dec.ReadToken()
	if err != nil {
		return err
	}
	s.out = append(s.out, end.String()...)
	return nil
}

// refer adds what a reference stands for.
func (s *substitution) refer(field, kind string, quoted jsontext.Value) error {
	name, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return asSyntaxError(err, nil)
	}
	text, err := s.value(field, kind, string(name))
	if err != nil {
		return err
	}
	if s.out, err = jsontext.AppendQuote(s.out, text); err != nil {
		return invalidf(field, "must be valid UTF-8")
	}
	if len(s.out) > s.most {
		return invalidf(field, "with what it refers to, the payload is over the cap of %d bytes", s.most)
	}
	return nil
}
