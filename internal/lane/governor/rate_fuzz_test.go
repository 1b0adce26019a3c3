package governor

import (
	"strconv"
	"testing"
)

// A rate is within its bounds or refused, and a number a second is read as it is printed.
func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"100/s", "1.5/s", "600/m", "1000/h", "5/day", "3/10s", "0", "none", "7", "-1/s", "NaN", "Inf/s", "1e308/s", "1/0s", "1/-1s", "1/1ns", "0x1p-1074/day", "1/", "/s", "1/9999999h", "1_000/s", " 1 / s "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rate, err := ParseRate(s)
		if err != nil {
			if rate != 0 {
				t.Errorf("%q: %v and %v", s, rate, err)
			}
			return
		}
		if rate != 0 && !(rate >= MinRate && rate <= MaxRate) {
			t.Errorf("%q is %v", s, rate)
		}
		again, err := ParseRate(strconv.FormatFloat(rate, 'g', -1, 64))
		if err != nil || again != rate {
			t.Errorf("%q is %v, and that is %v, %v", s, rate, again, err)
		}
	})
}
