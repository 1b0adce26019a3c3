package follow

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
)

// reads is what each read of a stream has brought.
type reads struct {
	mu            sync.Mutex
	counts, bytes []int
}

func (r *reads) DialHook(next redis.DialHook) redis.DialHook { return next }
func (r *reads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (r *reads) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if read, ok := cmd.(*redis.XStreamSliceCmd); ok && err == nil {
			count, bytes := 0, 0
			for _, stream := range read.Val() {
				count += len(stream.Messages)
				for _, m := range stream.Messages {
					line, _ := m.Values["o"].(string)
					bytes += len(line)
				}
			}
			r.mu.Lock()
			r.counts, r.bytes = append(r.counts, count), append(r.bytes, bytes)
			r.mu.Unlock()
		}
		return err
	}
}

// One read does not bring more than a process has room for, however large results are, also
// after many small ones; those come in great numbers all the same, also after large ones.
func TestAReadIsOfBoundedSize(t *testing.T) {
	b := mini(t)
	const large, small, all = 100, 2000, 2200
	for seq := range int64(all) {
		o := &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1, Result: []byte(`"x"`)}
		if seq < large || seq >= large+small {
			o.Result = []byte(`"` + strings.Repeat("x", 256<<10) + `"`)
		}
		if _, err := b.ledger.Record(t.Context(), "b", o, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	b.seal(all)
	var r reads
	b.rdb.AddHook(&r)
	var sink memory
	if err := b.follow(&sink, Options{}); err != nil {
		t.Fatal(err)
	}
	if len(sink.seqs) != all || slices.Max(r.bytes) > 2*readBytes+readCount<<10 || slices.Max(r.counts) != readCount {
		t.Errorf("%d outcomes came, by reads of %v entries and %v bytes", len(sink.seqs), r.counts, r.bytes)
	}
}

// Of results that are as large as a read may be, each is a read.
func TestTheLargestResultsAreReadOneByOne(t *testing.T) {
	var a amount
	if a.next() != readFirst {
		t.Errorf("first %d", a.next())
	}
	a.took(make([]batch.Entry, readCount))
	if a.next() != readCount {
		t.Errorf("after empty ones %d", a.next())
	}
	a.took([]batch.Entry{{Line: make([]byte, 2*readBytes)}})
	if a.next() != 1 {
		t.Errorf("after a huge one %d", a.next())
	}
}
