package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/queue"
)

// asynq looks whether its keys are what weir and asynq take them for.
func (d *doctor) asynq(ctx context.Context) error {
	queues, err := d.rdb.SMembers(ctx, queue.All).Result()
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		d.found(Problem, "DEL "+queue.All+": producers and workers write it again", "%s is not asynq's set of queues: %w", queue.All, err)
		return nil
	case err != nil:
		return err
	}
	slices.Sort(queues)
	left := max(0, len(queues)-lanesMost)
	d.progress = progress{0, len(queues), "queues"}
	wrong, paused := &few{d: d}, &few{d: d}
	for chunk := range slices.Chunk(queues[:len(queues)-left], 100) {
		if err := d.shapes(ctx, chunk, wrong, paused); err != nil {
			return err
		}
		d.progress.n += len(chunk)
	}
	wrong.rest(Problem, "keys are of another kind than asynq's")
	paused.rest(Warning, "queues are paused by asynq's means")
	more := ""
	if left > 0 {
		more = fmt.Sprintf(", %d more were not looked at", left)
	}
	d.fine("the keys of %d queues are as asynq makes them%s", len(queues)-left, more)
	return nil
}

func (d *doctor) shapes(ctx context.Context, queues []string, wrong, paused *few) error {
	type key struct{ lane, name, kind string }
	var keys []key
	for _, q := range queues {
		keys = append(keys, key{q, queue.Active(q), "list"}, key{q, queue.Lease(q), "zset"}, key{q, queue.Scheduled(q), "zset"},
			key{q, queue.Retry(q), "zset"}, key{q, queue.Archived(q), "zset"}, key{q, queue.Paused(q), "string"})
		for _, list := range queue.Lists(q) {
			keys = append(keys, key{q, list, "list"})
		}
	}
	pipe := d.rdb.Pipeline()
	kinds := make([]*redis.StatusCmd, len(keys))
	for i, k := range keys {
		kinds[i] = pipe.Type(ctx, k.name)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for i, k := range keys {
		switch is := kinds[i].Val(); {
		case is != "none" && is != k.kind:
			wrong.found(Problem, "look at it, then DEL "+k.name+": producer repair BATCH TYPE FILE enqueues what a batch has lost by that",
				"%s is a %s, where asynq has a %s: nothing of lane %s moves on", k.name, is, k.kind, k.lane)
		case is != "none" && k.name == queue.Paused(k.lane):
			paused.found(Warning, "asynq queue unpause "+k.lane+", or its button in asynqmon (producer ui --writable)", "lane %s is paused by asynq's means", k.lane)
		}
	}
	return nil
}

// looked are the lanes that costly checks look at, and how many there are beside.
func (d *doctor) looked(ctx context.Context) ([]*lane.Overview, int, error) {
	all, err := d.lanesOf(ctx)
	left := max(0, len(all)-lanesMost)
	d.progress = progress{0, len(all), "lanes"}
	return all[:len(all)-left], left, err
}

func (d *doctor) quarantine(ctx context.Context) error {
	lanes, left, err := d.looked(ctx)
	if err != nil {
		return err
	}
	some := &few{d: d}
	for chunk := range slices.Chunk(lanes, 100) {
		var queues []string
		for _, o := range chunk {
			queues = append(queues, o.Queues...)
		}
		n, err := queue.CountSetAside(ctx, d.rdb, queues)
		if err != nil {
			return err
		}
		d.progress.n += len(chunk)
		if n == 0 {
			continue
		}
		for _, name := range queues {
			if n, err = queue.CountSetAside(ctx, d.rdb, []string{name}); err != nil {
				return err
			} else if n > 0 {
				some.found(Warning, "LRANGE "+queue.Quarantine(name)+" 0 -1 shows them, and why; producer repair BATCH TYPE FILE enqueues what a batch has lost; DEL that key when you have seen to it",
					"lane %s has %d entries in its quarantine: nobody could read them, and they are not run", name, n)
			}
		}
	}
	some.rest(Warning, "lanes have entries in quarantine")
	d.fine("nothing was set aside%s", besides(left))
	return nil
}

func besides(left int) string {
	if left == 0 {
		return ""
	}
	return fmt.Sprintf("; %d more lanes were not looked at", left)
}

const (
	// ghostsEach is how many tasks of each list of a lane are looked at.
	ghostsEach = 100
	// ghostsNear is within how many of a list they are looked for again.
	ghostsNear = 10 * ghostsEach
)

// ghosts looks for entries whose task is gone, in what workers will come to next and in
// what they have.
func (d *doctor) ghosts(ctx context.Context) error {
	lanes, left, err := d.looked(ctx)
	if err != nil {
		return err
	}
	some, seen := &few{d: d}, 0
	for _, o := range lanes {
		if o.Pending+o.Active+o.Later > 0 {
			for _, name := range o.Queues {
				n, err := d.ghostsOf(ctx, name, some)
				if err != nil {
					return err
				}
				seen += n
			}
		}
		d.progress.n++
	}
	some.rest(Problem, "entries of lists have no task")
	d.fine("each of %d tasks that were looked at in %d lanes has its record%s", seen, len(lanes), besides(left))
	return nil
}

func (d *doctor) ghostsOf(ctx context.Context, name string, some *few) (int, error) {
	pipe := d.rdb.Pipeline()
	lists := []*redis.StringSliceCmd{pipe.LRange(ctx, queue.Active(name), 0, ghostsEach-1),
		pipe.ZRange(ctx, queue.Retry(name), 0, ghostsEach-1), pipe.ZRange(ctx, queue.Scheduled(name), 0, ghostsEach-1)}
	for _, list := range queue.Lists(name) {
		lists = append(lists, pipe.LRange(ctx, list, -ghostsEach, -1))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			return 0, nil // the check of asynq's keys tells
		}
		return 0, err
	}
	var ids []string
	for _, l := range lists {
		ids = append(ids, l.Val()...)
	}
	for range rereads {
		gone, err := d.withoutRecord(ctx, name, ids)
		if err != nil || len(gone) == 0 {
			return len(ids), err
		}
		d.pause(ctx) // most have only ended since
		if ids, err = d.stillListed(ctx, name, gone); err != nil {
			return 0, err
		}
	}
	for _, id := range ids {
		some.found(Problem, "workers remove what is left of active ones; of others remove it by LREM or ZREM; producer repair BATCH TYPE FILE enqueues a batch's task again",
			"lane %s lists task %s, which has no record: it never runs", name, id)
	}
	return len(ids), nil
}

// rereads is how often what does not add up is read, before that is told.
const rereads = 3

// withoutRecord are those of a lane's tasks that have no record, or something else in its place.
func (d *doctor) withoutRecord(ctx context.Context, name string, ids []string) (gone []string, err error) {
	pipe := d.rdb.Pipeline()
	has := make([]*redis.BoolCmd, len(ids))
	for i, id := range ids {
		has[i] = pipe.HExists(ctx, queue.TaskPrefix(name)+id, "msg")
	}
	if len(ids) > 0 {
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
	for i, id := range ids {
		if err := has[i].Err(); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			return nil, err
		}
		if !has[i].Val() {
			gone = append(gone, id)
		}
	}
	return gone, nil
}

// stillListed are those of ids that are where the lane's next tasks are, and those that run.
func (d *doctor) stillListed(ctx context.Context, name string, ids []string) (there []string, err error) {
	for _, id := range ids {
		pipe := d.rdb.Pipeline()
		var found []redis.Cmder
		found = append(found, pipe.LPos(ctx, queue.Active(name), id, redis.LPosArgs{MaxLen: ghostsNear}))
		for _, list := range queue.Lists(name) {
			found = append(found, pipe.LPos(ctx, list, id, redis.LPosArgs{Rank: -1, MaxLen: ghostsNear}))
		}
		found = append(found, pipe.ZScore(ctx, queue.Retry(name), id), pipe.ZScore(ctx, queue.Scheduled(name), id))
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		if slices.ContainsFunc(found, func(c redis.Cmder) bool { return c.Err() == nil }) {
			there = append(there, id)
		}
	}
	return there, nil
}

// batches looks whether what was enqueued of each batch is accounted for, and whether
// somebody sees to it.
func (d *doctor) batches(ctx context.Context) error {
	names, err := d.ledger.Names(ctx)
	if err != nil {
		return err
	}
	left := max(0, len(names)-batchesMost)
	infos, err := d.ledger.Infos(ctx, names[:len(names)-left])
	if err != nil {
		return err
	}
	wrong, idle := &few{d: d}, &few{d: d}
	open, tasks := 0, int64(0)
	d.progress = progress{0, len(names), "batches"}
	for n, i := range infos {
		d.progress.n = n
		if i == nil {
			continue // removed since it was listed
		}
		if unreadable(i.Unreadable, wrong) {
			continue
		}
		if !i.Complete() {
			open++
		}
		tasks += i.Enqueued()
		err := d.account(ctx, i, wrong)
		if err == nil {
			err = d.tended(ctx, i, idle)
		}
		if err != nil && !errors.Is(err, batch.ErrNotFound) && !unreadable(batch.Unreadable(i.Name, err), wrong) {
			return err
		}
	}
	wrong.rest(Problem, "batches do not add up")
	idle.rest(Warning, "batches stand still")
	more := ""
	if left > 0 {
		more = fmt.Sprintf("; %d older batches were not looked at", left)
	}
	if n := len(d.unsought); n > 0 {
		more += fmt.Sprintf("; of %d batches no task was looked for, so full are their lanes", n)
	}
	d.fine("%d batches, %d of them not over; each of the %d tasks that were enqueued has its outcome or its place%s", len(infos), open, tasks, more)
	return nil
}

// unreadable notes that a batch cannot be read, if that is what err says.
func unreadable(err error, wrong *few) bool {
	var u *batch.UnreadableError
	if !errors.As(err, &u) {
		return false
	}
	wrong.found(Problem, u.Remedy, "batch %s cannot be read: %v", u.Name, u.Err)
	return true
}

// account adds a batch up: what was enqueued has an outcome or a place in Redis, and the
// counts of outcomes are those of the tasks that have one.
func (d *doctor) account(ctx context.Context, i *batch.Info, wrong *few) error {
	for again := range rereads {
		if again > 0 {
			d.pause(ctx)
		}
		read, missing, err := d.missing(ctx, i)
		if err != nil {
			return err
		}
		bits, counted, err := d.ledger.Audit(ctx, i.Name)
		if err != nil {
			return err
		}
		switch {
		case missing == 0 && bits == counted:
			return nil
		case again < rereads-1:
		case bits != counted:
			wrong.found(Problem, "Redis has lost writes, or somebody changed the batch's keys by hand: go by its outcomes, and run the rest as a new batch",
				"batch %s counts %d outcomes, but %d of its tasks have one", i.Name, counted, bits)
		default:
			wrong.found(Problem, "producer repair "+i.Name+" "+i.Options.Type+" FILE enqueues them again; so does the batch's command",
				"batch %s: of %d tasks that were enqueued, %d have neither an outcome nor a place in Redis", i.Name, read, missing)
		}
	}
	return nil
}

// missing is how many tasks of a batch have been read, and how many of these are nowhere. Of
// one that is over no lane has any, and none is looked at.
func (d *doctor) missing(ctx context.Context, i *batch.Info) (read, missing int64, err error) {
	if i.Complete() {
		return i.Enqueued(), max(i.Enqueued()-i.Outcomes(), 0), nil
	}
	afford, err := d.afford(ctx, i.Name)
	if err != nil {
		return 0, 0, err
	}
	if !afford {
		d.unsought[i.Name] = true
		return i.Enqueued(), 0, nil
	}
	st, err := d.weir.Status(ctx, i.Name)
	switch {
	case err != nil:
		return 0, 0, err
	case st.Stopped || st.Phase == batch.GivenUp:
		return st.Read(), 0, nil // its producer took them out of Redis, and the next one brings them back
	}
	return st.Read(), st.Missing(), nil
}

// afford says whether the lists of a batch's lanes are still to be read, which its status
// does from end to end: lanes that many batches share are read for each of them.
func (d *doctor) afford(ctx context.Context, name string) (bool, error) {
	if _, err := d.lanesOf(ctx); err != nil {
		return false, err
	}
	if d.listed >= idsMost {
		return false, nil
	}
	lanes, err := d.ledger.Lanes(ctx, name)
	for _, name := range queue.Lanes(lanes) {
		if at, there := slices.BinarySearchFunc(d.lanes, name, func(o *lane.Overview, name string) int { return strings.Compare(o.Name, name) }); there {
			o := d.lanes[at]
			d.listed += o.Pending + o.Active + o.Later
		}
	}
	return true, err
}

// tended says of a batch that is not over why it stands still, if it does.
func (d *doctor) tended(ctx context.Context, i *batch.Info, idle *few) error {
	switch {
	case i.Complete():
	case i.Phase == batch.GivenUp:
		idle.found(Warning, "producer cancel "+i.Name, "batch %s was given up, and some of its tasks have no outcome yet", i.Name)
	case i.Paused:
		idle.found(Warning, "producer resume "+i.Name, "batch %s is paused", i.Name)
	case i.Stopped:
		idle.found(Warning, "give its command again", "batch %s was interrupted, at %d tasks", i.Name, i.Outcomes())
	case i.N < 0:
		left, err := d.ledger.LeaseLeft(ctx, i.Name)
		if err != nil || left > 0 {
			return err
		}
		idle.found(Warning, "give its command again: it goes on where it was", "batch %s is not fed: its producer is gone, and its input was not read to its end", i.Name)
	}
	return nil
}
