package follow

import "github.com/weir-tasks/weir/internal/batch"

const (
	readCount = 64      // the most entries of one read
	readBytes = 8 << 20 // about the most bytes of one, but for a single entry that is larger
	readFirst = 8       // entries of the first read, whose size nobody knows
)

// amount says how many entries to read next. Redis takes a count and no size, and results may
// be small or of megabytes: so it goes by the largest of late, and grows by steps. The first
// read of larger ones may be of as many as small ones were: readCount bounds it. (A script
// could count bytes, at ten times the cost to Redis for each entry.)
type amount struct {
	size int64 // of the largest line of late, in bytes
	most int64
}

func (a *amount) next() int64 {
	return max(1, min(max(a.most, readFirst), readCount, readBytes/max(a.size, 1)))
}

// took learns from a read.
func (a *amount) took(entries []batch.Entry) {
	a.size /= 2
	for _, e := range entries {
		a.size = max(a.size, int64(len(e.Line)))
	}
	a.most = 4 * int64(len(entries))
}
