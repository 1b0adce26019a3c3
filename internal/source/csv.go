package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// csvReader reads the rows of one file under its header.
type csvReader struct {
	place
	in     *window
	codec  Codec
	names  []string
	header []byte // as read, until the first record has it in its Raw
	row    row
	values []string // of the last row; the memory is used again
}

func (r *csvReader) next() (Record, error) {
	if r.names == nil {
		if err := r.readHeader(); err != nil {
			return Record{}, err
		}
	}
	raw, lines, bad, err := r.readRow()
	if err != nil {
		return Record{}, err
	}
	at := place{r.name, r.line + 1} // of several lines the first is named
	r.line += lines
	if r.header != nil {
		raw = append(append(r.header, '\n'), raw...)
		r.header = nil
	}
	if bad == nil && len(r.values) != len(r.names) {
		bad = fmt.Errorf("row has %d fields, its header %d", len(r.values), len(r.names))
	}
	if bad != nil {
		return at.invalid(raw, bad), nil
	}
	payload, err := r.codec.FromFields(r.names, r.values)
	if err == nil {
		err = r.codec.Check(payload)
	}
	if err != nil {
		return at.invalid(raw, err), nil
	}
	return Record{Payload: payload, Raw: raw}, nil
}

// readHeader takes the first row as names. A header that cannot be right ends
// the input: no row under it could be trusted.
func (r *csvReader) readHeader() error {
	raw, lines, bad, err := r.readRow()
	if err != nil {
		return err
	}
	if bad != nil {
		return fmt.Errorf("CSV header: %w", bad)
	}
	names := append([]string(nil), r.values...)
	column := make(map[string]int, len(names))
	for i, name := range names {
		if name == "" {
			return fmt.Errorf("CSV header: column %d has no name", i+1)
		}
		if before, twice := column[name]; twice {
			return fmt.Errorf("CSV header: columns %d and %d are both named %q", before, i+1, name)
		}
		column[name] = i + 1
	}
	r.names, r.header = names, raw
	r.line += lines
	return nil
}

// readRow takes the next row and leaves its fields in r.values. A malformed one
// is its first line, and bad says why. Empty lines before it are added to
// r.line; the lines of the row itself are left to the caller.
func (r *csvReader) readRow() (raw []byte, lines int, bad, err error) {
	n, err := r.in.reach(0)
	for ; err == nil && len(cutEnd(r.in.bytes(0, n))) == 0; n, err = r.in.reach(0) {
		r.in.take(n)
		r.line++
	}
	if err == errTooLong {
		raw := r.in.prefix()
		if err := r.in.skip(); err != nil {
			return nil, 0, nil, err
		}
		return raw, 1, fmt.Errorf("row is longer than %d bytes", r.in.max), nil
	}
	if err != nil {
		return nil, 0, nil, err
	}

	r.row.reset()
	first := n
	for from := 0; ; {
		open, bad := r.row.add(cutEnd(r.in.bytes(from, n)))
		lines++
		if bad == nil && !open {
			break
		}
		if bad == nil {
			from = n
			n, err = r.in.reach(from)
			switch err {
			case nil:
				continue
			case io.EOF:
				bad = errors.New("quoted field is not closed before the end of the file")
			case errTooLong:
				bad = fmt.Errorf("quoted field is not closed within %d bytes", r.in.max)
			default:
				return nil, 0, nil, err
			}
		} else if lines > 1 {
			bad = fmt.Errorf("quoted field goes on to line %d, and there: %w", r.line+lines, bad)
		}
		return bytes.Clone(r.in.take(first)), 1, bad, nil
	}
	raw = bytes.Clone(r.in.take(n))
	r.values = r.row.fields(r.values[:0])
	return raw, lines, checkText(raw), nil
}

// row is a row being parsed, line by line.
type row struct {
	text   []byte // the fields so far, unquoted, one behind the other
	ends   []int  // where in text each one ends
	quoted bool   // inside quotes
}

func (r *row) reset() {
	r.text, r.ends, r.quoted = r.text[:0], r.ends[:0], false
}

// add parses one line, without its end, and reports whether the row goes on in
// the next one. Behind an error only reset is allowed.
func (r *row) add(line []byte) (open bool, err error) {
	rest := line
	column := func() int { return len(line) - len(rest) + 1 }
	for {
		if !r.quoted { // at the start of a field
			if len(rest) > 0 && rest[0] == '"' {
				r.quoted = true
				rest = rest[1:]
				continue
			}
			field := rest
			comma := bytes.IndexByte(rest, ',')
			if comma >= 0 {
				field = rest[:comma]
			}
			if i := bytes.IndexByte(field, '"'); i >= 0 {
				return false, fmt.Errorf(`quote in an unquoted field (column %d); quote the field and write the quote twice`, column()+i)
			}
			r.text = append(r.text, field...)
			r.ends = append(r.ends, len(r.text))
			if comma < 0 {
				return false, nil
			}
			rest = rest[comma+1:]
			continue
		}
		quote := bytes.IndexByte(rest, '"')
		if quote < 0 {
			r.text = append(append(r.text, rest...), '\n')
			return true, nil
		}
		r.text = append(r.text, rest[:quote]...)
		rest = rest[quote+1:]
		switch {
		case len(rest) == 0:
			r.ends = append(r.ends, len(r.text))
			r.quoted = false
			return false, nil
		case rest[0] == '"':
			r.text = append(r.text, '"')
			rest = rest[1:]
		case rest[0] == ',':
			r.ends = append(r.ends, len(r.text))
			r.quoted = false
			rest = rest[1:]
		default:
			return false, fmt.Errorf(`text behind a closing quote (column %d); a quote inside quotes is written twice`, column())
		}
	}
}

// fields appends the fields to dst; they share one new string.
func (r *row) fields(dst []string) []string {
	text, start := string(r.text), 0
	for _, end := range r.ends {
		dst = append(dst, text[start:end])
		start = end
	}
	return dst
}
