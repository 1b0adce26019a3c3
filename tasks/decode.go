package tasks

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is the deepest nesting of a payload, the outermost object being 1.
const maxDepth = 32

// selfValidator is implemented by payloads with rules that tags cannot express.
// The error becomes an *InvalidError; return one to name the field.
type selfValidator interface{ Validate() error }

// defaulter is implemented by payloads whose missing fields are not zero. It is
// called before the payload is decoded, so that a 0 that is given stays 0.
type defaulter interface{ Defaults() }

// decode turns a task's JSON into its payload: strictly, then validated. Every
// error is an *InvalidError.
func decode[P any](t *Type, data []byte) (P, error) {
	var p P
	if len(data) > t.policy.MaxPayload {
		return p, overCap(len(data), t.policy.MaxPayload)
	}
	members, err := scan(data)
	if err != nil {
		return p, err
	}
	if d, ok := any(&p).(defaulter); ok {
		d.Defaults()
	}
	if err := json.Unmarshal(data, &p, json.RejectUnknownMembers(true)); err != nil {
		return p, asInvalid(err)
	}
	for _, f := range t.shape.fields {
		switch members[f.name] {
		case 0:
			if f.required {
				return p, invalidf(f.name, "is required")
			}
		case 'n': // the library takes null for zero: what was meant is unknown
			if word := kindWord(f.typ); word != "" && !f.nullable {
				return p, invalidf(f.name, "%s", word)
			}
		}
	}
	if err := validate(&p); err != nil {
		return p, err
	}
	if v, ok := any(&p).(selfValidator); ok {
		if err := v.Validate(); err != nil {
			var invalid *InvalidError
			if errors.As(err, &invalid) {
				return p, invalid
			}
			return p, invalidf("", "%v", err)
		}
	}
	if l, ok := any(&p).(laner); ok {
		if _, err := validLane(l); err != nil {
			return p, err
		}
	}
	return p, nil
}

func overCap(size, limit int) *InvalidError {
	return invalidf("", "payload of %d bytes is over the cap of %d", size, limit)
}

// scan walks the whole payload before anything is decoded: it must be one JSON
// object, no deeper than maxDepth. It returns the kinds of the object's members.
func scan(data []byte) (members map[string]jsontext.Kind, err error) {
	// A bytes.Buffer is read in place, without a copy.
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	members = make(map[string]jsontext.Kind, 8)
	for first := true; ; first = false {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, asSyntaxError(err, data)
		}
		if first && tok.Kind() != '{' {
			return nil, invalidf("", "must be a JSON object")
		}
		depth := dec.StackDepth()
		if depth > maxDepth {
			return nil, invalidf(dotted(dec.StackPointer()), "nested deeper than %d", maxDepth)
		}
		if depth == 0 {
			break
		}
		// In the outermost object names come at odd positions.
		if _, n := dec.StackIndex(1); depth == 1 && n%2 == 1 {
			name := tok.String() // before the next call, which may overwrite tok
			members[name] = dec.PeekKind()
		}
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, invalidf("", "has data after the JSON object")
	}
	return members, nil
}
