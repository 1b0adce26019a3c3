package source

import (
	"strings"
	"testing"
)

func TestCSV(t *testing.T) {
	for _, g := range []golden{
		{name: "empty"},
		{name: "header only", in: "a,b\n"},
		{name: "blank lines", in: "\n\r\na,b\n\n1,2\n\n\n3,bad\n", want: []string{`{"a":"1","b":"2"}`, `! stdin:8: field "b": is bad`}},
		{name: "mark, CRLF, no last newline", in: "\ufeffa,b\r\n1,2\r\n3,4\r", want: []string{`{"a":"1","b":"2"}`, `{"a":"3","b":"4"}`}, raw: []string{"a,b\n1,2", "3,4"}},
		{name: "mark before a quote", in: "\ufeff\"a\"\n1\n", want: []string{`{"a":"1"}`}},
		{name: "empty fields", in: "a,b\n,\n\"\",\"\"\n", want: []string{`{"a":"","b":""}`, `{"a":"","b":""}`}},
		{name: "quotes", in: "\"a\"\n\"x, \"\"y\"\"\"\n x \n", want: []string{`{"a":"x, \"y\""}`, `{"a":" x "}`}},
		{
			name: "several lines", in: "a,b\n\"1\r\n2\n\n3\",4\nbad,5\n\"6\n7\",bad\n8,9\n",
			want: []string{`{"a":"1\n2\n\n3","b":"4"}`, `! stdin:6: field "a": is bad`, `! stdin:7: field "b": is bad`, `{"a":"8","b":"9"}`},
			raw:  []string{"a,b\n\"1\r\n2\n\n3\",4", "bad,5", "\"6\n7\",bad", "8,9"},
		},
		{
			name: "number of fields", in: "a,b\n1\n1,2,3\n1,2\n",
			want: []string{"! stdin:2: row has 1 fields, its header 2", "! stdin:3: row has 3 fields, its header 2", `{"a":"1","b":"2"}`},
			raw:  []string{"a,b\n1", "1,2,3", "1,2"},
		},
		{
			name: "quotes in wrong places", in: "a,b\nx,y\"z\n\"x\"y,z\n1,2\n",
			want: []string{
				"! stdin:2: quote in an unquoted field (column 4); quote the field and write the quote twice",
				"! stdin:3: text behind a closing quote (column 4); a quote inside quotes is written twice",
				`{"a":"1","b":"2"}`,
			},
		},
		{
			name: "a forgotten quote takes its line only", in: "a,b\n1,\"2\n3,4\n5,\"6\"\n7,8\n",
			want: []string{
				"! stdin:2: quoted field goes on to line 4, and there: text behind a closing quote (column 4); a quote inside quotes is written twice",
				`{"a":"3","b":"4"}`, `{"a":"5","b":"6"}`, `{"a":"7","b":"8"}`,
			},
			raw: []string{"a,b\n1,\"2", "3,4", `5,"6"`, "7,8"},
		},
		{
			name: "a forgotten quote to the end", in: "a,b\n1,\"2\n3,4\n\n5,6",
			want: []string{"! stdin:2: quoted field is not closed before the end of the file", `{"a":"3","b":"4"}`, `{"a":"5","b":"6"}`},
		},
		{
			name: "a forgotten quote and more than MaxLine", in: "a,b\n1,\"2\n3,4\n5,6\n7,8\n", max: 12,
			want: []string{"! stdin:2: quoted field is not closed within 12 bytes", `{"a":"3","b":"4"}`, `{"a":"5","b":"6"}`, `{"a":"7","b":"8"}`},
		},
		{name: "quote at the very end", in: "a\n\"", want: []string{"! stdin:2: quoted field is not closed before the end of the file"}},
		{name: "too long", in: "a,b\n12345,6\n1,2", max: 6, want: []string{"! stdin:2: row is longer than 6 bytes", `{"a":"1","b":"2"}`}, raw: []string{"a,b\n12345,", "1,2"}},
		{name: "NUL and UTF-8", in: "a,b\n1,\x00\n\"1\n\xff\",2\n1,2\n", want: []string{"! stdin:2: byte 3 is NUL", "! stdin:3: byte 4 is not valid UTF-8", `{"a":"1","b":"2"}`}},
		{name: "same name twice", in: "a,b,a\n1,2,3\n", want: []string{`end: read stdin:1: CSV header: columns 1 and 3 are both named "a"`}},
		{name: "no name", in: "\na,,b\n1,2,3\n", want: []string{"end: read stdin:2: CSV header: column 2 has no name"}},
		{name: "malformed header", in: "a,b\"\n1,2\n", want: []string{"end: read stdin:1: CSV header: quote in an unquoted field (column 4); quote the field and write the quote twice"}},
		{name: "header too long", in: "abcdef\n1\n", max: 5, want: []string{"end: read stdin:1: CSV header: row is longer than 5 bytes"}},
		{name: "header not text", in: "a\xff\n1\n", want: []string{"end: read stdin:1: CSV header: byte 2 is not valid UTF-8"}},
		{name: "header of two lines", in: "\"a\nb\",c\n1,bad\n", want: []string{`! stdin:3: field "c": is bad`}},
		{
			name: "rows over several buffers", in: "a\n\"" + strings.Repeat("x\n", bufferSize) + "\"\ny\n",
			want: []string{`{"a":"` + strings.Repeat(`x\n`, bufferSize) + `"}`, `{"a":"y"}`},
		},
	} {
		g.format = FormatCSV
		t.Run(g.name, g.check)
	}
}
