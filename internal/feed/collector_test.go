package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/queue"
)

// enqueueOn makes asynq's client enqueue tasks through a collector.
func enqueueOn(t *testing.T, c *collector, seqs ...int64) {
	t.Helper()
	client := asynq.NewClientFromRedisClient(c)
	for _, seq := range seqs {
		if _, err := client.Enqueue(asynq.NewTask("t", nil), asynq.TaskID(batch.TaskID("b", seq)), asynq.Queue(lane)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasCollectedIsSentInOrderAndNotBefore(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		c := newCollector(b.rdb, queue.Normal)
		enqueueOn(t, c, 3, 1, 2)
		b.wantPending()
		if err := c.send(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantPending("b:3", "b:1", "b:2")
		if err := c.send(t.Context()); err != nil {
			t.Errorf("nothing to send: %v", err)
		}
		b.wantPending("b:3", "b:1", "b:2")
	})
}

func TestWhatWasDiscardedIsNotSent(t *testing.T) {
	b := mini(t)
	c := newCollector(b.rdb, queue.Normal)
	enqueueOn(t, c, 1, 2)
	c.discard()
	enqueueOn(t, c, 3)
	if err := c.send(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantPending("b:3")
}

func TestATaskThatIsThereAlreadyIsNoError(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		for _, seqs := range [][]int64{{1, 2}, {1, 2, 3}} {
			c := newCollector(b.rdb, queue.Normal)
			enqueueOn(t, c, seqs...)
			if err := c.send(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b.wantPending("b:1", "b:2", "b:3")
	})
}

// The scripts of a Redis that was restarted are loaded anew, and the order stays.
func TestScriptsThatRedisForgotAreLoadedAgain(t *testing.T) {
	for _, p := range queue.Priorities {
		t.Run(p.String(), func(t *testing.T) {
			both(t, func(t *testing.T, b *bench) {
				c := newCollector(b.rdb, p)
				for part := range int64(3) {
					for seq := range int64(250) {
						enqueueOn(t, c, 250*part+seq)
					}
					b.rdb.ScriptFlush(t.Context())
					if err := c.send(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if got := b.waiting(p); !slices.Equal(got, ids(0, 750)) {
					t.Errorf("there wait %v", got)
				}
			})
		})
	}
}

// What is enqueued together lies in Redis as if asynq had enqueued it.
func TestATaskIsAsAsynqWouldHaveIt(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		due := time.Now().Add(time.Hour)
		for what, options := range map[string][]asynq.Option{
			"now":   {asynq.MaxRetry(3), asynq.Timeout(time.Minute)},
			"later": {asynq.MaxRetry(3), asynq.ProcessAt(due)},
		} {
			b.rdb.FlushAll(t.Context())
			c := newCollector(b.rdb, queue.Normal)
			task := asynq.NewTaskWithHeaders("t", []byte("payload\x00"), map[string]string{"h": "v"})
			if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(task, append(options, asynq.TaskID("b:1"))...); err != nil {
				t.Fatal(err)
			}
			theirs := b.all()
			b.rdb.FlushAll(t.Context())
			b.rdb.SAdd(t.Context(), "asynq:queues", "default") // the feeder does
			if _, err := asynq.NewClientFromRedisClient(c).Enqueue(task, append(options, asynq.TaskID("b:1"))...); err != nil {
				t.Fatal(err)
			}
			if err := c.send(t.Context()); err != nil {
				t.Fatal(err)
			}
			if ours := b.all(); len(ours) != 3 || !maps.Equal(ours, theirs) {
				t.Errorf("%s, asynq has %v\nand weir %v", what, theirs, ours)
			}
		}
	})
}

// all is what is in Redis, by key, without times.
func (b *bench) all() map[string]string {
	b.t.Helper()
	ctx, all := b.t.Context(), make(map[string]string)
	for _, key := range b.rdb.Keys(ctx, "*").Val() {
		var value any
		switch kind := b.rdb.Type(ctx, key).Val(); kind {
		case "hash":
			fields := b.rdb.HGetAll(ctx, key).Val()
			if at := fields["pending_since"]; at != "" && len(at) == len("1700000000000000000") {
				fields["pending_since"] = "then"
			}
			value = fields
		case "list":
			value = b.rdb.LRange(ctx, key, 0, -1).Val()
		case "zset":
			value = fmt.Sprint(b.rdb.ZRangeWithScores(ctx, key, 0, -1).Val())
		case "set":
			value = b.rdb.SMembers(ctx, key).Val()
		default:
			b.t.Fatalf("%s is a %s", key, kind)
		}
		all[key] = fmt.Sprintf("%q", value)
	}
	return all
}

// The chunk is repeated whole; what had got there already is recognised.
func TestAChunkWithAnErrorIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error{
		"one command fails": func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			cmds[1].SetErr(errLost)
			return next(ctx, slices.Delete(slices.Clone(cmds), 1, 2))
		},
		"the reply is lost": func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			_ = next(ctx, cmds)
			for _, cmd := range cmds {
				cmd.SetErr(errLost)
			}
			return errLost
		},
		"nothing gets there": func(_ context.Context, cmds []redis.Cmder, _ redis.ProcessPipelineHook) error {
			for _, cmd := range cmds {
				cmd.SetErr(errLost)
			}
			return errLost
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := mini(t)
			c := newCollector(b.rdb, queue.Normal)
			enqueueOn(t, c, 0) // and Redis knows the script
			if err := c.send(t.Context()); err != nil {
				t.Fatal(err)
			}
			tries := 0
			b.rdb.AddHook(hook{many: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
				if !enqueues(cmds[0]) {
					return next(ctx, cmds)
				}
				if tries++; tries == 1 {
					return send(ctx, cmds, next)
				}
				return next(ctx, cmds)
			}})
			const n = 250 // more than one call enqueues
			f := b.feeder(numbered(n), n)
			var told []error
			f.opts.Trouble = func(err error, _ time.Duration) { told = append(told, err) }
			// All at once: the pipeline has them all.
			f.found = b.info()
			if err := f.feed(t.Context(), nil, records(0, n)); err != nil {
				t.Fatal(err)
			}
			got := b.pending()
			want := ids(0, n)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || tries != 2 {
				t.Errorf("after %d tries pending: %v", tries, got)
			}
			if len(told) != 2 || !strings.Contains(told[0].Error(), errLost.Error()) || told[1] != nil {
				t.Errorf("told of %v", told)
			}
			if next := b.info().Next; next != n {
				t.Errorf("checkpoint at %d", next)
			}
		})
	}
}
