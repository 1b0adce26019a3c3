package feed

import (
	"context"
	"io"

	"github.com/weir-tasks/weir/internal/source"
)

// lookAhead reads a source in its own goroutine, a bounded number of records
// ahead, so that a slow pipe's records are enqueued as they come.
type lookAhead struct {
	records chan source.Record
	end     error          // valid once records is closed
	head    *source.Record // waited for and not taken
}

func look(ctx context.Context, src source.Source) *lookAhead {
	// The end stays as it is here only if Next calls runtime.Goexit.
	l := &lookAhead{records: make(chan source.Record, chunk), end: io.ErrUnexpectedEOF}
	go func() {
		defer close(l.records)
		for {
			r, err := src.Next()
			if err != nil {
				l.end = err
				return
			}
			select {
			case l.records <- r:
			case <-ctx.Done():
				l.end = context.Cause(ctx)
				return
			}
		}
	}()
	return l
}

// wait waits until there is a record to take; where it must not block, more tells whether
// there is one. The error is the source's end: io.EOF, or why it could not be read on.
func (l *lookAhead) wait(ctx context.Context, block bool) (more bool, err error) {
	if l.head != nil {
		return true, nil
	}
	var now chan struct{} // of a nil channel comes nothing
	if !block {
		now = closed
	}
	select {
	case r, ok := <-l.records:
		return l.got(r, ok)
	default:
	}
	select {
	case r, ok := <-l.records:
		return l.got(r, ok)
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-now:
		return false, nil
	}
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (l *lookAhead) got(r source.Record, ok bool) (more bool, err error) {
	if !ok {
		return false, l.end
	}
	l.head = &r
	return true, nil
}

// take returns the record that was waited for and those that are there too, up to n.
func (l *lookAhead) take(n int) []source.Record {
	got := []source.Record{*l.head}
	l.head = nil
	for len(got) < n {
		select {
		case r, ok := <-l.records:
			if !ok {
				return got // the next wait says so
			}
			got = append(got, r)
		default:
			return got
		}
	}
	return got
}
