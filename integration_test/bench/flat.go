package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// asynq's scripts of v0.26.0 that take a task and close one, as they are.
var (
	dequeue = redis.NewScript(`
if redis.call("EXISTS", KEYS[2]) == 0 then
	local id = redis.call("RPOPLPUSH", KEYS[1], KEYS[3])
	if id then
		local key = ARGV[2] .. id
		redis.call("HSET", key, "state", "active")
		redis.call("HDEL", key, "pending_since")
		redis.call("ZADD", KEYS[4], ARGV[1], id)
		return redis.call("HGET", key, "msg")
	end
end
return nil`)
	done = redis.NewScript(`
if redis.call("LREM", KEYS[1], 0, ARGV[1]) == 0 then
  return redis.error_reply("NOT FOUND")
end
if redis.call("ZREM", KEYS[2], ARGV[1]) == 0 then
  return redis.error_reply("NOT FOUND")
end
if redis.call("DEL", KEYS[3]) == 0 then
  return redis.error_reply("NOT FOUND")
end
local n = redis.call("INCR", KEYS[4])
if tonumber(n) == 1 then
	redis.call("EXPIREAT", KEYS[4], ARGV[2])
end
local total = redis.call("GET", KEYS[5])
if tonumber(total) == tonumber(ARGV[3]) then
	redis.call("SET", KEYS[5], 1)
else
	redis.call("INCR", KEYS[5])
end
return redis.status_reply("OK")
`)
)

// flatOut is how many tasks a second this Redis can do: asynq's scripts and that of weir's
// outcomes, one call for each task, in full pipelines and nothing else.
func flatOut(b *bench, n int64) (sample, error) {
	if err := b.run("weir-enqueue", load{Type: "noop", N: n}); err != nil {
		return nil, err
	}
	for _, s := range []*redis.Script{dequeue, done} {
		if err := s.Load(b.ctx, b.rdb).Err(); err != nil {
			return nil, err
		}
	}
	records, err := b.records(n)
	if err != nil {
		return nil, err
	}
	const lane, full = "noop", 200
	taking := []string{queue.Pending(lane), queue.Paused(lane), queue.Active(lane), queue.Lease(lane)}
	later := time.Now().Add(time.Hour).Unix()
	began := time.Now()
	for from := int64(0); from < n; from += full {
		upto := min(n, from+full)
		pipe := b.rdb.Pipeline()
		for range upto - from {
			dequeue.EvalSha(b.ctx, pipe, taking, later, queue.TaskPrefix(lane))
		}
		for _, args := range records[from:upto] {
			pipe.Do(b.ctx, args...)
		}
		for seq := from; seq < upto; seq++ {
			id := batch.TaskID(batchName, seq)
			keys := []string{queue.Active(lane), queue.Lease(lane), queue.TaskPrefix(lane) + id, "asynq:{noop}:processed:day", "asynq:{noop}:processed"}
			done.EvalSha(b.ctx, pipe, keys, id, later, int64(math.MaxInt64))
		}
		if _, err := pipe.Exec(b.ctx); err != nil {
			return nil, err
		}
	}
	s := sample{rate: float64(n) / time.Since(began).Seconds()}
	if left, err := b.leftOurs(n); left != 0 || err != nil {
		return nil, fmt.Errorf("%d tasks have no outcome: %w", left, err)
	}
	return s, nil
}

// records are the calls that record the outcome of each of n tasks, as the ledger makes
// them.
func (b *bench) records(n int64) (calls [][]any, err error) {
	outcome := func(seq int64) *batch.Outcome {
		return &batch.Outcome{Seq: seq, State: batch.OK, Attempts: 1, Worker: "bench:1", Result: []byte("{}")}
	}
	// One for real, of a batch that goes then, so that Redis knows the script.
	l := batch.NewLedger(b.rdb)
	if _, err := l.Create(b.ctx, "known", batch.Options{Type: "noop", KeepMS: 1000}); err != nil {
		return nil, err
	}
	if _, err := l.Record(b.ctx, "known", outcome(0), 0, nil); err != nil {
		return nil, err
	}
	keeper := redis.NewClient(b.servers[0].rdb.Options())
	defer keeper.Close()
	keeper.AddHook(keep{&calls})
	l = batch.NewLedger(keeper)
	for seq := range n {
		if _, err := l.Record(b.ctx, batchName, outcome(seq), time.Millisecond, nil); !errors.Is(err, errKept) {
			return nil, fmt.Errorf("the ledger did not call, or call again: %w", err)
		}
	}
	if int64(len(calls)) != n {
		return nil, fmt.Errorf("%d calls of the ledger for %d outcomes", len(calls), n)
	}
	return calls, nil
}

// keep is a hook that keeps what a client would call.
type keep struct{ calls *[][]any }

var errKept = errors.New("kept")

func (k keep) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (k keep) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		*k.calls = append(*k.calls, cmd.Args())
		cmd.SetErr(errKept)
		return errKept
	}
}

func (k keep) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			*k.calls = append(*k.calls, cmd.Args())
			cmd.SetErr(errKept)
		}
		return errKept
	}
}
