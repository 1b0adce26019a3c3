package rescue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/logs"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/tracing"
)

// tally is what became of a dead worker's tasks in one lane.
type tally struct {
	back, lost, closed, crashed []string
	failed                      error // of an entry, the last

	living map[queue.Mark]bool // workers
}

// counts are how many tasks had which fate so far.
func (t *tally) counts() [4]int {
	return [...]int{len(t.back), len(t.lost), len(t.closed), len(t.crashed)}
}

// since names the fate that one more task had than before; "" where none had.
func (t *tally) since(before [4]int) string {
	for i, n := range t.counts() {
		if n > before[i] {
			return [...]string{"given back", "given back", "closed", "crashed"}[i]
		}
	}
	return ""
}

// bury sees to the tasks of dead workers, given with their leases. An error is one of
// Redis; what is wrong with one task is told, and that task is watched on.
func (r *Rescuer) bury(ctx context.Context, lane string, dead map[string]string) error {
	if len(dead) == 0 {
		return nil
	}
	living, err := r.pulse.living(ctx)
	if err != nil {
		return err
	}
	t := tally{living: living}
	defer func() { r.tell(ctx, lane, t) }()
	ids := slices.Sorted(maps.Keys(dead))
	for i, msg := range queue.Messages(ctx, r.rdb, lane, ids) {
		switch err := r.see(ctx, lane, ids[i], dead[ids[i]], msg, &t); {
		case err != nil && !ofEntry(err):
			return err
		case err != nil:
			t.failed = err
		}
	}
	return nil
}

// see sees to one task.
func (r *Rescuer) see(ctx context.Context, lane, id, lease string, msg *redis.StringCmd, t *tally) error {
	text, err := msg.Result()
	if errors.Is(err, redis.Nil) {
		return r.giveBack(ctx, lane, id, lease, t) // a ghost
	}
	if err != nil && !ofEntry(err) {
		return err
	}
	var m *queue.Message
	if err == nil {
		m, err = queue.Decode(text)
	}
	if err == nil && (m.ID != id || m.Queue != lane) {
		err = fmt.Errorf("its message is that of task %q of lane %q", m.ID, m.Queue)
	}
	if err != nil {
		return r.setAside(ctx, lane, id, err)
	}
	name, seq, ok := batch.ParseTaskID(id)
	if _, marked := m.Headers[batch.Header]; !ok || !marked {
		return r.giveBack(ctx, lane, id, lease, t)
	}
	return r.ofBatch(ctx, lane, lease, name, seq, m, t)
}

// ofBatch sees to a batch's task.
func (r *Rescuer) ofBatch(ctx context.Context, lane, lease, name string, seq int64, m *queue.Message, t *tally) error {
	before := t.counts()
	defer func() {
		if fate := t.since(before); fate != "" && tracing.On() {
			tracing.Rescued(ctx, tracing.Task{Batch: name, Seq: seq, ID: m.ID, Lane: queue.Lane(lane), Type: m.Type, Attempt: m.Retried + 1}, m.Headers, fate)
		}
	}()
	if lease == "" || t.living[queue.MarkOf(lease)] {
		return r.giveBack(ctx, lane, m.ID, lease, t) // lost on the way to its worker
	}
	deaths, err := r.opts.Ledger.CountCrash(ctx, name, seq, lease)
	switch {
	case errors.Is(err, batch.ErrNotFound): // whoever takes it tells that its batch is gone
		return r.giveBack(ctx, lane, m.ID, lease, t)
	case err != nil:
		return err
	case deaths == 0:
		closed, err := queue.Close(ctx, r.rdb, lane, m.ID, lease)
		if closed {
			t.closed = append(t.closed, m.ID)
		}
		return err
	case deaths < batch.MaxCrashes:
		return r.giveBack(ctx, lane, m.ID, lease, t)
	}
	if err := r.fail(ctx, name, seq, deaths, m); err != nil {
		return err
	}
	closed, err := queue.Close(ctx, r.rdb, lane, m.ID, lease)
	if closed {
		t.crashed = append(t.crashed, m.ID)
	}
	return err
}

// fail records that a task has killed its workers.
func (r *Rescuer) fail(ctx context.Context, name string, seq int64, deaths int, m *queue.Message) error {
	o := &batch.Outcome{
		Seq: seq, State: batch.Failed, Class: batch.Crashed, Attempts: m.Retried + 1, Worker: r.opts.Name,
		Error: fmt.Sprintf("its worker died %d times while it ran; it is not run again (tasks that end their process or use up its memory do this)", deaths),
	}
	info, err := r.opts.Ledger.Info(ctx, name)
	if err != nil {
		return err
	}
	o.Signature = m.Headers[batch.Signature]
	if info.Options.WithPayload {
		o.Payload = m.Payload
	}
	_, err = r.opts.Ledger.Record(ctx, name, o, -time.Microsecond, m.Payload)
	return err
}

func (r *Rescuer) giveBack(ctx context.Context, lane, id, lease string, t *tally) error {
	fate, err := queue.Restore(ctx, r.rdb, lane, id, lease)
	switch {
	case fate == queue.Back && t.living[queue.MarkOf(lease)]:
		t.lost = append(t.lost, id)
	case fate == queue.Back:
		t.back = append(t.back, id)
	case fate == queue.Ghost:
		r.opts.Rescued(Ghost, 1)
		r.opts.Log.Error("a task's message is gone from Redis; what was left of it is removed",
			logs.ID(id, lane), "hint", "a batch shows it as missing; producer repair enqueues it again")
	}
	return err
}

func (r *Rescuer) setAside(ctx context.Context, lane, id string, why error) error {
	bad, err := queue.SetAside(ctx, r.rdb, lane, id, why.Error())
	if bad != nil {
		r.opts.Rescued(Quarantine, 1)
		bad.Tell(r.opts.Log, lane)
	}
	return err
}

func (r *Rescuer) tell(ctx context.Context, lane string, t tally) {
	log := r.opts.Log
	for fate, of := range map[Fate][]string{Back: t.back, Lost: t.lost, Closed: t.closed, Crashed: t.crashed} {
		r.opts.Rescued(fate, len(of))
	}
	if len(t.back) > 0 {
		log.Warn("a worker died or froze; its tasks are given back", logs.ID(t.back[0], lane), "tasks", len(t.back))
	}
	if len(t.lost) > 0 {
		log.Warn("a worker that lives does not have these tasks, since a reply of Redis was lost; they are given back",
			logs.ID(t.lost[0], lane), "tasks", len(t.lost))
	}
	if len(t.back)+len(t.lost) > 0 {
		_ = queue.WakeAll(ctx, r.rdb, lane)
	}
	if len(t.closed) > 0 {
		log.Info("a worker died between outcome and ack; its tasks are closed", logs.ID(t.closed[0], lane), "closed", len(t.closed))
	}
	for _, id := range t.crashed {
		log.Error("a task's worker died each time it ran; the task has failed", logs.ID(id, lane), "class", batch.Crashed)
	}
	if t.failed != nil {
		log.Warn("a task of a dead worker stays active; it is tried again", "lane", lane, "err", t.failed)
	}
}
