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

// wait waits until there is a record to take. The error is the source's end:
// io.EOF, or why it could not be read on.
func (l *lookAhead) wait(ctx context.Context) error {
	if l.head != nil {
		return nil
	}
	select {
	case r, ok := <-l.records:
		if !ok {
			return l.end
		}
		l.head = &r
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
