package source

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/weir-tasks/weir/tasks"
)

// Repeat generates n records. Each {n} in the JSON template is the number, 0 to
// n-1, also inside strings; without a template the number is the line the codec
// makes the payload of. Raw is the number. The first payload is made before
// Repeat returns: a template that is not JSON or does not fit the type is an
// error at once, not n invalid records.
func Repeat(n int64, template string, codec Codec) (Source, error) {
	if n < 0 {
		return nil, fmt.Errorf("repeat %d times: must not be negative", n)
	}
	r := &repeat{n: n, codec: codec, parts: strings.Split(template, "{n}"), numbers: strings.TrimSpace(template) == ""}
	if _, err := r.payload(0, "0"); err != nil {
		if r.numbers {
			return nil, fmt.Errorf("repeat without a payload: number 0 as a line: %w; give a JSON payload with {n} for the number", err)
		}
		return nil, fmt.Errorf("repeat payload %s with {n} = 0: %w", abridged(template), err)
	}
	return r, nil
}

type repeat struct {
	codec   Codec
	parts   []string // of the template, between the numbers
	numbers bool     // no template
	n, i    int64
	closed  atomic.Bool
}

func (r *repeat) Next() (Record, error) {
	if r.closed.Load() {
		return Record{}, errClosed
	}
	if r.i == r.n {
		return Record{}, io.EOF
	}
	number := strconv.FormatInt(r.i, 10)
	record := Record{Raw: []byte(number)}
	payload, err := r.payload(r.i, number)
	if err != nil {
		record.Err = fmt.Errorf("number %s: %w", number, err)
	} else {
		record.Payload = payload
	}
	r.i++
	return record, nil
}

func (r *repeat) payload(i int64, number string) ([]byte, error) {
	if r.numbers {
		payload, err := r.codec.FromLine(number)
		if err != nil {
			return nil, err
		}
		return payload, r.codec.Check(payload)
	}
	var b bytes.Buffer
	for k, part := range r.parts {
		if k > 0 {
			b.WriteString(number)
		}
		b.WriteString(part)
	}
	if i > 0 && len(r.parts) == 1 {
		return b.Bytes(), nil // the same as number 0, which was checked
	}
	return b.Bytes(), r.codec.Check(b.Bytes())
}

func (r *repeat) Reopen() (Source, error) {
	return &repeat{codec: r.codec, parts: r.parts, numbers: r.numbers, n: r.n}, nil
}

func (r *repeat) Close() error {
	r.closed.Store(true)
	return nil
}

// abridged is a template short enough for a message.
func abridged(template string) string {
	const most = 200
	template = string(tasks.Redact([]byte(template)))
	if len(template) > most {
		template = strings.ToValidUTF8(template[:most], "") + "..."
	}
	return template
}
