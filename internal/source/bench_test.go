package source

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// quick is a codec that costs next to nothing, so that the reading shows.
type quick struct{}

func (quick) FromLine(line string) ([]byte, error) {
	return append(append(append(make([]byte, 0, len(line)+8), `{"u":"`...), line...), `"}`...), nil
}

func (q quick) FromFields(_, values []string) ([]byte, error) { return q.FromLine(values[0]) }

func (quick) Check([]byte) error { return nil }

func benchmark(b *testing.B, format Format, pack func(string) string, header, line string) {
	const lines = 20_000
	in := pack(header + strings.Repeat(line, lines))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s, err := Files(nil, strings.NewReader(in), quick{}, Options{Format: format})
		if err != nil {
			b.Fatal(err)
		}
		for {
			r, err := s.Next()
			if err == io.EOF {
				break
			}
			if err != nil || r.Err != nil {
				b.Fatal(err, r.Err)
			}
			n++
		}
	}
	if n != b.N*lines {
		b.Fatal(fmt.Errorf("%d records, want %d", n, b.N*lines))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

func asIs(s string) string { return s }

func BenchmarkLines(b *testing.B) {
	benchmark(b, FormatLines, asIs, "", "https://example.com/some/path?query=1234567\n")
}

func BenchmarkLinesGzip(b *testing.B) {
	benchmark(b, FormatLines, func(s string) string { return gzipped(b, s) }, "", "https://example.com/some/path?query=1234567\n")
}

func BenchmarkLinesZstd(b *testing.B) {
	benchmark(b, FormatLines, func(s string) string { return zstded(b, s) }, "", "https://example.com/some/path?query=1234567\n")
}

func BenchmarkNDJSON(b *testing.B) {
	benchmark(b, FormatNDJSON, asIs, "", `{"url":"https://example.com/some/path?query=1234567"}`+"\n")
}

func BenchmarkCSV(b *testing.B) {
	benchmark(b, FormatCSV, asIs, "url,method,body\n", `https://example.com/some/path?query=1234567,GET,"with, ""quotes"""`+"\n")
}

func BenchmarkRepeat(b *testing.B) {
	b.ReportAllocs()
	s, err := Repeat(1<<62, `{"task_number":{n},"seconds":1}`, quick{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
