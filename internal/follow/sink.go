package follow

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// Stream is a Sink that writes lines to a pipe or terminal. Its commit promises
// nothing but that the lines were written.
type Stream struct{ w *bufio.Writer }

// NewStream returns a Sink that writes to w.
func NewStream(w io.Writer) *Stream { return &Stream{bufio.NewWriterSize(w, 64<<10)} }

// Put writes a line.
func (s *Stream) Put(line []byte) error {
	if _, err := s.w.Write(line); err != nil {
		return err
	}
	return s.w.WriteByte('\n')
}

// Flush passes the lines on.
func (s *Stream) Flush() error { return s.w.Flush() }

// Commit does what Flush does.
func (s *Stream) Commit() error { return s.w.Flush() }

// Has is always false.
func (s *Stream) Has(int64) bool { return false }

// File is a Sink that appends lines to a file, each outcome once, also over
// several lives of the process.
type File struct {
	Stream
	f       *os.File
	regular bool // else it is a device or a FIFO: neither to be read nor synced
	dirty   bool
	failed  error // of a sync: what was written before it may be lost, whatever a later one says
	held    seqSet
	Lines   int64 // how many outcomes it held when it was opened; -1 if it is not regular
}

// OpenFile opens or makes an outcome file. With resume false a file that holds
// anything is refused; with true its outcomes are read, and a last line that was
// cut off is removed.
func OpenFile(name string, resume bool) (*File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open outcome file: %w", err)
	}
	s := &File{f: f, Stream: *NewStream(f)}
	if err := s.load(resume); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *File) load(resume bool) error {
	info, err := s.f.Stat()
	if err != nil {
		return fmt.Errorf("open outcome file: %w", err)
	}
	if s.regular = info.Mode().IsRegular(); !s.regular {
		s.Lines = -1
		return nil
	}
	if err := s.lock(); err != nil {
		return err
	}
	if info.Size() > 0 && !resume {
		return &ForeignFileError{Name: s.f.Name()}
	}
	r := bufio.NewReaderSize(s.f, 1<<20)
	var whole int64
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF && cutOff(line) {
			break
		}
		if err == io.EOF {
			return &ForeignFileError{Name: s.f.Name(), Line: s.Lines + 1}
		}
		if err != nil {
			return fmt.Errorf("read outcome file %s: %w", s.f.Name(), err)
		}
		var o struct {
			Seq *int64 `json:"seq"`
		}
		if json.Unmarshal(line, &o) != nil || o.Seq == nil || *o.Seq < 0 {
			return &ForeignFileError{Name: s.f.Name(), Line: s.Lines + 1}
		}
		s.held.add(*o.Seq)
		s.Lines++
		whole += int64(len(line))
	}
	if err := s.f.Truncate(whole); err != nil {
		return fmt.Errorf("cut the unfinished last line off %s: %w", s.f.Name(), err)
	}
	_, err = s.f.Seek(whole, io.SeekStart)
	return err
}

// lock holds the file until the process ends, whichever way: two batches begun at once
// would both find it empty. It waits a moment for a process that is just ending, or for
// a child of it that has not come to its exec.
func (s *File) lock() error {
	for end := time.Now().Add(time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(s.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil || errors.Is(err, errors.ErrUnsupported): // as some network file systems have it
			return nil
		case err != syscall.EWOULDBLOCK:
			return fmt.Errorf("lock outcome file %s: %w", s.f.Name(), err)
		case time.Now().After(end):
			return fmt.Errorf("outcome file %s %w: choose another --out", s.f.Name(), ErrLocked)
		}
	}
}

// cutOff says that a last line without its end is, or can be, the beginning of an
// outcome. After a power failure there may be NULs where it was to be written.
func cutOff(line []byte) bool {
	const start = `{"seq":`
	line = bytes.TrimRight(line, "\x00")
	return bytes.HasPrefix(line, []byte(start)) || strings.HasPrefix(start, string(line))
}

// ErrLocked says that another process writes an outcome file.
var ErrLocked = errors.New("is being written by another producer")

// ForeignFileError says that an outcome file belongs to something else.
type ForeignFileError struct {
	Name string
	Line int64 // the first line that is no outcome, if that is the reason
}

func (e *ForeignFileError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("outcome file %s: line %d is no outcome: remove the file, or choose another --out", e.Name, e.Line)
	}
	return fmt.Sprintf("outcome file %s exists and belongs to another batch, or to this command's last run, which is done: remove it, or choose another --out", e.Name)
}

// Put writes a line.
func (s *File) Put(line []byte) error {
	s.dirty = true
	return s.wrap(s.Stream.Put(line))
}

// Flush passes the lines on to the file.
func (s *File) Flush() error { return s.wrap(s.Stream.Flush()) }

// Commit syncs the file to its disk.
func (s *File) Commit() error {
	if err := s.Flush(); err != nil || !s.dirty || !s.regular {
		return err
	}
	if err := s.f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && s.failed == nil {
		s.failed = s.wrap(err)
	}
	s.dirty = s.failed != nil
	return s.failed
}

// Has says that the file holds a seq's outcome from an earlier life.
func (s *File) Has(seq int64) bool { return s.held.has(seq) }

// Close closes the file; Commit comes before.
func (s *File) Close() error { return s.f.Close() }

func (s *File) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write outcomes to %s: %w", s.f.Name(), err)
}

// seqSet is a set of seqs, one bit each.
type seqSet map[int64]*[1024]uint64

const seqsPerPage = 1024 * 64

func (s *seqSet) add(seq int64) {
	if *s == nil {
		*s = make(seqSet)
	}
	page := (*s)[seq/seqsPerPage]
	if page == nil {
		page = new([1024]uint64)
		(*s)[seq/seqsPerPage] = page
	}
	page[seq%seqsPerPage/64] |= 1 << (seq % 64)
}

func (s seqSet) has(seq int64) bool {
	page := s[seq/seqsPerPage]
	return page != nil && page[seq%seqsPerPage/64]&(1<<(seq%64)) != 0
}
