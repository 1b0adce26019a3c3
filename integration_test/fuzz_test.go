package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A find of CI's fuzzing is told with its input, at once; go's own error at the end of its time,
// which comes with none, is tried again.
func TestAFindOfFuzzingIsToldWithItsInput(t *testing.T) {
	for _, c := range []struct {
		name, fails, writes string
		tries               int
	}{
		{"a find", "    x_test.go:1: bad", "find", 1},
		{"a find as the time ends", "    context deadline exceeded", "find", 1},
		{"the time ends", "    context deadline exceeded", "", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			corpus := filepath.Join(dir, "testdata", "fuzz", "FuzzX")
			if err := os.MkdirAll(corpus, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(corpus, "seed"), []byte("of before"), 0o600); err != nil {
				t.Fatal(err)
			}
			script := "#!/bin/sh\necho ran >>" + dir + "/tries\n"
			if c.writes != "" {
				script += "echo 'string(\"the culprit\")' >" + filepath.Join(corpus, c.writes) + "\n"
			}
			script += "printf -- '--- FAIL: FuzzX (1s)\\n" + c.fails + "\\nFAIL\\n'\nexit 1\n"
			goStub := filepath.Join(dir, "go")
			if err := os.WriteFile(goStub, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("../.ci/fuzz", dir, "FuzzX", "1s")
			cmd.Env = append(os.Environ(), "GO="+goStub)
			out, err := cmd.CombinedOutput()
			tries, _ := os.ReadFile(filepath.Join(dir, "tries"))
			if err == nil || strings.Count(string(tries), "ran") != c.tries || strings.Contains(string(out), "of before") ||
				strings.Contains(string(out), `string("the culprit")`) != (c.writes != "") {
				t.Errorf("%v after %q tries:\n%s", err, tries, out)
			}
		})
	}
}
