package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	bombFloor  = 1 << 20   // bytes out before the ratio is looked at
	zstdWindow = 128 << 20 // what the zstd command accepts without --long
)

// unpack returns a reader of what r holds, decompressed if it begins as gzip or
// zstd does. name is only for files named as compressed but cut before that
// can be told. The decoders start no goroutines, so nothing needs closing.
func unpack(r io.Reader, name string, maxRatio int) (io.Reader, error) {
	raw := &counter{r: r}
	in := bufio.NewReaderSize(raw, 32<<10)
	kind, cut := sniff(in)
	if kind == "" {
		if named := namedCompression(name); cut && named != "" && raw.err == io.EOF {
			return nil, truncated(named, io.ErrUnexpectedEOF)
		}
		return in, nil
	}
	u := &unpacker{kind: kind, raw: raw, in: in, maxRatio: int64(maxRatio)}
	var err error
	if kind == "gzip" {
		u.r, err = gzip.NewReader(in)
	} else {
		u.r, err = zstd.NewReader(in,
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	}
	if err != nil {
		return nil, u.explain(err)
	}
	return u, nil
}

func namedCompression(name string) string {
	switch _, suffix := cutCompression(name); suffix {
	case ".gz":
		return "gzip"
	case ".zst":
		return "zstd"
	}
	return ""
}

// sniff tells the compression by the first bytes. It asks for one byte more
// only while those before fit, so that a short line typed at a terminal is not
// waited on. cut reports that the input ended while they still fitted.
func sniff(in *bufio.Reader) (kind string, cut bool) {
	for n := 1; ; n++ {
		head, err := in.Peek(n)
		kind, whole := match(head)
		switch {
		case kind == "":
			return "", false
		case whole:
			return kind, false
		case err != nil:
			return "", true
		}
	}
}

// match says what head may be the beginning of, and whether that is sure. The
// second zstd magic is that of its skippable frames, which pzstd starts with.
func match(head []byte) (kind string, whole bool) {
	for _, m := range []struct{ kind, magic, mask string }{
		{"gzip", "\x1f\x8b\x08", "\xff\xff\xff"},
		{"zstd", "\x28\xb5\x2f\xfd", "\xff\xff\xff\xff"},
		{"zstd", "\x50\x2a\x4d\x18", "\xf0\xff\xff\xff"},
	} {
		n := min(len(head), len(m.magic))
		same := 0
		for same < n && head[same]&m.mask[same] == m.magic[same] {
			same++
		}
		if same == n {
			return m.kind, n == len(m.magic)
		}
	}
	return "", false
}

// unpacker is a decompressor that counts, and says what went wrong in words.
type unpacker struct {
	kind     string
	r        io.Reader
	raw      *counter
	in       *bufio.Reader // over raw
	out      int64
	maxRatio int64
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	u.out += int64(n)
	if err != nil && err != io.EOF {
		return n, u.explain(err)
	}
	in := u.raw.n - int64(u.in.Buffered())
	if u.out > bombFloor && u.out/u.maxRatio > in {
		return n, fmt.Errorf("the %s data expands more than %d-fold (%d bytes into more than %d), "+
			"as a decompression bomb does; if it is meant, decompress it first and pass the result",
			u.kind, u.maxRatio, in, u.out)
	}
	return n, err
}

func (u *unpacker) explain(err error) error {
	switch {
	case u.raw.err != nil && u.raw.err != io.EOF:
		return u.raw.err // the disk's or the pipe's, not the data's
	case u.raw.err == io.EOF && u.in.Buffered() == 0 && (errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF):
		return truncated(u.kind, io.ErrUnexpectedEOF)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("the zstd data needs a window of more than %d MiB; "+
			"decompress it first with zstd -d --long=31: %w", zstdWindow>>20, err)
	}
	return fmt.Errorf("the %s data is damaged; copy or download it again: %w", u.kind, err)
}

func truncated(kind string, err error) error {
	return fmt.Errorf("the %s data is truncated; copy or download it again: %w", kind, err)
}

// counter counts what is read. Its error is final: a terminal asked again after
// its end would wait for more.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.err = err
	return n, err
}

// cutCompression splits a compression's suffix off a file name.
func cutCompression(name string) (base, suffix string) {
	lower := strings.ToLower(name)
	for _, s := range []string{".gz", ".zst"} {
		if strings.HasSuffix(lower, s) {
			return name[:len(name)-len(s)], s
		}
	}
	return name, ""
}
