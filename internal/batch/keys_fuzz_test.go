package batch

import (
	"strings"
	"testing"
)

// A name is refused, or all its keys lie in its own slot of a cluster and begin with what is
// weir's; a task's ID leads back to it.
func FuzzValidName(f *testing.F) {
	for _, name := range []string{"", "a", "-a", "a:b", "{a}", "a}", "A", "ä", "a b", "a\n", "a\x00", strings.Repeat("a", 64), strings.Repeat("a", 65), "http-1a2b3c", "a*"} {
		f.Add(name, int64(7))
	}
	f.Fuzz(func(t *testing.T, name string, seq int64) {
		if ValidName(name) != nil {
			return
		}
		seq &= MaxTasks - 1
		for _, key := range []string{batchKey(name), outKey(name), deadKey(name), lanesKey(name), bitsKey(name, seq), producerKey(name)} {
			_, tag, _ := strings.Cut(key, "{")
			if tag, _, _ = strings.Cut(tag, "}"); tag != name || !strings.HasPrefix(key, "weir:{") || strings.ContainsAny(key, " \r\n\x00*") {
				t.Errorf("name %q has the key %q", name, key)
			}
		}
		if got, n, ok := ParseTaskID(TaskID(name, seq)); !ok || got != name || n != seq {
			t.Errorf("%q: %q, %d, %v", TaskID(name, seq), got, n, ok)
		}
	})
}
