package source

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// place is a line of the input: what errors begin with. A reader's own place is
// the last line it has taken, 0 before the first.
type place struct {
	name string // of the file, as shown
	line int
}

// where is the line being read.
func (p *place) where() string { return fmt.Sprintf("%s:%d", p.name, p.line+1) }

// invalid makes the record of one that does not fit.
func (p *place) invalid(raw []byte, err error) Record {
	return Record{Raw: raw, Err: fmt.Errorf("%s:%d: %w", p.name, p.line, err)}
}

// lineReader reads formats in which a line is a record.
type lineReader struct {
	place
	in      *window
	payload func(raw []byte) ([]byte, error)
}

func (r *lineReader) next() (Record, error) {
	for {
		n, err := r.in.reach(0)
		if err == errTooLong {
			raw := r.in.prefix()
			if err := r.in.skip(); err != nil {
				return Record{}, err
			}
			r.line++
			return r.invalid(raw, fmt.Errorf("line is longer than %d bytes", r.in.max)), nil
		}
		if err != nil {
			return Record{}, err
		}
		r.line++
		line := r.in.take(n)
		if len(bytes.TrimLeft(line, " \t\r")) == 0 {
			continue
		}
		raw := bytes.Clone(line)
		if err := checkText(raw); err != nil {
			return r.invalid(raw, err), nil
		}
		payload, err := r.payload(raw)
		if err != nil {
			return r.invalid(raw, err), nil
		}
		return Record{Payload: payload, Raw: raw}, nil
	}
}

func plainPayload(codec Codec) func([]byte) ([]byte, error) {
	return func(raw []byte) ([]byte, error) {
		payload, err := codec.FromLine(string(raw))
		if err != nil {
			return nil, err
		}
		return payload, codec.Check(payload)
	}
}

var errNotObject = errors.New("line is not a JSON object")

func jsonPayload(codec Codec) func([]byte) ([]byte, error) {
	return func(raw []byte) ([]byte, error) {
		payload := bytes.Trim(raw, " \t\r")
		if payload[0] != '{' {
			return nil, errNotObject
		}
		return payload[:len(payload):len(payload)], codec.Check(payload)
	}
}

// checkText refuses what no payload may hold, with the place of the first
// wrong byte.
func checkText(text []byte) error {
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return fmt.Errorf("byte %d is NUL", i+1)
	}
	if utf8.Valid(text) {
		return nil
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Errorf("byte %d is not valid UTF-8", i+1)
		}
		i += size
	}
}
