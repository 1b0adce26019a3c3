package tasks

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// field is one JSON member of a payload struct.
type field struct {
	name     string
	typ      reflect.Type // pointers taken off
	required bool         // `weir:"required"`: must be there, 0 and "" included
	nullable bool         // null is a value of its own: none
}

// shape is what a payload struct looks like as JSON: its members in order, and
// the one that a plain text line becomes.
type shape struct {
	fields []field
	line   *field // nil: the type takes no plain lines
}

// shapeOf reads the struct's json and weir tags.
func shapeOf(t reflect.Type) (*shape, error) {
	s := &shape{}
	if err := s.add(t); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *shape) add(t reflect.Type) error {
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := jsonName(f)
		if !ok {
			continue
		}
		if f.Anonymous && f.Type.Kind() == reflect.Struct && !strings.Contains(string(f.Tag), "json:") {
			if err := s.add(f.Type); err != nil { // its members are ours in JSON
				return err
			}
			continue
		}
		member := field{name: name, typ: f.Type, nullable: isNullable(f.Type)}
		for member.typ.Kind() == reflect.Pointer {
			member.typ = member.typ.Elem()
		}
		for option := range strings.SplitSeq(f.Tag.Get("weir"), ",") {
			switch option {
			case "":
			case "required":
				member.required = true
			case "line":
				if s.line != nil {
					return fmt.Errorf("both %s and %s are tagged as the line", s.line.name, name)
				}
				if !isScalar(member.typ) {
					return fmt.Errorf("field %s cannot be the line: it is no string, number or bool", name)
				}
				line := member
				s.line = &line
			default:
				return fmt.Errorf("field %s: unknown weir tag %q", name, option)
			}
		}
		s.fields = append(s.fields, member)
	}
	return nil
}

func (s *shape) field(name string) (field, error) {
	for _, f := range s.fields {
		if f.name == name {
			return f, nil
		}
	}
	return field{}, errors.New("unknown field")
}

// jsonName returns a struct field's name in JSON, false if it has none.
func jsonName(f reflect.StructField) (string, bool) {
	tag := f.Tag.Get("json")
	name, _, _ := strings.Cut(tag, ",")
	if tag == "-" || !f.IsExported() && !f.Anonymous {
		return "", false
	}
	if name == "" {
		name = f.Name
	}
	return name, true
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// isText reports whether a value of t is written as a JSON string by its own
// methods, as time.Time is. A number that can also be text (big.Int) is not.
func isText(t reflect.Type) bool {
	return t != bigInt && reflect.PointerTo(t).Implements(textUnmarshaler)
}

// isNullable reports whether JSON's null is a plain way to write a t without
// anything in it.
func isNullable(t reflect.Type) bool {
	k := t.Kind()
	return k == reflect.Pointer || k == reflect.Slice || k == reflect.Map || k == reflect.Interface
}

// isScalar reports whether one word of text can become a value of t.
func isScalar(t reflect.Type) bool {
	k := t.Kind()
	return isText(t) || k == reflect.String || k >= reflect.Bool && k <= reflect.Float64
}
