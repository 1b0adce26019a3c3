package source

import (
	"io"
	"os"
	"sync/atomic"
)

// Estimate is about how many records s will yield in all, from how much of the
// input they took so far, or -1 where nothing tells. It may be called at any time.
func Estimate(s Source) int64 {
	if e, ok := s.(interface{ estimate() int64 }); ok {
		return e.estimate()
	}
	return -1
}

// Basis says in words by what Estimate knows, or why it does not.
func Basis(s Source) string {
	if b, ok := s.(interface{ basis() string }); ok {
		return b.basis()
	}
	return "the size of its input is not known"
}

// progress measures how far files have been read.
type progress struct {
	size     int64        // of all files, as they lie on disk; 0 if one has no size
	packed   atomic.Int64 // bytes read from the files
	unpacked atomic.Int64 // bytes that came out of them
	records  atomic.Int64 // yielded
	bytes    atomic.Int64 // that these records took, unpacked
}

// sizeOf adds up the files; 0 if one is stdin, a pipe or a device.
func sizeOf(names []string) (size int64) {
	for _, name := range names {
		info, err := os.Stat(name)
		if name == stdinName || err != nil || !info.Mode().IsRegular() {
			return 0
		}
		size += info.Size()
	}
	return size
}

func (p *progress) yielded(r *Record) {
	p.records.Add(1)
	p.bytes.Add(int64(len(r.Raw)) + 1)
}

func (p *progress) estimate() int64 {
	packed, unpacked, records, bytes := p.packed.Load(), p.unpacked.Load(), p.records.Load(), p.bytes.Load()
	if p.size == 0 || packed == 0 || bytes == 0 {
		return -1
	}
	whole := float64(p.size) * float64(unpacked) / float64(packed) // unpacked
	return max(records, int64(float64(records)*whole/float64(bytes)))
}

func (r *repeat) estimate() int64 { return r.n }

func (l *limit) estimate() int64 {
	if e := Estimate(l.Source); e >= 0 {
		return min(l.n, e)
	}
	return l.n
}

// counted counts what is read from r.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (p *progress) basis() string {
	switch {
	case p.size == 0:
		return "its input is a pipe, a device or stdin, which has no size"
	case p.estimate() < 0:
		return "nothing of its input has been read yet"
	}
	return "by the size of its input, and how many records what was read of it had"
}

func (r *repeat) basis() string { return "so many were asked for" }

func (l *limit) basis() string {
	if e := Estimate(l.Source); e >= 0 && e < l.n {
		return Basis(l.Source)
	}
	return "reading stops there (--limit)"
}
