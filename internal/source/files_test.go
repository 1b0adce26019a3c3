package source

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilesInTurn(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, dir, "one.txt", "a\nb") // no newline: still two lines, not one with the next file's
	write(t, dir, "empty", "")
	write(t, dir, "two.csv", "x,y\n1,bad\n")
	write(t, dir, "three.csv", "y,x\n2,3\n")
	write(t, dir, "four.jsonl", "{\"j\":1}\n")
	write(t, dir, "five.NDJSON", "{\"j\":2}\nbad\n")
	s, err := Files([]string{"one.txt", "empty", "two.csv", "-", "three.csv", "four.jsonl", "five.NDJSON"}, strings.NewReader("\ufeffin\n\nbad\n"), fake{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, shown := drain(t, s)
	equal(t, "all", shown, []string{
		`{"line":"a"}`, `{"line":"b"}`, `! two.csv:2: field "y": is bad`, `{"line":"in"}`, `! stdin:3: field "line": is bad`,
		`{"x":"3","y":"2"}`, `{"j":1}`, `{"j":2}`, "! five.NDJSON:2: line is not a JSON object",
	})
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]Format{
		"-": FormatLines, "urls.txt": FormatLines, "csv": FormatLines, "a.csv/b": FormatLines, "a.csv": FormatCSV, "a.CSV.GZ": FormatCSV,
		"a.jsonl.zst": FormatNDJSON, "a.ndjson.gz": FormatNDJSON, "a.csv.bz2": FormatLines, "a.gz": FormatLines,
	} {
		if got := formatOf(FormatAuto, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := formatOf(FormatLines, "a.csv"); got != FormatLines {
		t.Errorf("a.csv as lines: %s", got)
	}
}

func TestWhatCannotBeReadIsRefusedFirst(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	cwd, _ := os.Getwd()
	write(t, dir, "good", "a\n")
	write(t, dir, "secret", "a\n")
	if err := os.Mkdir("sub", 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("unix", "sock"); err != nil {
		t.Fatal(err)
	} else {
		defer l.Close()
	}
	// Root may read everything, so what the system would say is put in here;
	// TestNoPermission asks the system itself.
	open := func(name string) (*os.File, error) {
		if name == "secret" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
		}
		return os.Open(name)
	}
	for name, want := range map[string]struct {
		text string
		is   error
	}{
		"missing":         {"open input missing: no such file or directory; check the name, it is looked up from " + cwd, fs.ErrNotExist},
		"/nowhere/at/all": {"open input /nowhere/at/all: no such file or directory; check the name", fs.ErrNotExist},
		"good/inside":     {"open input good/inside: not a directory; check the name, it is looked up from " + cwd, syscall.ENOTDIR},
		"":                {`open input "": no such file or directory; check the name, it is looked up from ` + cwd, fs.ErrNotExist},
		"new\nline":       {`open input "new\nline": no such file or directory; check the name, it is looked up from ` + cwd, fs.ErrNotExist},
		"sub":             {"open input sub: is a directory; name the files in it, as in sub/*", syscall.EISDIR},
		"secret":          {"open input secret: permission denied; run as a user who may read it, or make it readable with chmod +r", fs.ErrPermission},
		"sock":            {"open input sock: is a socket; pass its data on stdin, as -", errSocket},
	} {
		stdin := &untouched{t}
		_, err := newFiles([]string{"good", "-", name}, stdin, fake{}, Options{}, open)
		if err == nil || err.Error() != want.text || !errors.Is(err, want.is) {
			t.Errorf("%q:\n got %v\nwant %s", name, err, want.text)
		}
	}
	if _, err := Files([]string{"-", "good", "-"}, strings.NewReader(""), fake{}, Options{}); err == nil || !strings.Contains(err.Error(), "named twice") {
		t.Errorf("stdin twice: %v", err)
	}
	if _, err := Files(nil, nil, fake{}, Options{}); err == nil {
		t.Error("no stdin: no error")
	}
}

type untouched struct{ t *testing.T }

func (u *untouched) Read([]byte) (int, error) {
	u.t.Error("stdin was read before all files were checked")
	return 0, io.EOF
}

func TestNoPermission(t *testing.T) {
	path := write(t, t.TempDir(), "secret", "a\n")
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := errors.Join(os.Chmod(path, 0), syscall.Mkfifo(fifo, 0)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, fifo} {
		s, err := Files([]string{name}, nil, fake{}, Options{})
		switch {
		case os.Geteuid() == 0 && err == nil:
			s.Close() // root may read it; the stubbed open stands in
		case !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "chmod"):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFileGoneLater(t *testing.T) {
	dir := t.TempDir()
	one, two := write(t, dir, "one", "a\n"), write(t, dir, "two", "b\n")
	s, err := Files([]string{one, two}, nil, fake{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(two); err != nil {
		t.Fatal(err)
	}
	_, shown := drain(t, s)
	equal(t, "gone", shown, []string{`{"line":"a"}`, "end: open input " + two + ": no such file or directory; check the name"})
}

func TestDirectoryOnStdin(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_, shown := drain(t, fromReader(t, dir, Options{}))
	equal(t, "dir", shown, []string{"end: read stdin:1: is a directory"})
}

func TestDeviceFiles(t *testing.T) {
	s, err := Files([]string{os.DevNull, "/dev/fd/0"}, nil, fake{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s, err = Files([]string{os.DevNull}, nil, fake{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Errorf("%s: %v", os.DevNull, err)
	}
}

func mkfifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFIFO(t *testing.T) {
	path := mkfifo(t)
	s, err := Files([]string{path}, nil, fake{}, Options{})
	if err != nil { // would hang here if it were opened
		t.Fatal(err)
	}
	lines := make(chan string, 1) // the writer waits for Next to open
	done := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		for line := range lines {
			if err == nil {
				_, err = w.WriteString(line)
			}
		}
		done <- errors.Join(err, w.Close())
	}()
	for _, line := range []string{"a", "b"} {
		lines <- line + "\n"
		if r, err := s.Next(); err != nil || string(r.Raw) != line {
			t.Fatalf("got %q, %v", r.Raw, err)
		}
	}
	close(lines)
	if _, err := s.Next(); err != io.EOF {
		t.Errorf("end: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCloseFreesNext(t *testing.T) {
	for _, writer := range []bool{false, true} {
		path := mkfifo(t)
		s, err := Files([]string{path}, nil, fake{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := s.Next()
			ended <- err
		}()
		if writer {
			w, err := os.OpenFile(path, os.O_WRONLY, 0) // waits until Next has opened
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
		} else {
			for f := s.(*files); ; time.Sleep(time.Millisecond) {
				f.mu.Lock()
				opening := f.opening
				f.mu.Unlock()
				if opening != "" {
					break
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("Next ended with %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("Next still waits (writer: %v)", writer)
		}
	}
}

func TestNextAfterClose(t *testing.T) {
	s := fromReader(t, strings.NewReader("a\nb\n"), Options{})
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := s.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
}
