package tasks

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	deep := func(n int) string { return `{"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}" }
	for _, c := range []struct {
		typ           *Type
		payload       string
		field, reason string // reason "" = valid
	}{
		{Sleep.Type(), `{"task_number":0}`, "", ""},
		{Sleep.Type(), ` { "task_number" : 3 , "seconds" : 1e-3 , "fail" : "" } `, "", ""},
		{Sleep.Type(), `{"task_number":1,"seconds":1e300}`, "", ""},
		{echoType.Type(), `{"l":null,"x":null}`, "", ""},
		{echoType.Type(), deep(32), "", ""},
		{echoType.Type(), `{"s":"\u0000"}`, "", ""},

		// the type of a value
		{Sleep.Type(), `{"task_number":"1"}`, "task_number", "must be an integer"},
		{Sleep.Type(), `{"task_number":1.5}`, "task_number", "must be an integer"},
		{Sleep.Type(), `{"task_number":1e3}`, "task_number", "must be an integer"},
		{Sleep.Type(), `{"task_number":[1]}`, "task_number", "must be an integer"},
		{Sleep.Type(), `{"task_number":true}`, "task_number", "must be an integer"},
		{Sleep.Type(), `{"task_number":1,"seconds":"1"}`, "seconds", "must be a number"},
		{Sleep.Type(), `{"task_number":1,"seconds":null}`, "seconds", "must be a number"},
		{Sleep.Type(), `{"task_number":1,"fail":3}`, "fail", "must be a string"},
		{echoType.Type(), `{"l":"a"}`, "l", "must be a list"},
		{echoType.Type(), `{"l":["a",1]}`, "l.1", "must be a string"},
		{HTTP.Type(), `{"url":"http://h","headers":[]}`, "headers", "must be an object"},
		{HTTP.Type(), `{"url":"http://h","headers":{"a":1}}`, "headers.a", "must be a string"},

		// its range
		{Sleep.Type(), `{"task_number":-1}`, "task_number", "must be 0 or greater"},
		{Sleep.Type(), `{"task_number":1,"seconds":-0.1}`, "seconds", "must be 0 or greater"},
		{Sleep.Type(), `{"task_number":9999999999999999999999}`, "task_number", "9999999999999999999999 is too large"},
		{Sleep.Type(), `{"task_number":-9999999999999999999999}`, "task_number", "is too small"},
		{Sleep.Type(), `{"task_number":` + strings.Repeat("9", 1000) + `}`, "task_number", "9... is too large"},
		{Sleep.Type(), `{"task_number":1,"seconds":1e999}`, "seconds", "1e999 is too large"},
		{echoType.Type(), `{"u":256}`, "u", "256 is too large"},
		{echoType.Type(), `{"u":-1}`, "u", "must be 0 or greater"},
		{Sleep.Type(), `{"task_number":1,"fail":"maybe"}`, "fail", "must be one of [expected unexpected panic hang exit]"},

		// the members
		{Sleep.Type(), `{}`, "task_number", "is required"},
		{Sleep.Type(), `{"task_number":null}`, "task_number", "must be an integer"},
		{HTTP.Type(), `{}`, "url", "is required"},
		{HTTP.Type(), `{"url":""}`, "url", "is required"},
		{Sleep.Type(), `{"task_number":1,"secs":1}`, "secs", "unknown field"},
		{Sleep.Type(), `{"Task_Number":1}`, "Task_Number", "unknown field"},
		{Sleep.Type(), `{"task_number":1,"task_number":1}`, "task_number", "given twice"},
		{Sleep.Type(), `{"task_number":1,"task\u005fnumber":2}`, "task_number", "given twice"},
		{HTTP.Type(), `{"url":"http://h","headers":{"a":"","a":""}}`, "headers.a", "given twice"},
		{echoType.Type(), `{"x":{"y":{"z":1,"z":2}}}`, "x.y.z", "given twice"},
		{Sleep.Type(), `{"` + strings.Repeat("n", 900) + `":1}`, strings.Repeat("n", 100) + "...", "unknown field"},

		// the document
		{Sleep.Type(), ``, "", "is empty"},
		{Sleep.Type(), ` `, "", "is empty"},
		{Sleep.Type(), `[]`, "", "must be a JSON object"},
		{Sleep.Type(), `1`, "", "must be a JSON object"},
		{Sleep.Type(), `"{}"`, "", "must be a JSON object"},
		{Sleep.Type(), `null`, "", "must be a JSON object"},
		{Sleep.Type(), `{"task_number":1`, "", "it ends too early"},
		{Sleep.Type(), `{"task_number":1,}`, "", "is not JSON"},
		{Sleep.Type(), `{'task_number':1}`, "", "is not JSON"},
		{Sleep.Type(), `hello`, "", "is not JSON"},
		{Sleep.Type(), `{"task_number":01}`, "", "is not JSON"},
		{Sleep.Type(), `{"task_number":1} {"task_number":2}`, "", "has data after the JSON object"},
		{Sleep.Type(), `{"task_number":1}]`, "", "has data after the JSON object"},
		{Sleep.Type(), "{\"task_number\":1}\x00", "", "has data after the JSON object"},
		{Sleep.Type(), "\xef\xbb\xbf{\"task_number\":1}", "", "is not JSON"},
		{Sleep.Type(), `{"task_number":1,"seconds":NaN}`, "seconds", "NaN is not a number in JSON"},
		{Sleep.Type(), `{"task_number":1,"seconds":-Infinity}`, "seconds", ""}, // message below
		{Sleep.Type(), "{\"task_number\":1,\"fail\":\"\xff\"}", "fail", "must be valid UTF-8"},
		{Sleep.Type(), "{\"task_number\":1,\"fail\":\"\\ud800\"}", "fail", ""},
		{Sleep.Type(), "{\"task_number\":1,\"fail\":\"\x00\"}", "fail", "is not JSON"},
		{Sleep.Type(), "{\"task_number\"\x00:1}", "task_number", "is not JSON"},
		{echoType.Type(), deep(33), "x" + strings.Repeat(".0", 31), "nested deeper than 32"},
		{echoType.Type(), `{"x":"` + strings.Repeat("x", 1000) + `"}`, "", "payload of 1008 bytes is over the cap of 1000"},
		{echoType.Type(), `{"x":"` + strings.Repeat("x", 992) + `"}`, "", ""},
		{echoType.Type(), `{"x":"` + strings.Repeat("x", 993) + `"}`, "", "payload of 1001 bytes is over the cap of 1000"},
	} {
		err := c.typ.Check([]byte(c.payload))
		if c.reason == "" && c.field == "" {
			if err != nil {
				t.Errorf("%s %.60q: %v", c.typ.Name(), c.payload, err)
			}
			continue
		}
		t.Run(c.payload[:min(60, len(c.payload))], func(t *testing.T) { wantInvalid(t, err, c.field, c.reason) })
	}
}

func TestInvalidErrorText(t *testing.T) {
	err := Sleep.Type().Check([]byte(`{"task_number":1,"seconds":-1}`))
	if got := err.Error(); got != `field "seconds": must be 0 or greater` {
		t.Error(got)
	}
	if got := Sleep.Type().Check(nil).Error(); got != "is empty, must be a JSON object" {
		t.Error(got)
	}
}

type nestedPayload struct {
	When  time.Time       `json:"when,omitzero"`
	Inner struct{ A int } `json:"inner,omitzero"`
	List  []struct {
		N int `json:"n" validate:"gte=1"`
	} `json:"list,omitzero" validate:"dive"`
	Map   map[string]int `json:"map,omitzero" validate:"dive,lte=3"`
	Bytes []byte         `json:"bytes,omitzero"`
	Ptr   *int           `json:"ptr,omitzero" weir:"required" validate:"omitempty,lt=5"`
	Mail  string         `json:"mail,omitzero" validate:"omitempty,email"`
	Odd   string         `json:"odd,omitzero" validate:"omitempty,semver"`
}

func (p *nestedPayload) Validate() error {
	if p.Mail == "a@plain.error" {
		return errors.New("not this one")
	}
	return nil
}

var nestedType = Define("test-nested", Policy{}, echoOf[nestedPayload])

func TestCheckNested(t *testing.T) {
	typ := nestedType.Type()
	for _, c := range []struct{ payload, field, reason string }{
		{`{"ptr":1,"when":"yesterday"}`, "when", "is not valid"},
		{`{"ptr":1,"when":1}`, "when", "must be a string"},
		{`{"ptr":1,"inner":1}`, "inner", "must be an object"},
		{`{"ptr":1,"inner":null}`, "inner", "must be an object"},
		{`{"ptr":1,"list":[{"n":1},{"n":0}]}`, "list.1.n", "must be 1 or greater"},
		{`{"ptr":1,"list":[{"n":1},{"m":0}]}`, "list.1.m", "unknown field"},
		{`{"ptr":1,"map":{"k":4}}`, "map.k", "must be 3 or less"},
		{`{"ptr":1,"bytes":"!"}`, "bytes", ""},
		{`{"ptr":1,"bytes":[1]}`, "bytes", "must be a base64 string"},
		{`{}`, "ptr", "is required"},
		{`{"ptr":5}`, "ptr", "must be less than 5"},
		{`{"ptr":"5"}`, "ptr", "must be an integer"},
		{`{"ptr":1,"mail":"x"}`, "mail", "must be a valid email address"},
		{`{"ptr":1,"odd":"x"}`, "odd", "must satisfy semver"},
		{`{"ptr":1,"mail":"a@plain.error"}`, "", "not this one"},
	} {
		t.Run(c.payload, func(t *testing.T) { wantInvalid(t, typ.Check([]byte(c.payload)), c.field, c.reason) })
	}
	if err := typ.Check([]byte(`{"ptr":0,"when":"2026-01-02T03:04:05Z","map":{"k":3},"bytes":"AAA="}`)); err != nil {
		t.Error(err)
	}
}

// FuzzCheck: whatever comes, Check says yes or names what is wrong, and what it
// accepts is JSON for everyone and runs, but for references, which nobody has allowed.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		`{"s":"a","f":1.5,"u":3,"l":["b"],"x":{"y":[1,null]}}`, `{}`, `[`, `{"x":[[[[[[]]]]]]}`,
		`{"s":"\ud800"}`, "{\"s\":\"\xff\"}", `{"u":-1}`, `{"f":1e999}`, `{"f":NaN}`, `{"s":1,"s":2}`, `{} {}`, "\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := echoType.Type().Check(data)
		if err == nil {
			if !json.Valid(data) {
				t.Fatalf("%q is accepted and not JSON", data)
			}
			if _, err := echoType.Type().Run(t.Context(), data); err != nil && !IsRejected(err) && !strings.Contains(err.Error(), "over the cap") {
				t.Fatalf("%q is accepted but does not run: %v", data, err)
			}
			return
		}
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Reason == "" || len(err.Error()) > 1000 {
			t.Fatalf("%q: %#v", data, err)
		}
	})
}
