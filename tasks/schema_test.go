package tasks

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestSchema(t *testing.T) {
	type payload struct {
		I  int            `json:"i" weir:"required" validate:"gte=1,lt=9" doc:"an i"`
		F  *float64       `json:"f,omitzero" validate:"omitempty,gt=0.5,lte=2"`
		S  string         `json:"s" validate:"required,max=9"`
		L  []string       `json:"l" validate:"min=1,max=3,dive,max=5"`
		M  map[string]int `json:"m" validate:"max=2"`
		E  string         `json:"e" validate:"oneof=a b"`
		N  int            `json:"n" validate:"oneof=1 2"`
		U  string         `json:"u" validate:"url"`
		In []struct {
			A int `json:"a" weir:"required" validate:"min=3"`
		} `json:"in"`
		Hide int `json:"-"`
	}
	got := schemaOf(reflect.TypeFor[payload]())
	want := `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
	"required":["i","s"],"properties":{
	"i":{"type":"integer","minimum":1,"exclusiveMaximum":9,"description":"an i"},
	"f":{"type":"number","exclusiveMinimum":0.5,"maximum":2},
	"s":{"type":"string","minLength":1,"maxLength":9},
	"l":{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":3},
	"m":{"type":"object","additionalProperties":{"type":"integer"},"maxProperties":2},
	"e":{"type":"string","enum":["a","b"]},
	"n":{"type":"integer","enum":[1,2]},
	"u":{"type":"string","format":"uri"},
	"in":{"type":"array","items":{"type":"object","additionalProperties":false,"required":["a"],"properties":{"a":{"type":"integer","minimum":3}}}}}}`
	if !sameJSON(t, got, []byte(want)) {
		t.Errorf("got %s", got)
	}
}

func TestSchemaOfEveryType(t *testing.T) {
	for _, typ := range All() {
		for _, schema := range []json.RawMessage{typ.PayloadSchema(), typ.ResultSchema()} {
			if !json.Valid(schema) {
				t.Errorf("%s: %s", typ.Name(), schema)
			}
		}
	}
	var ping struct {
		Required   []string
		Properties map[string]struct{ Default any }
	}
	if err := json.Unmarshal(Ping.Type().PayloadSchema(), &ping); err != nil {
		t.Fatal(err)
	}
	if got := ping.Properties["count"].Default; got != 3.0 || !reflect.DeepEqual(ping.Required, []string{"host"}) {
		t.Errorf("default %v, required %v", got, ping.Required)
	}
}

type tree struct {
	Left *tree `json:"left"`
}

func TestSchemaOfRecursiveType(t *testing.T) {
	if got := schemaOf(reflect.TypeFor[tree]()); string(got) != `{"type":"object"}` {
		t.Errorf("got %s", got)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}
