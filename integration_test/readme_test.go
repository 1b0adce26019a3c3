package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadmeNamesWhatThereIs keeps README.md true: flags, metrics, folders.
func TestReadmeNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	for _, args := range [][]string{{"producer", "run"}, {"producer", "enqueue"}, {"worker"}} {
		help, err := exec.Command(filepath.Join(binDir, args[0]), append(args[1:], "--help")...).Output()
		if err != nil {
			t.Fatalf("%v --help: %v", args, err)
		}
		for _, word := range strings.FieldsFunc(string(help), func(r rune) bool { return strings.ContainsRune(" \n=,:;[]()", r) }) {
			if strings.HasPrefix(word, "--") && word != "--help" && !strings.Contains(readme, "`"+word) {
				t.Errorf("%v has %s, README.md does not", args, word)
			}
			if strings.HasPrefix(word, "$WEIR_") && !strings.Contains(readme, "`"+word[1:]+"`") {
				t.Errorf("%v reads %s, README.md does not say so", args, word)
			}
		}
	}
	folders, err := filepath.Glob("../internal/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if name := strings.TrimPrefix(folder, "../"); !strings.Contains(readme, "`"+name+"`") {
			t.Errorf("the map of the code in README.md lacks %s", name)
		}
	}
}

// TestReadmesFirstCommandWorks runs the transcript's command; no network is there
// to be needed, and nothing installed.
func TestReadmesFirstCommandWorks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "$ go run ./producer ")
	line, _, _ := strings.Cut(rest, "\n")
	cmd := exec.Command("sh", "-c", filepath.Join(binDir, "producer")+" "+line)
	r := start(t, cmd).wait().exits(t, 0)
	got := outcomes(t, r.stdout)
	if len(got) != 4 || !strings.Contains(string(text), `"result":`+string(got[0].Result)) {
		t.Errorf("the transcript's command printed:\n%s", r.stdout)
	}
	for _, words := range []string{"embedded Redis: nothing survives", "read 4 = ok 4 + failed 0 + cancelled 0"} {
		if !strings.Contains(r.stderr, words) || !strings.Contains(string(text), words) {
			t.Errorf("%q is not in both the README and:\n%s", words, r.stderr)
		}
	}
}
