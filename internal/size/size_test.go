package size

import "testing"

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{
		"1": 1, "262144": 1 << 18, "10KiB": 10 << 10, "64MiB": 64 << 20, "1GiB": 1 << 30, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "0KiB", "-1", "+1", "KiB", "1.5MiB", "1KB", "1 KiB", "1kib", "9223372036854775808", "9007199254740992KiB"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}
