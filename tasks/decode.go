package tasks

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"

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
		switch members.kind(f.name) {
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
	return invalidf("", "payload of %d bytes is over the cap of %d; keep larger data in a store, and their address in the payload", size, limit)
}

// members are those of a payload's object. They are few: a list is faster than a map.
type members []member

type member struct {
	name string
	kind jsontext.Kind
}

// kind is that of the member of a name, 0 if there is none.
func (m members) kind(name string) jsontext.Kind {
	for _, member := range m {
		if member.name == name {
			return member.kind
		}
	}
	return 0
}

// decoders of payloads, to be used again.
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(nothing) }}

var nothing = strings.NewReader("")

// scan walks the whole payload before anything is decoded: it must be one JSON
// object, no deeper than maxDepth. It returns the kinds of the object's members.
func scan(data []byte) (found members, err error) {
	dec := decoders.Get().(*jsontext.Decoder)
	defer func() {
		dec.Reset(nothing) // not to keep data
		decoders.Put(dec)
	}()
	dec.Reset(bytes.NewBuffer(data)) // which is read in place, without a copy
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
			found = append(found, member{name, dec.PeekKind()})
		}
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, invalidf("", "has data after the JSON object")
	}
	return found, nil
}
