package sign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A file of keys is refused without a word of them, or each key that it names can sign and
// verify; and what one of them has signed no other text of the file's is.
func FuzzKeys(f *testing.F) {
	for _, text := range []string{"", "a " + key1, "# no\n\n a\t" + key1 + "\r\nb " + key1, "a " + key1 + "\na " + key1, "a b c", "a " + key1[:8], "ä " + key1, "a " + key1 + "\x00", "a \xff"} {
		f.Add(text)
	}
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parse(text)
		if err != nil {
			for _, word := range strings.Fields(text) {
				if len(word) >= 40 && strings.Contains(err.Error(), word) && !nameRE.MatchString(word) {
					t.Errorf("%q: the error has it: %v", text, err)
				}
			}
			return
		}
		signature := k.Sign(task, now.Add(time.Hour))
		if err := k.Verify(task, signature, now); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if other := task; k.byName[k.first] != nil {
			other.Payload = append([]byte("x"), other.Payload...)
			if k.Verify(other, signature, now) == nil {
				t.Errorf("%q: a signature fits two payloads", text)
			}
		}
	})
}

// Two envelopes have one signature only where they say the same: fields do not flow into
// each other, and of a payload's JSON white space alone does not count.
func FuzzEnvelope(f *testing.F) {
	f.Add("b:1", "http", []byte(`{"a":1}`), "b:1", "http", []byte(` {"a" : 1}`))
	f.Add("b:1", "http", []byte(`{"a":1}`), "b:1h", "ttp", []byte(`{"a":1}`))
	f.Add("b:1", "http", []byte(`{"a":1}`), "b:11", "http", []byte(`{"a":1}`))
	f.Add("", "", []byte(nil), "\x00", "", []byte("\x00"))
	f.Add("b:1", "x", []byte(`{"a":"<"}`), "b:1", "x", []byte("{\"a\":\"\\u003c\"}"))
	f.Add("b:1", "x", []byte(`{"a":1,"a":2}`), "b:1", "x", []byte(`{"a":2,"a":1}`))
	k, err := parse("a " + key1 + "\nb " + key2)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id1, type1 string, payload1 []byte, id2, type2 string, payload2 []byte) {
		one, other := Task{id1, type1, payload1}, Task{id2, type2, payload2}
		signature := k.Sign(one, now.Add(time.Hour))
		if err := k.Verify(one, signature, now); err != nil {
			t.Fatalf("%q: %v", one, err)
		}
		same := id1 == id2 && type1 == type2 && said(payload1) == said(payload2)
		if fits := k.Verify(other, signature, now) == nil; fits && !same {
			t.Errorf("the signature of %q fits %q", one, other)
		}
	})
}

// said is what a payload says: its tokens where it is JSON, else itself.
func said(payload []byte) string {
	if !json.Valid(payload) {
		return "no JSON: " + string(payload)
	}
	var all strings.Builder
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return all.String()
		}
		fmt.Fprintf(&all, "%T %q ", token, fmt.Sprint(token))
	}
}
