package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// testFiles is the text of every test in the tree.
func testFiles(t *testing.T) string {
	t.Helper()
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
	return all.String()
}

// TestEveryDefenceHasItsTest: those that SECURITY.md names are there, one at least for each
// threat, and for each size.
func TestEveryDefenceHasItsTest(t *testing.T) {
	t.Parallel()
	all := testFiles(t)
	for _, table := range []struct {
		header []string
		least  int
	}{{[]string{"threat", "defence", "shown by"}, 40}, {[]string{"what", "most", "set by", "beyond it", "shown by"}, 20}} {
		found := rows(t, content(t, "../SECURITY.md"), table.header...)
		if len(found) < table.least {
			t.Errorf("SECURITY.md has only %d rows under %v", len(found), table.header)
		}
		for _, cells := range found {
			names := code(cells[len(cells)-1])
			if len(cells) != len(table.header) || len(names) == 0 {
				t.Errorf("%s: no test", cells[0])
			}
			for _, name := range names {
				if !strings.Contains(all, "func "+name+"(") {
					t.Errorf("%s: there is no %s", cells[0], name)
				}
			}
		}
	}
}

// TestEveryFuzzTestIsListedAndHasACorpus: SECURITY.md lists each, and each has inputs beside it.
func TestEveryFuzzTestIsListedAndHasACorpus(t *testing.T) {
	t.Parallel()
	var listed, there []string
	for _, cells := range rows(t, content(t, "../SECURITY.md"), "what is read", "fuzz tests") {
		listed = append(listed, code(cells[1])...)
	}
	for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(testFiles(t), -1) {
		there = append(there, m[1])
	}
	sameLines(t, "SECURITY.md's fuzz tests", listed, there)
	corpora := make(map[string]bool)
	must(t, filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "/testdata/fuzz/") {
			corpora[filepath.Base(filepath.Dir(path))] = true
		}
		return err
	}))
	for _, name := range there {
		if !corpora[name] {
			t.Errorf("%s has no corpus", name)
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

// TestEveryScriptSaysWhatItTakes: a script begins with its name, and names in its header what it
// returns and just those KEYS and ARGV that it uses. One that computes an index may name more.
func TestEveryScriptSaysWhatItTakes(t *testing.T) {
	t.Parallel()
	var files []string
	for dir := range strings.FieldsSeq("../internal/*/lua/*.lua ../internal/*/*/lua/*.lua") {
		found, err := filepath.Glob(dir)
		must(t, err)
		files = append(files, found...)
	}
	if len(files) < 30 {
		t.Fatalf("only %d scripts are found", len(files))
	}
	numbered, computed := regexp.MustCompile(`\b(KEYS|ARGV)\[\d+\]`), regexp.MustCompile(`\b(KEYS|ARGV)\[[^\d\]]`)
	for _, file := range files {
		header, body := splitScript(content(t, file))
		if !strings.HasPrefix(header, " "+filepath.Base(file)+": ") || !strings.Contains(header, "Returns") {
			t.Errorf("%s does not say in its header what it is and what it returns", file)
		}
		named, used := numbered.FindAllString(header, -1), numbered.FindAllString(body, -1)
		more := computed.FindAllString(body, -1)
		for _, arg := range used {
			if !slices.Contains(named, arg) {
				t.Errorf("%s uses %s, which its header does not name", file, arg)
			}
		}
		for _, arg := range named {
			if !slices.Contains(used, arg) && len(more) == 0 {
				t.Errorf("%s names %s, and does not use it", file, arg)
			}
		}
	}
}

// splitScript parts a script in the comment that it begins with and its body without comments.
func splitScript(src string) (header, body string) {
	inHeader := true
	for line := range strings.Lines(src) {
		code, comment, _ := strings.Cut(line, "--")
		if inHeader = inHeader && strings.TrimSpace(code) == ""; inHeader {
			header += comment
		} else {
			body += code + "\n"
		}
	}
	return header, body
}
