package source

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// The fuzz tests hold the readers against obvious code that has the whole input
// in memory: same records, same line numbers, whatever the reads are like.

// jagged reads in sizes of its own.
type jagged struct {
	r   io.Reader
	rnd *rand.Rand
}

func (j jagged) Read(p []byte) (int, error) {
	return j.r.Read(p[:min(len(p), 1+j.rnd.IntN(7))])
}

func fuzz(f *testing.F, format Format, seeds []string, model func(lines []string, limit int) []string) {
	for _, s := range seeds {
		for _, limit := range []byte{0, 5, 200} {
			f.Add([]byte(s), limit, uint64(len(s)))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, limit byte, seed uint64) {
		o := Options{Format: format, MaxLine: int(limit) + 1}
		s := fromReader(t, jagged{bytes.NewReader(data), rand.New(rand.NewPCG(seed, 1))}, o)
		records, shown := drain(t, s)
		whole, again := drain(t, fromReader(t, bytes.NewReader(data), o))
		equal(t, "jagged reads", shown, again)
		for i := range records {
			if !bytes.Equal(records[i].Raw, whole[i].Raw) {
				t.Errorf("record %d: Raw %q and %q", i, records[i].Raw, whole[i].Raw)
			}
		}
		if kind, _ := sniff(bufio.NewReader(bytes.NewReader(data))); kind != "" {
			return // compressed; that it ended is all we know
		}
		lines := strings.SplitAfter(strings.TrimPrefix(string(data), "\ufeff"), "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		if len(records) > len(lines) {
			t.Errorf("%d records of %d lines", len(records), len(lines))
		}
		// The model's errors are only positions; the texts have their golden tests.
		for i, text := range shown {
			if at, _, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "! ") {
				shown[i] = at
			} else if strings.HasPrefix(text, "end: ") {
				shown[i] = "end"
			}
		}
		equal(t, fmt.Sprintf("%q limit %d", data, o.MaxLine), shown, model(lines, o.MaxLine))
	})
}

func withoutEnd(line string) string {
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func FuzzLines(f *testing.F) {
	fuzz(f, FormatLines, []string{"", "a\nb", "\ufeffa\r\n\r\n \nbad\n\xff\n\x00", "123456\n1234567\r\n", "\x1f\x8b\x08", gzipped(f, "a\n"), "(\xb5/\xfd", "P*M\x18"},
		func(lines []string, limit int) (want []string) {
			for i, line := range lines {
				line = withoutEnd(line)
				payload, err := fake{}.FromLine(line)
				switch {
				case len(line) > limit:
					want = append(want, fmt.Sprintf("! stdin:%d", i+1))
				case strings.Trim(line, " \t\r") == "":
				case err != nil || !isText(line) || fake.Check(fake{}, payload) != nil:
					want = append(want, fmt.Sprintf("! stdin:%d", i+1))
				default:
					want = append(want, string(payload))
				}
			}
			return want
		})
}

func FuzzNDJSON(f *testing.F) {
	fuzz(f, FormatNDJSON, []string{"", "{}\n{\"a\":1}", "\ufeff{\"a\":\"bad\"}\r\n\n[]\n{} {}\n {} \n{\"\xff\":\"\x00\"}", "{\"a\":123456789}\n{}", zstded(f, "{}\n")},
		func(lines []string, limit int) (want []string) {
			for i, line := range lines {
				line = withoutEnd(line)
				trimmed := strings.Trim(line, " \t\r")
				switch {
				case len(line) > limit:
					want = append(want, fmt.Sprintf("! stdin:%d", i+1))
				case trimmed == "":
				case !isText(line) || trimmed[0] != '{' || !json.Valid([]byte(trimmed)) || fake.Check(fake{}, []byte(trimmed)) != nil:
					want = append(want, fmt.Sprintf("! stdin:%d", i+1))
				default:
					want = append(want, trimmed)
				}
			}
			return want
		})
}

// FuzzCSV's model asks encoding/csv for one row, from each line where a row may
// start, on no more than MaxLine bytes.
func FuzzCSV(f *testing.F) {
	fuzz(f, FormatCSV, []string{
		"", "a,b\n1,2\n", "\ufeff\"a\",b\r\n\"1\r\n\"\"2\",3\r\n\n4,5", "a\n\"b\n\"c\n\"d\"\n", "a\n\"\n\n\"\"\n\"\n", "a,a\n1,2", "a,\n", "a\nb\"c\n\"d\"e\n\"f",
		"a,b\n1\n\xff,2\n\"3\n\x00\",4\n5,bad", "a\n\"1\r", "a\n1\r", "a\n\"1\"\r", "\r\n\r", "a\n\"\r\n\r\n\"\r\n",
	}, func(lines []string, limit int) (want []string) {
		var names []string
		for i := 0; i < len(lines); {
			at := i + 1
			if withoutEnd(lines[i]) == "" {
				i++
				continue
			}
			fields, n := csvRow(lines[i:], limit)
			ok := fields != nil && isText(strings.Join(lines[i:i+n], ""))
			i += n
			if names == nil {
				seen := map[string]bool{"": true}
				for _, name := range fields {
					if seen[name] {
						ok = false
					}
					seen[name] = true
				}
				if !ok {
					return append(want, "end")
				}
				names = fields
				continue
			}
			var payload []byte
			if ok = ok && len(fields) == len(names); ok {
				var err error
				payload, err = fake{}.FromFields(names, fields)
				ok = err == nil && fake.Check(fake{}, payload) == nil
			}
			if ok {
				want = append(want, string(payload))
			} else {
				want = append(want, fmt.Sprintf("! stdin:%d", at))
			}
		}
		return want
	})
}

// csvRow returns the fields of the row that starts on the first line and how
// many lines it has: nil and 1 if it is malformed or too long.
func csvRow(lines []string, limit int) ([]string, int) {
	text := strings.Join(lines, "")
	r := csv.NewReader(strings.NewReader(text))
	fields, err := r.Read()
	row := text[:r.InputOffset()]
	if err != nil || len(withoutEnd(row)) > limit {
		return nil, 1
	}
	n := strings.Count(row, "\n")
	if !strings.HasSuffix(row, "\n") {
		n++
	}
	return fields, n
}
