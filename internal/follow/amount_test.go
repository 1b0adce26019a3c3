package follow

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/tasks"
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
	const large, small, all = 20, 1000, 1100
	record := func(from, to int64, result string) {
		for seq := from; seq < to; seq++ {
			if _, err := b.ledger.Record(t.Context(), "b", &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1, Result: []byte(result)}, 0, nil); err != nil {
				t.Error(err)
			}
		}
	}
	most := `"` + strings.Repeat("x", tasks.DefaultPolicy.MaxResult-2) + `"`
	record(0, large, most)
	record(large, large+small, `"x"`)
	var r reads
	b.rdb.AddHook(&r)
	var sink memory
	seen := func(o *batch.Outcome, _ time.Duration) error {
		if o.Seq == large+small-1 { // the next read is of these, by what was learned of the small ones
			record(large+small, all, most)
			b.seal(all)
		}
		return nil
	}
	if err := b.follow(&sink, Options{Seen: seen}); err != nil {
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
	if a.next() != readCount || readCount*int64(tasks.DefaultPolicy.MaxResult) > 2*readBytes {
		t.Errorf("after empty ones %d", a.next())
	}
	a.took([]batch.Entry{{Line: make([]byte, 2*readBytes)}})
	if a.next() != 1 {
		t.Errorf("after a huge one %d", a.next())
	}
}
