package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryDefenceHasItsTest: those that SECURITY.md names are there, one at least for each
// threat.
func TestEveryDefenceHasItsTest(t *testing.T) {
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			all.WriteString(content(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	threats := rows(t, content(t, "../SECURITY.md"), "threat", "defence", "shown by")
	if len(threats) < 20 {
		t.Errorf("SECURITY.md has only %d threats", len(threats))
	}
	for _, cells := range threats {
		names := code(cells[2])
		if len(names) == 0 {
			t.Errorf("%s: no test", cells[0])
		}
		for _, name := range names {
			if !strings.Contains(all.String(), "func "+name+"(") {
				t.Errorf("%s: there is no %s", cells[0], name)
			}
		}
	}
}

func TestEveryScenarioOfThePackageCommentExists(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w{5,}`).FindAllString(string(doc), -1) {
		if !strings.Contains(all.String(), "func "+name+"(t *testing.T)") {
			t.Errorf("there is no %s", name)
		}
	}
}
