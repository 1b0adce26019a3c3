package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stdinName is how stdin is named on the command line.
const stdinName = "-"

// Files reads the named files in turn; "-" is stdin, and so is no name at all.
// All are looked at first: a missing file, a directory, or one that may not be
// read is refused before the first record, with the remedy. FIFOs and devices
// are not opened for that, as opening has effects on whoever writes to them.
func Files(names []string, stdin io.Reader, codec Codec, o Options) (Source, error) {
	return newFiles(names, stdin, codec, o, os.Open)
}

func newFiles(names []string, stdin io.Reader, codec Codec, o Options, open func(string) (*os.File, error)) (*files, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = []string{stdinName}
	}
	fromStdin := 0
	for _, name := range names {
		if name == stdinName {
			fromStdin++
			continue
		}
		if err := checkFile(name, open); err != nil {
			return nil, openError(name, err)
		}
	}
	if fromStdin > 1 {
		return nil, errors.New("read input: stdin (-) is named twice; it can be read only once")
	}
	if fromStdin == 1 && stdin == nil {
		return nil, errors.New("read input: there is no stdin; name a file")
	}
	f := &files{all: names, names: names, stdin: stdin, codec: codec, o: o, openFile: open}
	f.size = sizeOf(names)
	return f, nil
}

// reader reads the records of one file. Its errors are without position, which
// where has: the line that was being read.
type reader interface {
	next() (Record, error)
	where() string
}

type files struct {
	progress
	stdin    io.Reader
	codec    Codec
	o        Options
	openFile func(string) (*os.File, error)
	all      []string

	// Of Next alone.
	names   []string // not yet opened
	current reader   // nil between files
	err     error    // final

	mu      sync.Mutex // for Close, which may come while Next waits
	closed  bool
	file    *os.File // being read
	opening string   // being opened, which for a FIFO waits for a writer
}

func (f *files) Next() (Record, error) {
	for f.err == nil {
		if f.isClosed() {
			f.err = errClosed // also with records still in the buffer
			f.current = nil
			break
		}
		if f.current == nil {
			f.err = f.openNext()
			continue
		}
		record, err := f.current.next()
		if err == nil {
			f.yielded(&record)
			return record, nil
		}
		// Next lets go of the file also on an error; who gave up on the input
		// may forget to close it.
		closed := f.closeFile(false)
		switch {
		case closed:
			f.err = errClosed
		case err != io.EOF:
			f.err = fmt.Errorf("read %s: %w", f.current.where(), cause(err))
		}
		f.current = nil
	}
	return Record{}, f.err
}

// openNext makes the next file the current one. Errors: io.EOF if there is none.
func (f *files) openNext() error {
	if len(f.names) == 0 {
		return io.EOF
	}
	name := f.names[0]
	f.names = f.names[1:]
	at := place{name: shown(name)}
	var in io.Reader
	if name == stdinName {
		in = f.stdin
		at.name = "stdin"
	} else {
		file, err := f.open(name)
		if err != nil {
			return err
		}
		in = file
	}
	in, err := unpack(counted{in, &f.packed}, name, f.o.MaxRatio)
	if err != nil {
		if f.closeFile(false) {
			return errClosed
		}
		return fmt.Errorf("read %s:1: %w", at.name, cause(err))
	}
	w := newWindow(counted{in, &f.unpacked}, f.o.MaxLine)
	switch formatOf(f.o.Format, name) {
	case FormatCSV:
		f.current = &csvReader{place: at, in: w, codec: f.codec}
	case FormatNDJSON:
		f.current = &lineReader{place: at, in: w, payload: jsonPayload(f.codec)}
	default:
		f.current = &lineReader{place: at, in: w, payload: plainPayload(f.codec)}
	}
	return nil
}

func (f *files) open(name string) (*os.File, error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, errClosed
	}
	f.opening = name
	f.mu.Unlock()

	file, err := f.openFile(name)

	f.mu.Lock()
	defer f.mu.Unlock()
	f.opening = ""
	switch {
	case f.closed:
		if err == nil {
			_ = file.Close() // only read from
		}
		return nil, errClosed
	case err != nil:
		return nil, openError(name, err)
	}
	f.file = file
	return file, nil
}

// closeFile closes the file being read, for good if last, and reports whether
// Close had been called.
func (f *files) closeFile(last bool) (closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	closed = f.closed
	f.closed = closed || last
	if f.file != nil {
		_ = f.file.Close() // only read from: nothing can be lost
		f.file = nil
	}
	return closed
}

// Reopen gives the same files. What came through a pipe does not come again.
func (f *files) Reopen() (Source, error) {
	for _, name := range f.all {
		if name == stdinName {
			return nil, errors.New("stdin cannot be read a second time")
		}
		if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no regular file and cannot be read a second time", shown(name))
		}
	}
	return newFiles(f.all, nil, f.codec, f.o, f.openFile)
}

func (f *files) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *files) Close() error {
	f.closeFile(true)
	f.mu.Lock()
	name := f.opening
	f.mu.Unlock()
	if name != "" {
		f.releaseOpen(name)
	}
	return nil
}

// releaseOpen frees a Next that waits in open for a FIFO's first writer, by
// being that writer. open itself cannot be interrupted. The writing end is held
// until Next has seen it. If it cannot be had (no permission to write), Next
// waits on for a real writer.
func (f *files) releaseOpen(name string) {
	if info, err := os.Stat(name); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return
	}
	waiting := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.opening != ""
	}
	var writer *os.File
	for deadline := time.Now().Add(time.Second); waiting() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if writer != nil {
			continue
		}
		// Without a reader this gives ENXIO: Next has not come to its open yet.
		var err error
		writer, err = os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			defer writer.Close()
		} else if !errors.Is(err, syscall.ENXIO) {
			return
		}
	}
}

var errSocket = errors.New("is a socket")

// checkFile refuses early what could not be read later.
func checkFile(name string, open func(string) (*os.File, error)) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return syscall.EISDIR
	case mode&fs.ModeSocket != 0:
		return errSocket
	case !mode.IsRegular():
		const forReading = 4
		return syscall.Access(name, forReading)
	}
	file, err := open(name)
	if err != nil {
		return err
	}
	return file.Close()
}

// openError says what to do about a file that cannot be read.
func openError(name string, err error) error {
	remedy := ""
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		remedy = "; check the name"
		if dir, e := os.Getwd(); e == nil && !filepath.IsAbs(name) {
			remedy += ", it is looked up from " + dir
		}
	case errors.Is(err, syscall.EISDIR):
		remedy = "; name the files in it, as in " + filepath.Join(shown(name), "*")
	case errors.Is(err, fs.ErrPermission):
		remedy = "; run as a user who may read it, or make it readable with chmod +r"
	case errors.Is(err, errSocket):
		remedy = "; pass its data on stdin, as -"
	}
	return fmt.Errorf("open input %s: %w%s", shown(name), cause(err), remedy)
}

// cause takes the file's name off an error of package os; ours has it already.
func cause(err error) error {
	if path, ok := err.(*fs.PathError); ok {
		return path.Err
	}
	return err
}

// shown is a file's name for messages, quoted if it could be misread.
func shown(name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r == '"' || !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// formatOf decides auto by the name's suffix before .gz or .zst.
func formatOf(format Format, name string) Format {
	if format != FormatAuto {
		return format
	}
	base, _ := cutCompression(name)
	switch strings.ToLower(filepath.Ext(base)) {
	case ".ndjson", ".jsonl":
		return FormatNDJSON
	case ".csv":
		return FormatCSV
	}
	return FormatLines
}
