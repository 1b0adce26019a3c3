package doctor

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/lane/governor"
	"github.com/weir-tasks/weir/internal/queue"
	"github.com/weir-tasks/weir/internal/work"
)

func (d *doctor) ofWorkers(ctx context.Context) error {
	lanes, err := d.lanesOf(ctx)
	if err != nil {
		return err
	}
	all, err := d.workersOf(ctx)
	if err != nil {
		return err
	}
	waiting, ours := int64(0), 0
	for _, l := range lanes {
		waiting += l.Pending
	}
	slots, running := 0, 0
	stuck, versions := &few{d: d}, make(map[string]bool)
	for _, w := range all {
		slots, running = slots+w.Slots, running+len(w.Tasks)
		if w.Ours && !w.Stopping {
			ours++
		}
		if w.Ours && w.Version != "" {
			versions[w.Version] = true
		}
		if w.Stuck > 0 {
			stuck.found(Warning, "its log names the handlers; restart it if they do not end: their tasks are run again elsewhere",
				"worker %s has %d stuck handlers, which ignore that their time is over and keep their slots", w.Name(), w.Stuck)
		}
	}
	stuck.rest(Warning, "workers have stuck handlers")
	switch {
	case ours == 0 && waiting > 0:
		d.found(Problem, "start one: worker --redis URL; its log says why it ended", "no worker lives, and %d tasks wait", waiting)
	case ours == 0:
		d.found(Warning, "start one: worker --redis URL", "no worker lives")
	}
	if len(versions) > 1 {
		d.found(Warning, "bring all to one version, the oldest last to go: stop workers by SIGTERM, which costs no attempt", "workers of %d versions run: %s", len(versions), strings.Join(slices.Sorted(maps.Keys(versions)), ", "))
	}
	d.fine("%d workers with %d slots live, %d tasks run", ours, slots, running)
	return nil
}

func (d *doctor) clocks(ctx context.Context) error {
	const remedy = "set the host's time by NTP"
	all, err := d.workersOf(ctx)
	if err != nil {
		return err
	}
	wrong := &few{d: d}
	judge := func(found func(Level, string, string, ...any), who string, ahead time.Duration) {
		switch {
		case ahead.Abs() > work.ClockStop:
			found(Problem, remedy, "the clock of %s is %.1f s ahead of Redis': a worker there takes no tasks", who, ahead.Seconds())
		case ahead.Abs() > work.ClockWarn:
			found(Warning, remedy, "the clock of %s is %.1f s ahead of Redis': retries come early or late by as much", who, ahead.Seconds())
		}
	}
	for _, w := range all {
		judge(wrong.found, "worker "+w.Name(), w.Skew)
	}
	wrong.rest(Warning, "workers have a clock that is wrong")
	began := time.Now()
	theirs, err := d.rdb.Time(ctx).Result()
	if err != nil {
		return err
	}
	mine := began.Add(time.Since(began) / 2).Sub(theirs)
	judge(d.found, "this host", mine)
	d.fine("all clocks agree with Redis'; this host's is %.3f s ahead", mine.Seconds())
	return nil
}

const (
	// unservedFor is how long the first task of a lane waits that nobody takes, before that is
	// told: between two tasks, and while a worker wakes, it is less.
	unservedFor = 5 * time.Second
	// stalled is the same of a lane that workers serve.
	stalled = 10 * time.Minute
)

func (d *doctor) ofLanes(ctx context.Context) error {
	all, err := d.lanesOf(ctx)
	if err != nil {
		return err
	}
	still, err := d.still(ctx, all)
	if err != nil {
		return err
	}
	broken, unserved, stands := &few{d: d}, &few{d: d}, &few{d: d}
	held, waits := &few{d: d}, &few{d: d}
	waiting := int64(0)
	for _, o := range all {
		waiting += o.Pending
		switch {
		case o.Err != nil:
			broken.found(Problem, "", "lane %s: %s", o.Name, o.Waits())
		case o.Config.Paused:
			held.found(Warning, "producer lane "+o.Name+" --resume", "lane %s is paused by the operator; %d tasks wait", o.Name, o.Pending)
		case heldByService(o):
			waits.found(Warning, "look at the service; producer lane "+o.Name+" --reset lets the lane try at once", "lane %s: %s; %d tasks wait", o.Name, o.Waits(), o.Pending)
		case !still[o.Name]:
		case nobodyServes(o):
			unserved.found(Problem, "start a worker that serves it (--lanes) and knows its task type", "lane %s: %d tasks wait, and no worker takes them", o.Name, o.Pending)
		default:
			stands.found(Problem, "producer lanes; the workers' logs", "lane %s does not move: its first task has waited for %s, and none runs", o.Name, o.Oldest.Round(time.Second))
		}
	}
	broken.rest(Problem, "lanes have a record that cannot be used")
	unserved.rest(Problem, "lanes have tasks that no worker takes")
	stands.rest(Problem, "lanes do not move")
	held.rest(Warning, "lanes are paused by the operator")
	waits.rest(Warning, "lanes wait for their service")
	d.fine("%d lanes, %d tasks wait in them, none is held up", len(all), waiting)
	return nil
}

// heldByService says that something of the lane waits for its service.
func heldByService(o *lane.Overview) bool {
	g := o.Governed
	return g != nil && (g.State == governor.Paused || g.State == governor.Outage || g.State == governor.Probing) &&
		(o.Pending > 0 || g.Workers > 0 && g.Wants > g.InFlight)
}

func nobodyServes(o *lane.Overview) bool { return o.Governed == nil || o.Governed.Workers == 0 }

// idle says that nothing of the lane runs, and its first task waits for longer than it
// should. A lane with a rate is idle between two tasks, for as long as its operator likes.
func idle(o *lane.Overview) bool {
	switch {
	case o.Err != nil || o.Config.Paused || o.Pending == 0 || o.InFlight() > 0:
		return false
	case nobodyServes(o):
		return o.Oldest > unservedFor
	}
	return o.Oldest > stalled && o.Config.Rate == 0 && o.Governed.Rate == 0
}

// still are the lanes that are idle, and stay so, though nobody has paused them.
func (d *doctor) still(ctx context.Context, all []*lane.Overview) (map[string]bool, error) {
	ended := make(map[string]int64)
	for _, o := range all {
		if idle(o) {
			ended[o.Name] = o.Ended
		}
	}
	still := make(map[string]bool)
	if len(ended) == 0 {
		return still, nil
	}
	d.pause(ctx)
	again, err := d.weir.Lanes(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range again {
		if n, was := ended[o.Name]; was && idle(o) && o.Ended == n {
			still[o.Name] = true
		}
	}
	var queues []string
	for _, o := range again {
		if still[o.Name] {
			queues = append(queues, o.Queues...)
		}
	}
	return still, d.unpaused(ctx, still, queues)
}

// unpaused drops the lanes that are paused by asynq's means, or a queue of them, of which its
// own check tells.
func (d *doctor) unpaused(ctx context.Context, lanes map[string]bool, queues []string) error {
	for chunk := range slices.Chunk(queues, 500) {
		pipe := d.rdb.Pipeline()
		paused := make([]*redis.IntCmd, len(chunk))
		for i, name := range chunk {
			paused[i] = pipe.Exists(ctx, queue.Paused(name))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for i, name := range chunk {
			if paused[i].Val() > 0 {
				delete(lanes, queue.Lane(name))
			}
		}
	}
	return nil
}
