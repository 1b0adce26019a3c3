package invariant

import (
	"context"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// segment is how many seqs one bitmap key holds.
const segment = 1 << 20

// record is what Redis has of a batch.
type record struct {
	fields map[string]string
	bitmap map[int64][]byte // by segment
	added  int64            // entries the stream ever had, or -1 where Redis does not tell
	stream []string         // outcome lines still there
	ends   int              // end entries still there
	dead   map[int64]string
	lanes  []string
}

func key(name, rest string) string { return "weir:{" + name + "}:" + rest }

func asynqKey(lane, rest string) string { return "asynq:{" + lane + "}:" + rest }

func (r *record) num(field string) int64 {
	n, err := strconv.ParseInt(r.fields[field], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// n is the number of tasks, -1 while it is not known.
func (r *record) n() int64 { return r.num("n") }

// has says that the bitmap has an outcome for a seq.
func (r *record) has(seq int64) bool {
	k, offset := seq/segment, seq%segment
	if r.fields["full:"+strconv.FormatInt(k, 10)] != "" {
		return true
	}
	b := r.bitmap[k]
	return offset/8 < int64(len(b)) && b[offset/8]&(0x80>>(offset%8)) != 0
}

// outcomes counts the bitmap.
func (r *record) outcomes() (n int64) {
	for _, b := range r.bitmap {
		for _, c := range b {
			n += int64(bits.OnesCount8(c))
		}
	}
	for f := range r.fields {
		if strings.HasPrefix(f, "full:") {
			n += segment
		}
	}
	return n
}

// readBits reads the batch's hash and bitmap. The hash is read first: a segment that
// becomes full in between is then in neither, and read again.
func readBits(ctx context.Context, rdb redis.UniversalClient, name string) (*record, error) {
	for {
		r := &record{bitmap: make(map[int64][]byte)}
		var err error
		if r.fields, err = rdb.HGetAll(ctx, key(name, "batch")).Result(); err != nil {
			return nil, err
		}
		for k := int64(0); k*segment < max(r.num("next"), r.n()); k++ {
			b, err := rdb.Get(ctx, key(name, "bits:"+strconv.FormatInt(k, 10))).Bytes()
			if err != nil && err != redis.Nil {
				return nil, err
			}
			r.bitmap[k] = b
		}
		full, err := rdb.HGetAll(ctx, key(name, "batch")).Result()
		if err != nil {
			return nil, err
		}
		if fulls(full) == fulls(r.fields) {
			return r, nil
		}
	}
}

func fulls(fields map[string]string) (n int) {
	for f := range fields {
		if strings.HasPrefix(f, "full:") {
			n++
		}
	}
	return n
}

func readRecord(ctx context.Context, rdb redis.UniversalClient, name string) (*record, error) {
	r, err := readBits(ctx, rdb, name)
	if err == nil && len(r.fields) == 0 {
		err = fmt.Errorf("redis has none")
	}
	if err == nil {
		err = r.readStream(ctx, rdb, name)
	}
	if err == nil {
		err = r.readDead(ctx, rdb, name)
	}
	if err == nil {
		r.lanes, err = rdb.SMembers(ctx, key(name, "lanes")).Result()
	}
	if err != nil {
		return nil, fmt.Errorf("read batch %q: %w", name, err)
	}
	return r, nil
}

func (r *record) readStream(ctx context.Context, rdb redis.UniversalClient, name string) error {
	r.added = -1
	reply, err := rdb.Do(ctx, "XINFO", "STREAM", key(name, "out")).Result()
	if err == nil {
		r.added = entriesAdded(reply)
	}
	last := "-"
	for {
		entries, err := rdb.XRangeN(ctx, key(name, "out"), last, "+", 1000).Result()
		if err != nil {
			return err
		}
		for _, e := range entries {
			if line, ok := e.Values["o"].(string); ok {
				r.stream = append(r.stream, line)
			}
			if _, ok := e.Values["end"]; ok {
				r.ends++
			}
			last = "(" + e.ID
		}
		if len(entries) < 1000 {
			return nil
		}
	}
}

// entriesAdded finds it in a reply of XINFO STREAM, in either protocol's shape.
func entriesAdded(reply any) int64 {
	switch reply := reply.(type) {
	case map[any]any:
		if n, ok := reply["entries-added"].(int64); ok {
			return n
		}
	case []any:
		for i := 0; i+1 < len(reply); i += 2 {
			if n, ok := reply[i+1].(int64); ok && reply[i] == "entries-added" {
				return n
			}
		}
	}
	return -1
}

func (r *record) readDead(ctx context.Context, rdb redis.UniversalClient, name string) error {
	r.dead = make(map[int64]string)
	all := rdb.HScan(ctx, key(name, "dead"), 0, "", 1000).Iterator()
	for all.Next(ctx) {
		seq, err := strconv.ParseInt(all.Val(), 10, 64)
		if err != nil || !all.Next(ctx) {
			return fmt.Errorf("dead letter %q: %w", all.Val(), err)
		}
		r.dead[seq] = all.Val()
	}
	return all.Err()
}

// Sample looks at a running batch: where its checkpoint stands, and how many seqs
// below it are nowhere: without outcome and without a task in Redis.
func Sample(ctx context.Context, rdb redis.UniversalClient, name string) (Event, error) {
	e := Event{Kind: Sampled, Batch: name}
	r, err := readBits(ctx, rdb, name)
	if err != nil || len(r.fields) == 0 {
		return e, err
	}
	e.Next, e.Created = r.num("next"), r.fields["created"]
	lanes, err := rdb.SMembers(ctx, key(name, "lanes")).Result()
	if err != nil {
		return e, err
	}
	var open []int64
	for seq := range e.Next {
		if !r.has(seq) {
			open = append(open, seq)
		}
	}
	gone, err := withoutTask(ctx, rdb, name, lanes, open)
	if err != nil || len(gone) == 0 {
		return e, err
	}
	// A task goes only after its outcome is there: what has gone meanwhile has one now.
	if r, err = readBits(ctx, rdb, name); err != nil {
		return e, err
	}
	for _, seq := range gone {
		if !r.has(seq) {
			e.Ahead++
		}
	}
	return e, nil
}

func withoutTask(ctx context.Context, rdb redis.UniversalClient, name string, lanes []string, seqs []int64) (gone []int64, err error) {
	for len(seqs) > 0 {
		some := seqs[:min(len(seqs), 1000)]
		seqs = seqs[len(some):]
		found := make([][]*redis.IntCmd, len(some))
		_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, seq := range some {
				for _, lane := range lanes {
					found[i] = append(found[i], p.Exists(ctx, asynqKey(lane, fmt.Sprintf("t:%s:%d", name, seq))))
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, seq := range some {
			there := int64(0)
			for _, f := range found[i] {
				there += f.Val()
			}
			if there == 0 {
				gone = append(gone, seq)
			}
		}
	}
	return gone, nil
}
