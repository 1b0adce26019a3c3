package tasks

import (
	"encoding/json"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

var bigInt = reflect.TypeFor[big.Int]()

// schemaOf writes the JSON Schema of a payload or result type. The rules come
// from the same `validate` and `weir` tags that Check obeys, descriptions from
// `doc` tags, so that nothing is said twice.
func schemaOf(t reflect.Type) json.RawMessage {
	if recursive(t, nil) { // it would have no end written out
		return json.RawMessage(`{"type":"object"}`)
	}
	r := jsonschema.Reflector{
		Anonymous:                  true,
		ExpandedStruct:             true,
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true, // none has such tags: addRules says what is required
		LookupComment: func(t reflect.Type, name string) string {
			if t.Kind() == reflect.Struct {
				f, _ := t.FieldByName(name)
				return f.Tag.Get("doc")
			}
			return ""
		},
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if t == bigInt {
				return &jsonschema.Schema{Type: "integer"}
			}
			return nil
		},
	}
	s := r.ReflectFromType(t)
	addRules(s, t)
	addDefaults(s, t)
	data, err := json.Marshal(s)
	if err != nil { // only a schema we built wrong
		panic("tasks: write schema of " + t.String() + ": " + err.Error())
	}
	return data
}

// addDefaults puts what a payload's Defaults method sets into its schema.
func addDefaults(s *jsonschema.Schema, t reflect.Type) {
	v := reflect.New(t)
	d, ok := v.Interface().(defaulter)
	if !ok || t.Kind() != reflect.Struct || s.Properties == nil {
		return
	}
	d.Defaults()
	for _, f := range reflect.VisibleFields(t) {
		name, ok := jsonName(f)
		value := v.Elem().FieldByIndex(f.Index)
		if property, known := s.Properties.Get(name); ok && known && !value.IsZero() {
			property.Default = value.Interface()
		}
	}
}

// addRules puts the rules of t's tags into its schema, at every depth.
func addRules(s *jsonschema.Schema, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s == nil {
		return
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		addRules(s.Items, t.Elem())
	case reflect.Map:
		addRules(s.AdditionalProperties, t.Elem())
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			name, ok := jsonName(f)
			if !ok || s.Properties == nil {
				continue
			}
			property, ok := s.Properties.Get(name)
			if !ok {
				continue
			}
			addRules(property, f.Type)
			required := slices.Contains(strings.Split(f.Tag.Get("weir"), ","), "required")
			if strings.HasPrefix(f.Tag.Get("validate"), "omitempty,oneof=") {
				property.Enum = append(property.Enum, reflect.Zero(f.Type).Interface())
			}
			for rule := range strings.SplitSeq(f.Tag.Get("validate"), ",") {
				if rule == "dive" { // what follows is about the items
					break
				}
				required = required || rule == "required"
				addRule(property, f.Type, rule)
			}
			if required {
				s.Required = append(s.Required, name)
			}
		}
	}
}

// addRule maps one rule of a `validate` tag. A rule without a place in JSON
// Schema is left out: Check still obeys it.
func addRule(s *jsonschema.Schema, t reflect.Type, rule string) {
	name, param, _ := strings.Cut(rule, "=")
	switch name {
	case "gte", "min":
		setLimit(s, t, param, &s.Minimum, &s.MinLength, &s.MinItems, &s.MinProperties)
	case "lte", "max":
		setLimit(s, t, param, &s.Maximum, &s.MaxLength, &s.MaxItems, &s.MaxProperties)
	case "gt":
		s.ExclusiveMinimum = json.Number(param)
	case "lt":
		s.ExclusiveMaximum = json.Number(param)
	case "oneof":
		for value := range strings.FieldsSeq(param) {
			if t.Kind() == reflect.String {
				s.Enum = append(s.Enum, value)
			} else {
				s.Enum = append(s.Enum, json.Number(value))
			}
		}
	case "url":
		s.Format = "uri"
	case "http_url":
		s.Format, s.Pattern = "uri", "^[hH][tT][tT][pP][sS]?://"
	case "hostname", "hostname_rfc1123":
		s.Format = "hostname"
	case "required":
		if t.Kind() == reflect.String { // required, for the validator, is not ""
			setLimit(s, t, "1", nil, &s.MinLength, nil, nil)
		}
	}
}

// setLimit sets the limit that fits the type: of a number its value, of text,
// lists and maps their length.
func setLimit(s *jsonschema.Schema, t reflect.Type, param string, number *json.Number, length, items, members **uint64) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	n, err := strconv.ParseUint(param, 10, 64)
	switch k := t.Kind(); {
	case k >= reflect.Int && k <= reflect.Float64:
		*number = json.Number(param)
	case err != nil:
	case k == reflect.String:
		*length = &n
	case k == reflect.Slice || k == reflect.Array:
		*items = &n
	case k == reflect.Map:
		*members = &n
	}
}

// recursive reports whether a value of t may hold another t.
func recursive(t reflect.Type, above []reflect.Type) bool {
	if slices.Contains(above, t) {
		return true
	}
	above = append(above, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return recursive(t.Elem(), above)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && recursive(f.Type, above) {
				return true
			}
		}
	}
	return false
}
