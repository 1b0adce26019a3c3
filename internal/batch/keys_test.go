package batch

import (
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	t.Parallel()
	for name, valid := range map[string]bool{
		"a": true, "0": true, "http-2024_01": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "-a": false, "_a": false, "A": false, "a b": false, "a:b": false,
		"a{b": false, "a}b": false, "a\nb": false, "a\n": false, "é": false, "a/b": false, "a.b": false, "a\x00": false,
	} {
		if err := ValidName(name); (err == nil) != valid {
			t.Errorf("ValidName(%q) = %v", name, err)
		}
	}
}

func TestParseTaskID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id   string
		name string
		seq  int64
		ok   bool
	}{
		{"b:0", "b", 0, true},
		{"http-1a:7", "http-1a", 7, true},
		{"b:1099511627775", "b", MaxTasks - 1, true},
		{id: "b:1099511627776"}, // MaxTasks
		{id: "b:9223372036854775808"},
		{id: "b:-1"},
		{id: "b:+1"},
		{id: "b:01"},
		{id: "b:"},
		{id: "b"},
		{id: ""},
		{id: ":1"},
		{id: "b:1:2"},
		{id: "b:c:1"},
		{id: "B:1"},
		{id: "b:1 "},
		{id: " b:1"},
		{id: "b:1e3"},
		{id: "b:0x1"},
		{id: "b:1_000"},
		{id: "b}:1"},
		{id: "b:١"},
		{id: "7f9a1c62-5e0f-4a53-93c2-6b2cf1f5a0aa"}, // asynq's own IDs
	} {
		name, seq, ok := ParseTaskID(c.id)
		if name != c.name || seq != c.seq || ok != c.ok {
			t.Errorf("ParseTaskID(%q) = %q, %d, %v; want %q, %d, %v", c.id, name, seq, ok, c.name, c.seq, c.ok)
		}
	}
}

// What is parsed is what TaskID writes, and nothing else is.
func FuzzParseTaskID(f *testing.F) {
	for _, id := range []string{"b:0", "b:01", "b:-0", "b:1099511627776", "http-1:42", "::", "{b}:1", "b:1\n"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		name, seq, ok := ParseTaskID(id)
		if !ok {
			if name != "" || seq != 0 {
				t.Errorf("ParseTaskID(%q) = %q, %d with false", id, name, seq)
			}
			return
		}
		if TaskID(name, seq) != id || ValidName(name) != nil || seq < 0 || seq >= MaxTasks {
			t.Errorf("ParseTaskID(%q) = %q, %d", id, name, seq)
		}
		for _, key := range []string{batchKey(name), bitsKey(name, seq), outKey(name), deadKey(name), lanesKey(name), suspectsKey(name), producerKey(name)} {
			if !strings.HasPrefix(key, "weir:{"+name+"}:") || strings.Count(key, "{") != 1 || strings.Count(key, "}") != 1 {
				t.Errorf("key %q of batch %q is not in its slot", key, name)
			}
		}
	})
}
