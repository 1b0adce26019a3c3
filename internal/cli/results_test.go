package cli

import "testing"

func TestSizesAreFrom1KiBTo16MiB(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"1024": 1024, "1KiB": 1 << 10, "256KiB": 256 << 10, "1MiB": 1 << 20, "16MiB": 16 << 20, "16777216": 16 << 20,
		"": 0, "0": 0, "1023": 0, "16777217": 0, "17MiB": 0, "-1KiB": 0, "1.5MiB": 0, "1 MiB": 0, "1mib": 0, "1GiB": 0, "KiB": 0,
		"4294967296": 0, "4294967295MiB": 0, "18446744073709551616": 0,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); (err == nil) != (want > 0) || s != want {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
}
