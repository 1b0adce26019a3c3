package sign

import (
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
