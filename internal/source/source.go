package source

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Codec turns records into payloads; *tasks.Type is one. It may not keep or
// change its arguments. The first two only build JSON; what they build is
// always passed to Check.
type Codec interface {
	FromLine(line string) ([]byte, error)
	FromFields(names, values []string) ([]byte, error)
	Check(payload []byte) error
}

// Record is one input record. Exactly one of Payload and Err is set.
type Record struct {
	// Payload is JSON that fits the type. It is the receiver's to keep; it may
	// share memory with Raw, so neither is to be changed.
	Payload []byte
	// Err says why the record does not fit, with its position:
	// `urls.txt:17: field "url": must be a URL`. It wraps the codec's error.
	Err error
	// Raw is the record as read, without its line end, for the running hash; of
	// an over-long record the first 4 KiB. A CSV file's first record has the
	// header in front, a line of its own: another header is another input.
	Raw []byte
}

// Source yields records in order. Next is for one goroutine; Close may be
// called from any, any number of times.
type Source interface {
	// Next returns io.EOF after the last record; any other error ends the
	// input and names file and line. The error is repeated from then on.
	Next() (Record, error)
	// Close closes what the source opened itself, never stdin. A Next that
	// waits for a FIFO or terminal the source opened returns, where the system
	// can interrupt that (Linux; on macOS only while the FIFO has no writer).
	// After Close, Next returns an error that wraps os.ErrClosed.
	Close() error
}

// Reopen returns a source of the same records from the first on, whether or not s is
// closed. An error says why s cannot be read a second time.
func Reopen(s Source) (Source, error) {
	if r, ok := s.(Reopener); ok {
		return r.Reopen()
	}
	return nil, errors.New("this input cannot be read a second time")
}

// Reopener is a Source for Reopen.
type Reopener interface{ Reopen() (Source, error) }

// Format says how the input is cut into records.
type Format string

const (
	FormatAuto   Format = "auto"   // by the file's name, see formatOf; stdin is lines
	FormatLines  Format = "lines"  // each line is a record
	FormatNDJSON Format = "ndjson" // each line is a JSON object
	FormatCSV    Format = "csv"    // rows under a header
)

// ParseFormat returns the format of that name; "" is auto.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case "":
		return FormatAuto, nil
	case FormatAuto, FormatLines, FormatNDJSON, FormatCSV:
		return f, nil
	}
	return "", fmt.Errorf("format %q: use auto, lines, ndjson or csv", name)
}

// Options of Files. The zero value is good.
type Options struct {
	Format Format // default auto
	// MaxLine is the most bytes of one line or row, line end not counted;
	// default 1 MiB. A longer one is an invalid record, its rest is skipped
	// without being kept.
	MaxLine int
	// MaxRatio is how many bytes may come out of one compressed byte, on
	// average; default 100. It is not looked at before 1 MiB has come out.
	MaxRatio int
}

func (o Options) withDefaults() (Options, error) {
	format, err := ParseFormat(string(o.Format))
	if err != nil {
		return o, err
	}
	o.Format = format
	if o.MaxLine < 0 || o.MaxLine > 1<<30 {
		return o, fmt.Errorf("source options: MaxLine %d must be from 1 to 1 GiB, or 0 for the default", o.MaxLine)
	}
	if o.MaxRatio < 0 {
		return o, fmt.Errorf("source options: MaxRatio %d must not be negative", o.MaxRatio)
	}
	if o.MaxLine == 0 {
		o.MaxLine = 1 << 20
	}
	if o.MaxRatio == 0 {
		o.MaxRatio = 100
	}
	return o, nil
}

var errClosed = fmt.Errorf("read input: %w", os.ErrClosed)

// Limit returns a source of the first n records of s, invalid ones included.
// It never asks s for more, so it ends at once where s would wait for input.
func Limit(s Source, n int64) Source { return &limit{s, n, n} }

type limit struct {
	Source
	n, left int64
}

func (l *limit) Reopen() (Source, error) {
	s, err := Reopen(l.Source)
	if err != nil {
		return nil, err
	}
	return Limit(s, l.n), nil
}

func (l *limit) Next() (Record, error) {
	if l.left <= 0 {
		return Record{}, io.EOF
	}
	l.left--
	return l.Source.Next()
}
