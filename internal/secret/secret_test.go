package secret

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOnlyWhatIsAllowedIsRead(t *testing.T) {
	dir := t.TempDir()
	inside, outside := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	for path, text := range map[string]string{
		inside + "/plain": "s3cret", inside + "/line": "s3cret\n", inside + "/dos": "s3cret\r\n", inside + "/two": "a\nb\n", inside + "/empty": "",
		inside + "/.hidden": "s3cret", inside + "/deeper/x": "canary", outside + "/x": "canary",
		inside + "/binary": "\xff\xfe", inside + "/large": strings.Repeat("x", maxFile+1), inside + "/largest": strings.Repeat("x", maxFile),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(inside+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET_TEST_A", "value")
	t.Setenv("SECRET_TEST_B", "canary")
	t.Setenv("SECRET_TEST_BAD", "\xff")
	s, err := New([]string{"SECRET_TEST_A", "SECRET_TEST_UNSET", "SECRET_TEST_BAD"}, []string{inside + "/*", outside + "/none"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ kind, name, value, err string }{
		{"env", "SECRET_TEST_A", "value", ""},
		{"env", "SECRET_TEST_B", "", "--allow-env"},
		{"env", "secret_test_a", "", "--allow-env"},
		{"env", "SECRET_TEST_*", "", "--allow-env"},
		{"env", "", "", "--allow-env"},
		{"env", "PATH", "", "--allow-env"},
		{"env", "SECRET_TEST_UNSET", "", "is not set"},
		{"env", "SECRET_TEST_BAD", "", "not UTF-8"},
		{"file", inside + "/plain", "s3cret", ""},
		{"file", inside + "/line", "s3cret", ""},
		{"file", inside + "/dos", "s3cret", ""},
		{"file", inside + "/two", "a\nb", ""},
		{"file", inside + "/empty", "", ""},
		{"file", inside + "/missing", "", "no such file"},
		{"file", inside + "/binary", "", "not UTF-8"},
		{"file", inside + "/large", "", "larger than"},
		{"file", inside + "/largest", strings.Repeat("x", maxFile), ""},
		{"file", inside + "/fifo", "", "no regular file"},
		{"file", inside + "/deeper", "", "no regular file"},
		{"file", inside + "/deeper/x", "", "--allow-file"},
		{"file", inside + "/../out/x", "", "--allow-file"},
		{"file", inside + "/./plain", "", "--allow-file"},
		{"file", inside + "//plain", "", "--allow-file"},
		{"file", outside + "/x", "", "--allow-file"},
		{"file", outside + "/none", "", "no such file"},
		{"file", "/etc/passwd", "", "--allow-file"},
		{"file", "plain", "", "--allow-file"},
		{"file", "", "", "--allow-file"},
		{"file", inside + "/plain\x00", "", "invalid argument"},
	} {
		get := s.Env
		if c.kind == "file" {
			get = s.File
		}
		value, err := get(c.name)
		if value != c.value || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s %q: got %q, %v", c.kind, c.name, value, err)
		}
		if _, err := new(Store).Env(c.name); err == nil {
			t.Errorf("an empty store has %q", c.name)
		}
		if _, err := new(Store).File(c.name); err == nil {
			t.Errorf("an empty store has %q", c.name)
		}
	}
}

func TestNewReportsAllThatIsWrong(t *testing.T) {
	_, err := New([]string{"A", "B=C", "", "1A"}, []string{"relative", "/a/../b", "/a/[", "/run/secrets/*", "/a/"})
	if err == nil {
		t.Fatal("all is taken")
	}
	if n := strings.Count(err.Error(), "--allow-"); n != 7 {
		t.Errorf("%d complaints:\n%v", n, err)
	}
}
