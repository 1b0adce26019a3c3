package produce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/retry"
	"github.com/weir-tasks/weir/internal/sign"
	"github.com/weir-tasks/weir/internal/source"
)

// failuresRead is how many dead letters are read at once.
const failuresRead = 500

// failures is a source.Source of the payloads of a batch's failed tasks.
type failures struct {
	ctx     context.Context
	ledger  *batch.Ledger
	name    string
	codec   source.Codec
	match   func(*batch.Outcome) bool
	trouble func(error, time.Duration)
	typ     string
	keys    *sign.Keys // nil: letters need not be signed

	listed bool
	seqs   []int64 // not read yet
	read   []*batch.Outcome
	closed atomic.Bool
}

// Failures is the source of the payloads of those failed tasks of a batch that match
// takes, in order of seq. It is the same source each time as long as the batch has no
// more failures. Where tasks are signed, a payload without a signature, which may have
// expired, is no record: it is not what its producer has signed.
func (p *Producer) Failures(ctx context.Context, name, taskType string, codec source.Codec, match func(*batch.Outcome) bool) source.Source {
	return &failures{ctx: ctx, ledger: p.Ledger, name: name, typ: taskType, codec: codec, match: match, trouble: p.Trouble, keys: p.Keys}
}

func (s *failures) Next() (source.Record, error) {
	for {
		if s.closed.Load() {
			return source.Record{}, os.ErrClosed
		}
		if len(s.read) == 0 {
			if err := s.readMore(); err != nil {
				return source.Record{}, err
			}
			continue
		}
		o := s.read[0]
		s.read = s.read[1:]
		if !s.match(o) {
			continue
		}
		r := source.Record{Raw: fmt.Appendf(nil, "%d %s", o.Seq, o.Payload)}
		err := s.codec.Check(o.Payload)
		if err == nil {
			err = s.signed(o)
		}
		if err != nil {
			r.Err = fmt.Errorf("seq %d of batch %s: %w", o.Seq, s.name, err)
		} else {
			r.Payload = o.Payload
		}
		return r, nil
	}
}

// signed says that a dead letter has the payload that its task was signed with.
func (s *failures) signed(o *batch.Outcome) error {
	if s.keys == nil {
		return nil
	}
	task := sign.Task{ID: batch.TaskID(s.name, o.Seq), Type: s.typ, Payload: o.Payload}
	err := s.keys.Verify(task, o.Signature, time.Now())
	if err == nil || errors.Is(err, sign.ErrExpired) {
		return nil
	}
	return fmt.Errorf("its payload in Redis cannot be signed again: %w; enqueue it from its source", err)
}

// readMore reads the next dead letters. io.EOF if there are none.
func (s *failures) readMore() error {
	if s.listed && len(s.seqs) == 0 {
		return io.EOF
	}
	return retry.Until(s.ctx, func() (err error) {
		if !s.listed {
			s.seqs, err = s.ledger.FailedSeqs(s.ctx, s.name)
			s.listed = err == nil
			return err
		}
		n := min(failuresRead, len(s.seqs))
		if s.read, err = s.ledger.Failures(s.ctx, s.name, s.seqs[:n]); err == nil {
			s.seqs = s.seqs[n:]
		}
		return err
	}, s.trouble)
}

// Reopen reads them once more.
func (s *failures) Reopen() (source.Source, error) {
	return &failures{ctx: s.ctx, ledger: s.ledger, name: s.name, typ: s.typ, codec: s.codec, match: s.match, trouble: s.trouble, keys: s.keys}, nil
}

func (s *failures) Close() error {
	s.closed.Store(true)
	return nil
}
