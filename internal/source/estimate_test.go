package source

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

func TestEstimateComesCloseFromTheFirstRecordsOn(t *testing.T) {
	var lines strings.Builder
	const n = 20_000
	for i := range n {
		fmt.Fprintf(&lines, "%d %x\n", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)})) // barely packs
	}
	dir := t.TempDir()
	plain, packed := filepath.Join(dir, "plain.txt"), filepath.Join(dir, "packed.txt.gz")
	if err := os.WriteFile(plain, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(packed)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	_, _ = io.WriteString(z, lines.String())
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, c := range []struct {
		files []string
		total int
	}{{[]string{plain}, n}, {[]string{packed}, n}, {[]string{plain, plain}, 2 * n}} {
		src, err := Files(c.files, nil, fake{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if e := Estimate(src); e != -1 {
			t.Errorf("%v: estimate %d before anything was read", c.files, e)
		}
		if b := Basis(src); b != "nothing of its input has been read yet" {
			t.Errorf("%v: %s", c.files, b)
		}
		for i := 0; ; i++ {
			if _, err := src.Next(); err != nil {
				break
			}
			if e := Estimate(src); i%1000 == 999 && (e < int64(c.total)*8/10 || e > int64(c.total)*12/10) {
				t.Errorf("%v: estimate %d after %d records, there are %d", c.files, e, i+1, c.total)
			}
		}
		if e := Estimate(Limit(src, 10)); e != 10 {
			t.Errorf("estimate %d of the first 10", e)
		}
		if b := Basis(src); !strings.HasPrefix(b, "by the size of its input") || Basis(Limit(src, 10)) != "reading stops there (--limit)" || Basis(Limit(src, n*n)) != b {
			t.Errorf("%v: %s", c.files, b)
		}
	}
	stdin, err := Files(nil, strings.NewReader("a\nb\n"), fake{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Next(); err != nil {
		t.Fatal(err)
	}
	if e := Estimate(stdin); e != -1 {
		t.Errorf("estimate %d of stdin, which has no size", e)
	}
	if b := Basis(stdin); !strings.Contains(b, "stdin, which has no size") {
		t.Errorf("stdin: %s", b)
	}
	if r, err := Repeat(7, "", fake{}); err != nil || Estimate(r) != 7 || Basis(r) != "so many were asked for" {
		t.Errorf("7 generated ones: %d, %s", Estimate(r), Basis(r))
	}
}
