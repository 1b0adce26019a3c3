package feed

import (
	"context"

	"github.com/weir-tasks/weir/internal/source"
)

// lookAhead reads a source in its own goroutine, a bounded number of records
// ahead, so that a slow pipe's records are enqueued as they come.
type lookAhead struct {
	records chan source.Record
	end     error // valid once records is closed
}

func look(ctx context.Context, src source.Source) *lookAhead {
	l := &lookAhead{records: make(chan source.Record, chunk)}
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

// next waits for a record and returns it with those that are there too, up to n.
// The error is the source's end: io.EOF, or why it could not be read on.
func (l *lookAhead) next(ctx context.Context, n int) ([]source.Record, error) {
	var got []source.Record
	select {
	case r, ok := <-l.records:
		if !ok {
			return nil, l.end
		}
		got = append(got, r)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for len(got) < n {
		select {
		case r, ok := <-l.records:
			if !ok {
				return got, l.end
			}
			got = append(got, r)
		default:
			return got, nil
		}
	}
	return got, nil
}
