package follow

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// An outcome file is gone on with from a whole line, or refused and left as it is.
func FuzzOpenFile(f *testing.F) {
	for _, text := range []string{"", "\n", `{"seq":0}`, `{"seq":0}` + "\n", `{"seq":0}` + "\n{\"seq\":1,\"sta", `{"seq":-1}` + "\n", `{"seq":9223372036854775807}` + "\n",
		`{"seq":1e3}` + "\n", `{"seq":0}` + "\n\x00\x00", "a,b\n", "{}\n", `{"seq":null}` + "\n", "\xff\xfe\n", `{"seq":0}` + "\r\n{\"s"} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "out")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		lines := reopened(t, path)
		left, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if lines < 0 {
			if !bytes.Equal(left, text) {
				t.Errorf("%q is refused, and is %q then", text, left)
			}
			return
		}
		if !bytes.HasPrefix(text, left) || len(left) > 0 && left[len(left)-1] != '\n' || int64(bytes.Count(left, []byte("\n"))) != lines {
			t.Errorf("%q is gone on with from %q, %d lines", text, left, lines)
		}
		if again := reopened(t, path); again != lines {
			t.Errorf("%q: %d lines, and then %d", text, lines, again)
		}
	})
}

// reopened is how many outcomes a file has, or -1 where it is refused.
func reopened(t *testing.T, path string) int64 {
	s, err := OpenFile(path, true)
	if err != nil {
		return -1
	}
	defer s.Close()
	return s.Lines
}
