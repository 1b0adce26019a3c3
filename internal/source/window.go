package source

import (
	"bytes"
	"errors"
	"io"
)

const (
	bufferSize = 64 << 10 // the first size of a window, and its room above max
	rawPrefix  = 4 << 10  // what Raw keeps of an over-long record
)

var (
	errTooLong = errors.New("longer than the window")
	bom        = []byte("\xef\xbb\xbf")
)

// window is a bounded look ahead: whole lines are found in it before they are
// taken, so that a CSV row can be given up and only its first line taken. A
// bufio.Reader cannot do that, as its Peek does not grow.
type window struct {
	r     io.Reader
	buf   []byte // buf[start:end] has been read and not been taken
	start int
	end   int
	max   int   // the most bytes of a line or row, line end not counted
	err   error // of r; final
	begun bool  // a byte order mark can no longer come
}

func newWindow(r io.Reader, limit int) *window {
	return &window{r: r, buf: make([]byte, bufferSize), max: limit}
}

// reach reads on until the line that begins at offset from is whole, and
// returns the offset behind it, line end included. Offsets count from the first
// byte not taken. Errors: errTooLong if bytes 0 to the end of that line are more
// than max; io.EOF if there is no byte at from; the reader's own error, even if
// a part of the line was read.
func (w *window) reach(from int) (int, error) {
	for scanned := from; ; {
		if i := bytes.IndexByte(w.buf[w.start+scanned:w.end], '\n'); i >= 0 {
			return w.found(scanned + i + 1)
		}
		scanned = w.end - w.start
		if scanned >= len(bom) {
			scanned = w.dropBOM(scanned)
		}
		switch {
		case scanned > w.max+1: // more than max even if the last one is a CR
			return 0, errTooLong
		case w.err == io.EOF && scanned > from:
			return w.found(scanned)
		case w.err != nil:
			return 0, w.err
		}
		w.fill()
	}
}

func (w *window) found(n int) (int, error) {
	n = w.dropBOM(n)
	if len(cutEnd(w.bytes(0, n))) > w.max {
		return 0, errTooLong
	}
	return n, nil
}

// dropBOM takes a byte order mark off the first line. It runs when three bytes
// or that line are there: always waiting for three could hang on a terminal.
func (w *window) dropBOM(n int) int {
	if !w.begun {
		w.begun = true
		if bytes.HasPrefix(w.bytes(0, n), bom) {
			w.start += len(bom)
			n -= len(bom)
		}
	}
	return n
}

// bytes returns the bytes between two offsets; they are valid until reach or skip.
func (w *window) bytes(from, to int) []byte { return w.buf[w.start+from : w.start+to] }

// take takes n bytes, whole lines, and returns them without the last line end.
// They are valid until reach or skip.
func (w *window) take(n int) []byte {
	taken := cutEnd(w.bytes(0, n))
	w.start += n
	return taken
}

// prefix returns a copy of the start of an over-long line: always the same
// bytes, however many more were read.
func (w *window) prefix() []byte {
	return bytes.Clone(w.bytes(0, min(w.max, rawPrefix)))
}

// skip takes the rest of the line and keeps nothing of it. A file that ends
// there is no error.
func (w *window) skip() error {
	for {
		if i := bytes.IndexByte(w.buf[w.start:w.end], '\n'); i >= 0 {
			w.start += i + 1
			return nil
		}
		w.start = w.end
		if w.err == io.EOF {
			return nil
		}
		if w.err != nil {
			return w.err
		}
		w.fill()
	}
}

// fill reads once, behind what is there. The buffer grows only while one line
// fills it, so it stays below max plus bufferSize.
func (w *window) fill() {
	if w.start == w.end {
		w.start, w.end = 0, 0
	}
	if w.end == len(w.buf) && w.start > 0 {
		w.end = copy(w.buf, w.buf[w.start:w.end])
		w.start = 0
	}
	if w.end == len(w.buf) {
		grown := make([]byte, min(2*len(w.buf), w.max+bufferSize))
		copy(grown, w.buf[:w.end])
		w.buf = grown
	}
	for range 100 {
		n, err := w.r.Read(w.buf[w.end:])
		w.end += n
		w.err = err
		if n > 0 || err != nil {
			return
		}
	}
	w.err = io.ErrNoProgress
}

// cutEnd takes the line end off: LF, CRLF, or the CR of a file cut in a CRLF.
func cutEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}
