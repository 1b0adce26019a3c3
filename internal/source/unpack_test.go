package source

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gzipped(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstded(t testing.TB, content string, o ...zstd.EOption) string {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append(o, zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompressedByContent(t *testing.T) {
	dir := t.TempDir()
	skippable := "\x5e\x2a\x4d\x18\x03\x00\x00\x00abc"
	want := []string{`{"line":"a"}`, `{"line":"b"}`}
	for what, in := range map[string]string{
		"plain": "a\nb\n", "gzip": gzipped(t, "a\nb\n"), "gzip members": gzipped(t, "a\n") + gzipped(t, "") + gzipped(t, "b"),
		"zstd": zstded(t, "a\nb\n"), "zstd frames": zstded(t, "a\n") + skippable + zstded(t, "b\n"), "zstd after a skippable frame": skippable + zstded(t, "\ufeffa\nb\n"),
	} {
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in))} {
			_, shown := drain(t, fromReader(t, r, Options{}))
			equal(t, what+", "+how, shown, want)
		}
		for _, name := range []string{"x.txt", "x.gz", "x.zst"} { // the name does not matter
			s, err := Files([]string{write(t, dir, name, in)}, nil, fake{}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, shown := drain(t, s)
			equal(t, what+" in "+name, shown, want)
		}
	}
	s, err := Files([]string{write(t, dir, "x.csv.zst", zstded(t, "a\n1\n"))}, nil, fake{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, shown := drain(t, s)
	equal(t, "csv", shown, []string{`{"a":"1"}`})
}

// Cut anywhere, the whole lines before the cut are delivered, and then an error
// names file, line and remedy.
func TestTruncated(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var content strings.Builder
	for i := range 100 {
		fmt.Fprintf(&content, "line %d\n", i*i*7919%1000)
	}
	lines := strings.Split(content.String(), "\n")
	// zstd gives whole blocks only, so it needs several.
	var blocks bytes.Buffer
	w, err := zstd.NewWriter(&blocks, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines[:len(lines)-1] {
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			t.Fatal(err)
		}
		if i%20 == 19 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for kind, packed := range map[string]string{"gzip": gzipped(t, content.String()), "zstd": blocks.String()} {
		name := map[string]string{"gzip": "x.gz", "zstd": "x.zst"}[kind]
		delivered := 0
		for cut := 0; cut < len(packed); cut++ {
			if cut > 40 && cut < len(packed)-40 && cut%9 != 0 {
				continue // inside the data one byte is like another
			}
			write(t, dir, name, packed[:cut])
			s, err := Files([]string{name}, nil, fake{}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			records, shown := drain(t, s)
			want := fmt.Sprintf("end: read %s:%d: the %s data is truncated; copy or download it again: unexpected EOF", name, len(records)+1, kind)
			if got := shown[len(shown)-1]; got != want {
				t.Fatalf("%s cut at %d of %d:\n got %s\nwant %s", kind, cut, len(packed), got, want)
			}
			for i, r := range records {
				if string(r.Raw) != lines[i] {
					t.Fatalf("%s cut at %d: record %d is %q", kind, cut, i, r.Raw)
				}
			}
			delivered = max(delivered, len(records))
		}
		if delivered < 60 {
			t.Errorf("%s: never more than %d records before the error", kind, delivered)
		}
	}
}

func TestDamaged(t *testing.T) {
	for kind, packed := range map[string]string{"gzip": gzipped(t, "a\nb\n"), "zstd": zstded(t, "a\nb\n")} {
		for what, in := range map[string]string{"checksum": packed[:len(packed)-1] + "\xee", "garbage behind": packed + "garbage of some length"} {
			_, shown := drain(t, fromReader(t, strings.NewReader(in), Options{}))
			if kind == "gzip" && what == "checksum" {
				in = packed[:len(packed)-5] + "\xee" + packed[len(packed)-4:]
				_, shown = drain(t, fromReader(t, strings.NewReader(in), Options{}))
			}
			line := 3
			if kind == "zstd" && what == "checksum" {
				line = 1 // of a block that fails its checksum nothing is given
			}
			if last := shown[len(shown)-1]; !strings.HasPrefix(last, fmt.Sprintf("end: read stdin:%d: the %s data is damaged; copy or download it again: ", line, kind)) {
				t.Errorf("%s, %s: %q", kind, what, shown)
			}
		}
	}
	_, shown := drain(t, fromReader(t, strings.NewReader("\x1f\x8b\x08\xe0"+strings.Repeat("\x00", 30)), Options{}))
	equal(t, "header", shown, []string{"end: read stdin:1: the gzip data is damaged; copy or download it again: gzip: invalid header"})
	// A frame that asks for a window of 2 GiB.
	_, shown = drain(t, fromReader(t, strings.NewReader("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), Options{}))
	if len(shown) != 1 || !strings.Contains(shown[0], "window of more than 128 MiB; decompress it first with zstd -d --long=31") {
		t.Errorf("window: %q", shown)
	}
}

// allocated runs f and returns the bytes it allocated in all, which bounds what
// the heap can have grown by whenever one looked.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// repeated gives a block n times.
type repeated struct {
	block []byte
	n     int
	at    int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.block[r.at:])
	if r.at += n; r.at == len(r.block) {
		r.at = 0
		r.n--
	}
	return n, nil
}

func TestLineOf100MB(t *testing.T) {
	for format, want := range map[Format][]string{
		FormatLines:  {`{"line":"a"}`, "! stdin:2: line is longer than 1048576 bytes", `{"line":"b"}`},
		FormatNDJSON: {"! stdin:1: line is not a JSON object", "! stdin:2: line is longer than 1048576 bytes", "! stdin:3: line is not a JSON object"},
		FormatCSV:    {"! stdin:2: row is longer than 1048576 bytes", `{"a":"b"}`},
	} {
		used := allocated(func() {
			in := io.MultiReader(strings.NewReader("a\n"), &repeated{block: bytes.Repeat([]byte(`"x{`), 1_000_000/3), n: 101}, strings.NewReader("\nb\n"))
			records, shown := drain(t, fromReader(t, in, Options{Format: format}))
			equal(t, string(format), shown, want)
			for _, r := range records {
				if len(r.Raw) > rawPrefix+len("a\n") {
					t.Errorf("Raw of %d bytes", len(r.Raw))
				}
			}
		})
		if used > 6<<20 {
			t.Errorf("%s: %d bytes allocated", format, used)
		}
	}
}

// A quote forgotten on line 2 of a file of 2 MB costs that line and no memory.
func TestForgottenQuoteInALargeFile(t *testing.T) {
	const rows = 150_000
	in := io.MultiReader(strings.NewReader("a,b\n\"x,y\n"), &repeated{block: []byte("123,45678\n"), n: rows})
	s, err := Files(nil, iotest.DataErrReader(in), quick{}, Options{Format: FormatCSV})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Next()
	if err != nil || r.Err == nil || r.Err.Error() != "stdin:2: quoted field is not closed within 1048576 bytes" {
		t.Fatalf("first record: error %v, %v", r.Err, err)
	}
	w := s.(*files).current.(*csvReader).in
	good := 0
	for ; err == nil; r, err = s.Next() {
		if r.Err == nil {
			good++
		}
	}
	if good != rows || err != io.EOF {
		t.Errorf("%d good rows of %d, then %v", good, rows, err)
	}
	if size := len(w.buf); size > 1<<20+bufferSize {
		t.Errorf("a buffer of %d bytes", size)
	}
}

func TestBomb(t *testing.T) {
	block := "\n" + strings.Repeat("\x00", 1<<20-1) // a blank first line, then lines that are too long
	members := map[string]string{"gzip": gzipped(t, block), "zstd": zstded(t, block)}
	for kind, ratio := range map[string]int{"gzip": 500, "zstd": 0} {
		bomb := strings.Repeat(members[kind], 68)
		path := filepath.Join(t.TempDir(), "bomb")
		if err := os.WriteFile(path, []byte(bomb), 0o600); err != nil {
			t.Fatal(err)
		}
		used := allocated(func() {
			s, err := Files([]string{path}, nil, fake{}, Options{MaxRatio: ratio, MaxLine: 1000})
			if err != nil {
				t.Fatal(err)
			}
			records, shown := drain(t, s)
			last := shown[len(shown)-1]
			if len(records) != 1 || !strings.HasPrefix(last, "end: read "+path+":3: the "+kind+" data expands more than ") || !strings.Contains(last, "decompress it first") {
				t.Errorf("%s: %d records, then %s", kind, len(records), last)
			}
		})
		if used > 16<<20 {
			t.Errorf("%s: %d bytes allocated", kind, used)
		}
		// Any ratio is fine below the floor.
		_, shown := drain(t, fromReader(t, strings.NewReader(members[kind]), Options{MaxRatio: 1, MaxLine: 1000}))
		equal(t, kind, shown, []string{"! stdin:2: line is longer than 1000 bytes"})
	}
	_, shown := drain(t, fromReader(t, strings.NewReader(strings.Repeat(members["zstd"], 68)), Options{MaxRatio: 1e9, MaxLine: 1000}))
	if len(shown) != 68 || shown[67] != "! stdin:69: line is longer than 1000 bytes" {
		t.Errorf("a ratio that is allowed: %d records, the last %s", len(shown), shown[len(shown)-1])
	}
}

// TestTheLongestLineIsTaken: as long as may be, and one byte more; its end does not count.
func TestTheLongestLineIsTaken(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", ""} {
		_, shown := drain(t, fromReader(t, strings.NewReader(strings.Repeat("x", 1<<20+1)+"\n"+strings.Repeat("x", 1<<20)+end), Options{}))
		if len(shown) != 2 || shown[0] != "! stdin:1: line is longer than 1048576 bytes" || strings.HasPrefix(shown[1], "!") {
			t.Errorf("with %q at the end: %.100q", end, shown)
		}
	}
}

// TestTheRatioOfUnpackingIsTheBound: data that are nearly as dense as may be are read, and
// those that are a little denser are a bomb.
func TestTheRatioOfUnpackingIsTheBound(t *testing.T) {
	member := gzipped(t, strings.Repeat("x\n", 1<<19))
	packed := strings.Repeat(member, 80)
	ratio := 80 << 20 / len(packed)
	for allowed, bomb := range map[int]bool{ratio + ratio/20: false, ratio - ratio/20: true} {
		unpacked, err := unpack(strings.NewReader(packed), "", allowed)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, unpacked)
		if bomb != (err != nil) || bomb && !strings.Contains(err.Error(), fmt.Sprintf("more than %d-fold", allowed)) || !bomb && n != 80<<20 {
			t.Errorf("%d-fold where %d is allowed: %d bytes, %v", ratio, allowed, n, err)
		}
	}
}

// Without an option the bound is 100-fold, for both compressions; what is a little less dense,
// which is more than texts are, is read.
func TestInputMayExpandAHundredfold(t *testing.T) {
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 128<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	for _, kind := range []string{"gzip", "zstd"} {
		for zeros, bomb := range map[int]bool{60: false, 300: true} { // to each byte of noise
			var plain strings.Builder
			for part := range slices.Chunk(noise, 1<<10) {
				plain.Write(part)
				plain.WriteString(strings.Repeat("\x00", zeros<<10))
			}
			packed := gzipped(t, plain.String())
			if kind == "zstd" {
				packed = zstded(t, plain.String())
			}
			if bomb != (plain.Len()/len(packed) >= 100) {
				t.Fatalf("%s of %d-fold is no such input", kind, plain.Len()/len(packed))
			}
			unpacked, err := unpack(strings.NewReader(packed), "", o.MaxRatio)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, unpacked)
			if bomb != (err != nil) || bomb && !strings.Contains(err.Error(), "more than 100-fold") || !bomb && n != int64(plain.Len()) {
				t.Errorf("%s of %d-fold: %d of %d bytes, %v", kind, plain.Len()/len(packed), n, plain.Len(), err)
			}
		}
	}
}
