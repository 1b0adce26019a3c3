package feed

import (
	"context"
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
		if err := c.send(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		b.wantPending("b:3", "b:1", "b:2")
		if err := c.send(t.Context(), nil); err != nil {
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
	if err := c.send(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	b.wantPending("b:3")
}

func TestATaskThatIsThereAlreadyIsNoError(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		for _, seqs := range [][]int64{{1, 2}, {1, 2, 3}} {
			c := newCollector(b.rdb, queue.Normal)
			enqueueOn(t, c, seqs...)
			if err := c.send(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		b.wantPending("b:1", "b:2", "b:3")
	})
}

func TestScriptsThatRedisForgotAreLoadedWithTheNextTry(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		c := newCollector(b.rdb, queue.Normal)
		enqueueOn(t, c, 1)
		b.rdb.ScriptFlush(t.Context())
		if err := c.send(t.Context(), nil); !redis.HasErrorPrefix(err, "NOSCRIPT") {
			t.Fatalf("sent with %v", err)
		}
		enqueueOn(t, c, 1)
		if err := c.send(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		b.wantPending("b:1")
	})
}

// The chunk is repeated whole; what had got there already is recognised.
func TestAChunkWithAnErrorIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error{
		"one command fails": func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			cmds[2].SetErr(errLost)
			return next(ctx, slices.Delete(slices.Clone(cmds), 2, 3))
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
			tries := 0
			b.rdb.AddHook(hook{many: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
				if !enqueues(cmds) {
					return next(ctx, cmds)
				}
				if tries++; tries == 1 {
					return send(ctx, cmds, next)
				}
				return next(ctx, cmds)
			}})
			f := b.feeder(numbered(5), 5)
			var told []error
			f.opts.Trouble = func(err error, _ time.Duration) { told = append(told, err) }
			// All five at once: the pipeline has them all.
			f.found = b.info()
			if err := f.feed(t.Context(), nil, records(0, 5)); err != nil {
				t.Fatal(err)
			}
			got := b.pending()
			slices.Sort(got)
			if !slices.Equal(got, ids(0, 5)) || tries != 2 {
				t.Errorf("after %d tries pending: %v", tries, got)
			}
			if len(told) != 2 || !strings.Contains(told[0].Error(), errLost.Error()) || told[1] != nil {
				t.Errorf("told of %v", told)
			}
			if next := b.info().Next; next != 5 {
				t.Errorf("checkpoint at %d", next)
			}
		})
	}
}
