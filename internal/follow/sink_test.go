package follow

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

const line0 = `{"seq":0,"state":"ok","result":"0","attempts":1,"ms":0}` + "\n"

func line(seq int) string { return strings.ReplaceAll(line0, "0", fmt.Sprint(seq)) }

func TestAStreamPassesLinesOnWithEachFlush(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	s := NewStream(w)
	read := make(chan string, 10)
	go func() {
		buf := make([]byte, 100)
		for {
			n, err := r.Read(buf)
			if err != nil {
				close(read)
				return
			}
			read <- string(buf[:n])
		}
	}()
	for _, pass := range []func() error{s.Flush, s.Commit} {
		for _, l := range []string{"a", "b"} {
			if err := s.Put([]byte(l)); err != nil {
				t.Fatal(err)
			}
		}
		if err := pass(); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != "a\nb\n" {
			t.Errorf("read %q", got)
		}
	}
	if s.Has(0) {
		t.Error("a stream holds nothing")
	}
	r.CloseWithError(errFull)
	if err := errors.Join(s.Put([]byte("c")), s.Flush()); !errors.Is(err, errFull) {
		t.Errorf("a broken pipe: %v", err)
	}
	if err := s.Commit(); !errors.Is(err, errFull) {
		t.Errorf("and again: %v", err)
	}
	w.Close()
	for range read {
	}
}

func TestAFileIsMadeAndGoneOnWith(t *testing.T) {
	t.Parallel()
	name := outFile(t)
	for life := range 3 {
		f := open(t, name, life > 0)
		if f.Lines != int64(life) || f.Has(int64(life)) || life > 0 && !f.Has(int64(life-1)) {
			t.Errorf("life %d begins with %d lines", life, f.Lines)
		}
		if err := f.Put([]byte(strings.TrimSpace(line(life)))); err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := lines(t, name); got != "0 1 2" {
		t.Errorf("the file has %s", got)
	}
}

func TestALastLineThatWasCutOffIsRemoved(t *testing.T) {
	t.Parallel()
	last := strings.TrimSuffix(line(2), "\n")
	for cut := range len(last) + 1 {
		for _, behind := range []string{"", "\x00\x00\x00"} {
			name := outFile(t)
			write(t, name, line(0)+line(1)+last[:cut]+behind)
			f := open(t, name, true)
			if f.Lines != 2 || f.Has(2) {
				t.Errorf("cut at %d: %d lines, has it: %v", cut, f.Lines, f.Has(2))
			}
			if err := errors.Join(f.Put([]byte(last)), f.Commit(), f.Close()); err != nil {
				t.Fatal(err)
			}
			if got := lines(t, name); got != "0 1 2" {
				t.Errorf("cut at %d: the file has %s", cut, got)
			}
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is no outcome file stays as it is, whatever it is.
func TestAForeignFileIsRefused(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		text   string
		resume bool
		line   int64
	}{
		"of another batch":         {line(0), false, 0},
		"half a line":              {`{"seq":`, false, 0},
		"text":                     {"to do: buy milk\n", true, 1},
		"text without a last end":  {"to do: buy milk", true, 1},
		"text behind outcomes":     {line(0) + line(1) + "milk\n", true, 3},
		"a cut line that is other": {line(0) + "milk", true, 2},
		"an empty line":            {line(0) + "\n" + line(1), true, 2},
		"JSON without a seq":       {`{"a":1}` + "\n", true, 1},
		"a seq below 0":            {`{"seq":-1}` + "\n", true, 1},
		"a seq that is no number":  {line(0) + `{"seq":"1"}` + "\n", true, 2},
		"a seq too large":          {`{"seq":1e300}` + "\n", true, 1},
	} {
		t.Run(what, func(t *testing.T) {
			name := outFile(t)
			write(t, name, c.text)
			_, err := OpenFile(name, c.resume)
			var foreign *ForeignFileError
			if !errors.As(err, &foreign) || foreign.Name != name || foreign.Line != c.line {
				t.Fatalf("opened with %v", err)
			}
			if hasLine := strings.Contains(err.Error(), fmt.Sprintf("line %d", c.line)); hasLine != (c.line > 0) {
				t.Errorf("message %q", err)
			}
			if got, _ := os.ReadFile(name); string(got) != c.text {
				t.Errorf("the file is now %q", got)
			}
		})
	}
}

func TestAFileThatCannotBeOpenedIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "none", "out")} {
		if f, err := OpenFile(name, false); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
}

// A device or a FIFO is written to and neither read nor synced.
func TestAFileNeedNotBeAFile(t *testing.T) {
	t.Parallel()
	fifo := outFile(t)
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/dev/null", fifo} {
		f := open(t, name, true)
		if f.Lines != -1 {
			t.Errorf("%s: %d lines", name, f.Lines)
		}
		if err := errors.Join(f.Put([]byte("{}")), f.Commit(), f.Commit(), f.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFullDiskIsAnErrorAndNothingLeavesTheStream(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full on this system")
	}
	both(t, func(t *testing.T, b *fixture) {
		b.record(0, 1, 2)
		b.seal(3)
		err := b.follow(open(t, "/dev/full", false), Options{})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "/dev/full") {
			t.Errorf("ended with %v", err)
		}
		if b.inStream() != 3 || b.given() != 0 {
			t.Errorf("%d in the stream, %d given", b.inStream(), b.given())
		}
	})
}

// After a sync that failed the next one may succeed without the data: Linux
// forgets what it could not write.
func TestASyncThatFailedIsNotForgotten(t *testing.T) {
	b := mini(t)
	b.record(0)
	b.seal(1)
	f := open(t, outFile(t), false)
	if err := errors.Join(f.Put([]byte("{}")), f.Flush(), f.f.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Commit(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("committed with %v", err)
		}
	}
	f = open(t, outFile(t), false)
	if err := b.follow(closedBefore{f}, Options{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	if b.inStream() != 1 {
		t.Error("the stream was trimmed")
	}
}

// closedBefore is a file that cannot be synced.
type closedBefore struct{ *File }

func (c closedBefore) Commit() error {
	return errors.Join(c.Flush(), c.f.Close(), c.File.Commit())
}

// The process dies at every step of its way, life after life: the file has each
// outcome once, in the right order if one was asked for.
func TestAFileIsExactlyOnceWhereverItsWriterDies(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			both(t, func(t *testing.T, b *fixture) {
				seqs := []int64{4, 0, 1, 7, 3, 2, 6, 5}
				b.record(seqs...)
				b.seal(int64(len(seqs)))
				want := strings.Trim(fmt.Sprint(seqs), "[]")
				if ordered {
					want = "0 1 2 3 4 5 6 7"
				}
				name := outFile(t)
				deaths := 0
				for at := 1; ; at++ {
					for _, torn := range []int{0, 1, 30} { // bytes of the last line that the disk did not get
						file := open(t, name, true)
						sink := &mortal{File: file, steps: at}
						err := b.follow(sink, Options{Ordered: ordered, From: file.Lines, Given: file.Lines})
						_ = file.Close()
						if err == nil {
							if got := lines(t, name); got != want {
								t.Fatalf("after %d deaths the file has %s, want %s", deaths, got, want)
							}
							if b.inStream() != 0 {
								t.Errorf("%d in the stream", b.inStream())
							}
							return
						}
						if !errors.Is(err, errFull) {
							t.Fatalf("death %d: %v", deaths, err)
						}
						deaths++
						if !sink.committed {
							tear(t, name, torn)
						}
					}
				}
			})
		})
	}
}

// mortal is a file whose process dies at a step: what it had put is in the file,
// and nothing works any more.
type mortal struct {
	*File
	steps     int
	committed bool
}

func (m *mortal) step(f func() error) error {
	if m.steps == 0 {
		return errFull
	}
	if err := f(); err != nil {
		return err
	}
	if m.steps--; m.steps == 0 {
		_ = m.File.Flush()
		return errFull
	}
	return nil
}

func (m *mortal) Put(line []byte) error {
	return m.step(func() error { m.committed = false; return m.File.Put(line) })
}
func (m *mortal) Flush() error { return m.step(m.File.Flush) }
func (m *mortal) Commit() error {
	return m.step(func() error { m.committed = true; return m.File.Commit() })
}

// tear takes bytes off a file's end.
func tear(t *testing.T, name string, n int) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, max(0, info.Size()-int64(n))); err != nil {
		t.Fatal(err)
	}
}

func TestSeqSetIsASet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s seqSet
		model := make(map[int64]bool)
		// Near each other, at the bounds of words and pages, and anywhere.
		seq := rapid.OneOf(rapid.Int64Range(0, 200), rapid.Int64Range(seqsPerPage-100, seqsPerPage+100),
			rapid.Int64Range(0, 1<<40), rapid.Int64Min(0))
		asked := rapid.SliceOf(seq).Draw(t, "asked")
		for _, n := range rapid.SliceOf(seq).Draw(t, "added") {
			s.add(n)
			model[n] = true
			asked = append(asked, n-1, n, n+1, n+64, n+seqsPerPage)
		}
		for _, n := range slices.DeleteFunc(asked, func(n int64) bool { return n < 0 }) {
			if s.has(n) != model[n] {
				t.Fatalf("has %d: %v", n, s.has(n))
			}
		}
	})
}
